//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// TestTokenTakesNoMore: a token that is full, and one that is read-only, make no
// key; the officers are told what to do, do it, and go on where they stood.
func TestTokenTakesNoMore(t *testing.T) {
	r := blank(t)
	module, err := softtoken.Find("softhsm")
	r.must(err)
	path, err := module.Path()
	r.must(err)
	dir := filepath.Join(r.dir, "shim")
	r.must(os.Mkdir(dir, 0o700))
	broken, err := shim.Build(dir, path)
	r.must(err)
	for _, x := range []struct {
		name, says string
		code       uint
	}{
		{"full", "the token is full: destroy retired keys on it, or take a larger one", 0x31},
		{"read-only", "the token is read-only: lift its write protection", 0xE2},
	} {
		broken.Fail(shim.GenerateKey, shim.Fault{Code: x.code})
		file, plan := r.write(x.name, "generate", "site-a", "none", "keys: [{label: "+x.name[:4]+".mtk.v1}]")
		err := r.hold(file, plan, "--module", broken.Module)
		if err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), x.says) || !strings.Contains(err.Error(), "--resume") {
			t.Errorf("a token that is %s: %v", x.name, err)
		}
		broken.Heal()
		r.must(r.hold(file, plan, "--module", broken.Module, "--resume"))
		r.story(x.name)
	}
}

// TestTooFewApprovals: neither a script that wants more officers than there are
// nor one whose second officer does not approve touches the token.
func TestTooFewApprovals(t *testing.T) {
	r := blank(t)
	const keys = "keys: [{label: pan-index.v1}]"
	lonely := strings.Replace(r.text("lonely", "generate", "site-a", "none", keys), "quorum: 2", "quorum: 3", 1)
	file := filepath.Join(r.dir, "lonely.yaml")
	r.must(os.WriteFile(file, []byte(lonely), 0o600))
	for _, args := range [][]string{{"check", file}, {"run", file, "--out", r.out("lonely")}} {
		out, err := r.command(args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "3 approvals are wanted, and there are 2 security officers") {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
	file, plan := r.write("absent", "generate", "site-a", "none", keys)
	r.must(os.Rename(filepath.Join(r.dir, "keys", "bob.key"), filepath.Join(r.dir, "keys", "bob.kept")))
	if err := r.hold(file, plan); err == nil || !strings.Contains(err.Error(), "bob") {
		t.Errorf("one officer of two: %v", err)
	}
	r.must(os.Rename(filepath.Join(r.dir, "keys", "bob.kept"), filepath.Join(r.dir, "keys", "bob.key")))
	r.must(r.hold(file, plan, "--resume"))
	if s := r.story("absent"); check(s, "pan-index.v1") == "" {
		t.Error("no key was made")
	}
}
