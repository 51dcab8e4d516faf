//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// TestModuleHangs: a ceremony whose HSM does not answer is ended by a second Ctrl-C, says so
// after the first, and goes on when it is resumed.
func TestModuleHangs(t *testing.T) {
	r := blank(t)
	module, err := softtoken.Find("softhsm")
	r.must(err)
	path, err := module.Path()
	r.must(err)
	dir := filepath.Join(r.dir, "shim")
	r.must(os.Mkdir(dir, 0o700))
	hung, err := shim.Build(dir, path)
	r.must(err)
	file, plan := r.write("hung", "generate", "site-a", "none", "keys: [{label: hung.mtk.v1}]")
	hung.Hang(shim.GenerateKey)
	var ended atomic.Bool
	go func() {
		for ; hung.Calls(shim.GenerateKey) == 0; time.Sleep(10 * time.Millisecond) {
			if ended.Load() {
				return
			}
		}
		program := r.program.Load()
		_ = program.Signal(os.Interrupt)
		time.Sleep(silence + time.Second)
		_ = program.Signal(os.Interrupt)
		for end := time.Now().Add(30 * time.Second); !ended.Load() && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
		if !ended.Load() {
			_ = program.Kill()
		}
	}()
	err = r.hold(file, plan, "--module", hung.Module)
	ended.Store(true)
	if err == nil || !strings.Contains(err.Error(), "signal: interrupt") || !strings.Contains(err.Error(), "Ctrl-C ends it now") {
		t.Errorf("the second signal: %v", err)
	}
	hung.Heal()
	r.must(r.hold(file, plan, "--module", hung.Module, "--resume"))
	if s := r.story("hung"); check(s, "hung.mtk.v1") == "" {
		t.Error("no key was made")
	}
}
