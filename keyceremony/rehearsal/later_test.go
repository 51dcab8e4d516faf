//go:build linux && cgo

package rehearsal_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/rehearsal"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// ceremonyOf is one of a kind on a token, about one label.
func ceremonyOf(t *testing.T, token hsm.Config, name, kind, key string) engine.Config {
	t.Helper()
	text := strings.Replace(fmt.Sprintf(pulledScript, 0, kind, token.Token), "pulled-0", name, 1)
	if kind == "letters" {
		text += "custodians: [carol, dan]\n"
	}
	plan, err := script.Read([]byte(text + "keys: [" + key + "]\n"))
	if err != nil {
		t.Fatal(err)
	}
	player := &rehearsal.Player{Seed: [32]byte{1}, Out: io.Discard, PIN: hsmtest.PIN}
	people, err := player.People(plan.Script)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Config{Plan: plan, Dir: filepath.Join(t.TempDir(), name), Desk: player, Module: engine.HSM{Config: token}, People: people, Now: time.Now}
}

// at calls do at a boundary of the step that makes the key.
func at(c *engine.Config, boundary string, do func()) {
	c.At = func(step int, what string) {
		if what == boundary && step <= len(c.Plan.Steps) {
			if op := c.Plan.Steps[step-1].Op; op == script.OpGenerate || op == script.OpImport {
				do()
			}
		}
	}
}

// shows is the check value of a key.
func shows(t *testing.T, token hsm.Config, label string) string {
	t.Helper()
	tok, err := hsm.Open(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	ref, err := keyref.Parse(label)
	if err != nil {
		t.Fatal(err)
	}
	info, _, err := tok.ReadBack(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return info.Check.String()
}

// TestKeyOfALaterCeremony: a ceremony that is resumed takes its own key and not the
// one that a later ceremony made under the same label.
func TestKeyOfALaterCeremony(t *testing.T) {
	for _, kind := range []string{"generate", "letters"} {
		t.Run(kind, func(t *testing.T) {
			token := hsmtest.Empty(t)
			const label = "transit.mpk.v1"
			old := ceremonyOf(t, token, "old", kind, "{label: "+label+"}")
			ctx, stop := context.WithCancel(t.Context())
			at(&old, "began", stop)
			if _, err := engine.Run(ctx, old); err == nil {
				t.Fatal("it did not stop before the key was made")
			}
			later := ceremonyOf(t, token, "later", kind, "{label: "+label+"}")
			if _, err := engine.Run(t.Context(), later); err != nil {
				t.Fatal(err)
			}
			made := shows(t, token, label)
			old.Resume, old.At = true, nil
			if _, err := engine.Run(t.Context(), old); err == nil || !strings.Contains(err.Error(), "without the mark of this ceremony") {
				t.Errorf("resumed after a later one: %v", err)
			}
			if got := shows(t, token, label); got != made {
				t.Error("the later ceremony's key was touched")
			}
			if _, err := engine.Run(t.Context(), ceremonyOf(t, token, "end", "destroy", "{label: "+label+", evidence: a mistake}")); err != nil {
				t.Fatal(err)
			}
			if _, err := engine.Run(t.Context(), old); err != nil {
				t.Fatalf("with the label free: %v", err)
			}
			if shows(t, token, label) == made {
				t.Error("it has the later ceremony's key")
			}
		})
	}
}

// TestDestroyedOnce: a ceremony that was to destroy a key, and is resumed after that key
// was destroyed and its label given to another, leaves the other alone.
func TestDestroyedOnce(t *testing.T) {
	token := hsmtest.Empty(t)
	const label, doomed = "transit.mpk.v1", "{label: transit.mpk.v1, evidence: a drill}"
	make := func(name string) string {
		if _, err := engine.Run(t.Context(), ceremonyOf(t, token, name, "generate", "{label: "+label+"}")); err != nil {
			t.Fatal(err)
		}
		return shows(t, token, label)
	}
	first := make("first")
	old := ceremonyOf(t, token, "old", "destroy", doomed)
	ctx, stop := context.WithCancel(t.Context())
	old.At = func(step int, what string) {
		if what == "began" && old.Plan.Steps[step-1].Op == script.OpDestroy {
			stop()
		}
	}
	if _, err := engine.Run(ctx, old); err == nil || shows(t, token, label) != first {
		t.Fatalf("it did not stop before the key was destroyed: %v", err)
	}
	if _, err := engine.Run(t.Context(), ceremonyOf(t, token, "done", "destroy", doomed)); err != nil {
		t.Fatal(err)
	}
	second := make("second")
	old.Resume, old.At = true, nil
	for range 2 {
		if _, err := engine.Run(t.Context(), old); err == nil || !strings.Contains(err.Error(), "a later ceremony made it") {
			t.Errorf("resumed: %v", err)
		}
	}
	if shows(t, token, label) != second {
		t.Error("another key was destroyed")
	}
}

// TestKeyThatWasMeant: a transcript of a ceremony that destroys, cut back to before its
// step and resumed after the key's label went to another, destroys nothing if its
// script says the check value of the key that is meant.
func TestKeyThatWasMeant(t *testing.T) {
	token := hsmtest.Empty(t)
	const label = "transit.mpk.v1"
	run := func(name, kind, key string) {
		t.Helper()
		if _, err := engine.Run(t.Context(), ceremonyOf(t, token, name, kind, key)); err != nil {
			t.Fatal(err)
		}
	}
	run("first", "generate", "{label: "+label+"}")
	meant := fmt.Sprintf(`{label: %s, evidence: a drill, check: "%s"}`, label, shows(t, token, label))
	old := ceremonyOf(t, token, "old", "destroy", meant)
	ctx, stop := context.WithCancel(t.Context())
	old.At = func(step int, what string) {
		if what == "before" && old.Plan.Steps[step-1].Op == script.OpDestroy {
			stop()
		}
	}
	if _, err := engine.Run(ctx, old); err == nil {
		t.Fatal("it did not stop before its step")
	}
	run("done", "destroy", meant)
	run("second", "generate", "{label: "+label+"}")
	second := shows(t, token, label)
	old.Resume, old.At = true, nil
	if _, err := engine.Run(t.Context(), old); err == nil || !strings.Contains(err.Error(), "the script means the key with") || shows(t, token, label) != second {
		t.Errorf("resumed: %v", err)
	}
}

// TestOwnKeyIsFound: a copy of a transcript that ends where the key's birth had
// begun goes on with the key that this ceremony made.
func TestOwnKeyIsFound(t *testing.T) {
	token := hsmtest.Empty(t)
	c := ceremonyOf(t, token, "own", "generate", "{label: pan-seal.v1}")
	dir := filepath.Join(t.TempDir(), "copy")
	at(&c, "did", func() {
		if err := os.CopyFS(dir, os.DirFS(c.Dir)); err != nil {
			t.Error(err)
		}
	})
	if _, err := engine.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	made := shows(t, token, "pan-seal.v1")
	c.Dir, c.Resume, c.At = dir, true, nil
	if _, err := engine.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, engine.TranscriptFile))
	if err != nil {
		t.Fatal(err)
	}
	story, err := transcript.Verify(text, transcript.Expect{})
	if err != nil || !strings.Contains(story.Tell(), "it was whole when the ceremony was resumed") || shows(t, token, "pan-seal.v1") != made {
		t.Errorf("%v\n%s", err, text)
	}
}
