package register_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/register"
	"github.com/tapvault/tapvault/keyceremony/rehearsal"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

const people = `quorum: 2
people:
  - {name: alice, role: security-officer}
  - {name: bob, role: security-officer}
  - {name: walter, role: witness}
`

// held holds a ceremony on a token and returns its error.
func held(t *testing.T, cfg hsm.Config, dir, name, kind, keys string) error {
	t.Helper()
	text := "ceremony: " + name + "\nkind: " + kind + "\nreason: to see\ntoken: " + cfg.Token + "\naudit_key: none\n" + people + "keys: [" + keys + "]\n"
	plan, err := script.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := &rehearsal.Player{Seed: [32]byte{1}, Out: io.Discard}
	players, err := p.People(plan.Script)
	if err != nil {
		t.Fatal(err)
	}
	before, err := register.Load(dir, register.Trust{Rehearsals: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = engine.Run(context.Background(), engine.Config{Plan: plan, Dir: filepath.Join(dir, name), Desk: p, Module: engine.HSM{Config: cfg}, People: players,
		States: before.States(cfg.Token), Now: time.Now})
	return err
}

// TestLife leads a key from its birth to its end, by transcripts alone.
func TestLife(t *testing.T) {
	cfg, dir := hsmtest.Empty(t), t.TempDir()
	trust := register.Trust{Rehearsals: true}
	step := func(name, kind, keys, says string, want map[string]script.State) {
		t.Helper()
		err := held(t, cfg, dir, name, kind, keys)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Fatalf("%s: %v", name, err)
		}
		if says != "" {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := register.Load(dir, trust)
		if err != nil {
			t.Fatal(err)
		}
		got := r.States(cfg.Token)
		for label, s := range want {
			if got[label] != s {
				t.Errorf("after %s, %s is %q, want %q", name, label, got[label], s)
			}
		}
	}
	const v1, v2 = "transit.mpk.v1", "transit.mpk.v2"
	step("one", "generate", "{label: "+v1+"}", "", map[string]script.State{v1: script.Active})
	step("early", "retire", "{label: "+v1+", evidence: none}", "is ACTIVE, and has to be RETIRING", map[string]script.State{v1: script.Active})
	step("two", "generate", "{label: "+v2+", state: PENDING}", "", map[string]script.State{v2: script.Pending})
	step("wrong", "rotate", "{label: "+v2+", replaces: "+v1+", held_by: [{device: psam-1, check: '000000'}]}", "load that device again", map[string]script.State{v2: script.Pending})
	step("rotated", "rotate", "{label: "+v2+", replaces: "+v1+", evidence: all hold it}", "", map[string]script.State{v1: script.Retiring, v2: script.Active})
	r, err := register.Load(dir, trust)
	if v, ok := r.Active(cfg.Token, "transit", keyref.PurchaseMaster); err != nil || !ok || v != 2 || len(r.Verifying(cfg.Token, "transit", keyref.PurchaseMaster)) != 2 {
		t.Errorf("version %d issues, %v", v, err)
	}
	step("again", "rotate", "{label: "+v2+", replaces: "+v1+", evidence: all hold it}", "has to be PENDING", nil)
	step("kept", "destroy", "{label: "+v1+", evidence: none}", "has to be RETIRED", map[string]script.State{v1: script.Retiring})
	step("retired", "retire", "{label: "+v1+", evidence: the last card is gone}", "", map[string]script.State{v1: script.Retired})
	step("ended", "destroy", "{label: "+v1+", evidence: a year later}", "", map[string]script.State{v1: script.Destroyed})

	tok, err := hsm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	if err := tok.Generate(t.Context(), keyref.Ref{Usage: keyref.PARKey, Version: 1}); err != nil {
		t.Fatal(err)
	}
	list, err := tok.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	shelf := &register.Shelf{Dir: dir, Token: cfg.Token, Trust: trust, Every: time.Second, Now: time.Now}
	shelf.Annotate(list)
	if len(list) != 2 || list[0].Flag != register.NoTranscript || list[1].Flag != "" || list[1].Ceremony != "two" || len(list[1].Transcript) != 64 || list[1].State != "ACTIVE" {
		t.Errorf("%+v", list)
	}
	*list[1].Check = keyref.CheckValue{}
	if shelf.Annotate(list); list[1].Flag != register.OtherKey {
		t.Errorf("a key of another value: %+v", list[1])
	}
	replayed(t, cfg, dir)
	untrusted(t, dir)
}

// replayed: a transcript whose end, which no signature covers, is written anew
// with a later time says what it said when it was held, and not once more.
func replayed(t *testing.T, cfg hsm.Config, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "one", engine.TranscriptFile))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	end := &lines[len(lines)-1]
	_, body, _ := strings.Cut(*end, " ")
	body = regexp.MustCompile(`"time":"20..`).ReplaceAllString(body, `"time":"2099`)
	*end = fmt.Sprintf("%X %s\n", sha256.Sum256([]byte(body)), body)
	later := []byte(strings.Join(lines, ""))
	if _, err := transcript.Verify(later, transcript.Expect{}); err != nil {
		t.Fatalf("this test changes something that is covered: %v", err)
	}
	copied := filepath.Join(dir, "zz.jsonl")
	if err := os.WriteFile(copied, later, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, original := range []string{"", filepath.Join(dir, "one")} { // beside the original, and in its place
		if original != "" {
			if err := os.RemoveAll(original); err != nil {
				t.Fatal(err)
			}
		}
		r, err := register.Load(dir, register.Trust{Rehearsals: true})
		if err != nil {
			t.Fatal(err)
		}
		if s := r.States(cfg.Token)["transit.mpk.v1"]; s != script.Destroyed {
			t.Errorf("a transcript that was shown again makes a destroyed key %s", s)
		}
	}
}

// untrusted: what does not count is an error, and not left out.
func untrusted(t *testing.T, dir string) {
	if _, err := register.Load(dir, register.Trust{}); !errors.Is(err, register.ErrUntrusted) {
		t.Errorf("a rehearsal in a live folder: %v", err)
	}
	if _, err := register.Load(dir, register.Trust{Rehearsals: true, Officers: []string{"ed25519:x"}}); !errors.Is(err, register.ErrUntrusted) {
		t.Errorf("other officers: %v", err)
	}
	file := filepath.Join(dir, "ended", engine.TranscriptFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := register.Load(dir, register.Trust{Rehearsals: true}); !errors.Is(err, transcript.ErrBroken) {
		t.Errorf("a changed transcript: %v", err)
	}
	shelf := &register.Shelf{Dir: dir, Trust: register.Trust{Rehearsals: true}, Now: time.Now}
	list := []keyref.Info{{Ref: keyref.Ref{Usage: keyref.PARKey, Version: 1}}}
	if shelf.Annotate(list); list[0].Flag != register.Unreadable {
		t.Errorf("%+v", list)
	}
}
