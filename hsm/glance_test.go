//go:build cgo

package hsm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// rewritten is the file of a token of SoftHSM as others find it while a process
// logs in: for a moment there is nothing in it, or not all.
type rewritten struct {
	name  string
	whole []byte
	looks int // that find less
	seen  int
}

// rewrite finds the file of a token.
func rewrite(t *testing.T, label string) *rewritten {
	t.Helper()
	dir := filepath.Dir(os.Getenv(softhsmconfig.Env))
	var r rewritten
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "token.object" {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, append([]byte(label), ' ')) { // labels are padded
			r.name, r.whole = path, b
		}
		return err
	})
	if err != nil || r.name == "" {
		t.Fatalf("the file of token %q was not found in %s: %v", label, dir, err)
	}
	return &r
}

// read has the module find a part of the file, and later all of it.
func (r *rewritten) read() error {
	content := r.whole
	if r.seen < r.looks {
		content = r.whole[:len(r.whole)*r.seen/4]
	}
	r.seen++
	return os.WriteFile(r.name, content, 0o600)
}

// TestOpenWhileOthersLogIn: a token that another process writes just now is there.
func TestOpenWhileOthersLogIn(t *testing.T) {
	cfg := hsmtest.Empty(t)
	if hsmtest.On(t) != "softhsm" {
		return // others keep tokens otherwise
	}
	openRewritten(t, cfg)
}

// openRewritten opens a token of which the module finds less at first.
func openRewritten(t *testing.T, cfg hsm.Config) {
	t.Helper()
	file := rewrite(t, cfg.Token)
	file.looks, cfg.Prepare = 3, file.read
	tok, err := hsm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Close(); err != nil || file.seen != file.looks+1 {
		t.Errorf("%v; the module was initialised %d times", err, file.seen)
	}
}

// TestRecycleWhileOthersLogIn: nor is it lost when the module is made anew then.
func TestRecycleWhileOthersLogIn(t *testing.T) {
	if hsmtest.On(t) != "softhsm" {
		return
	}
	said, label := make(chan error, 1), ""
	before := func() error { return nil }
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{ref(keyref.PurchaseMaster)}, Config: func(c *hsm.Config) {
		c.OnRecycle = func(_ time.Duration, err error) { said <- err }
		c.Prepare = func() error { return before() }
		label = c.Token
	}})
	file := rewrite(t, label)
	file.looks, before = 2, file.read
	tok.RecycleAfter(1)
	path := mustPath(t, ref(keyref.PurchaseMaster), keyref.Factor{1}, keyref.Factor{2})
	use := func() {
		if _, err := tok.ProcessMAC(t.Context(), path, [8]byte{1}, []byte("m")); err != nil {
			t.Fatal(err)
		}
	}
	use()
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	tok.RecycleAfter(0)
	use()
	if file.seen <= file.looks {
		t.Errorf("the module was initialised %d times", file.seen)
	}
}
