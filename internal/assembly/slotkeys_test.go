package assembly

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/register"
	"github.com/tapvault/tapvault/keyceremony/rehearsal"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// shared is a token that ceremonies and the service have open together, as two
// processes would: closing it is the test's affair.
type shared struct{ *hsm.Token }

func (shared) Close() error { return nil }

func (s shared) Init(context.Context, string, []byte, []byte) error { return nil }

func (s shared) Open(context.Context, string, []byte) (engine.Token, error) { return s, nil }

const officers = `quorum: 2
people:
  - {name: alice, role: security-officer}
  - {name: bob, role: security-officer}
  - {name: walter, role: witness}
`

// TestRotationWithoutRestart: the service follows the ceremonies while it runs.
func TestRotationWithoutRestart(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	dir, now := t.TempDir(), time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	held := func(name, kind string, keys string) {
		t.Helper()
		text := fmt.Sprintf("ceremony: %s\nkind: %s\nreason: to see\ntoken: here\naudit_key: none\n%skeys: [%s]\n", name, kind, officers, keys)
		plan, err := script.Read([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		p := &rehearsal.Player{Out: io.Discard}
		people, err := p.People(plan.Script)
		if err != nil {
			t.Fatal(err)
		}
		before, err := register.Load(dir, register.Trust{Rehearsals: true})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
		_, err = engine.Run(t.Context(), engine.Config{Plan: plan, Dir: filepath.Join(dir, name), Desk: p, Module: shared{tok}, People: people,
			States: before.States("here"), Now: func() time.Time { return now }})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		now = now.Add(time.Minute)
	}
	cfg := Config{Environment: Rehearsal, HSM: HSM{Token: "here", Transcripts: dir}, Slots: Slots{Realm: "transit", KeyVersion: 1}}
	held("first", "generate", "{label: transit.mpk-s.v1}, {label: transit.mtk-s.v1}")
	if err := cfg.requireSlots(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	opt := Options{Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}
	follower := &rotation{parts: &parts{cfg: cfg, hsm: group.Of(tok), opt: opt}, shelf: cfg.Shelf(opt.Now)}
	s := follower.follow(cfg.slotSet())
	see := func(when string, issuing byte, verifying ...byte) {
		t.Helper()
		follower.look(t.Context())
		got := slices.Sorted(slices.Values(s.versions()))
		if s.issues() != issuing || !slices.Equal(got, verifying) {
			t.Errorf("%s: version %d issues, %v verify", when, s.issues(), got)
		}
		for _, v := range verifying { // each verifies: its masters are ready
			path, err := s.ref(keyref.SlotPurchaseMaster, v).Path(keyref.Factor{1}, keyref.Factor{2})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tok.SlotKeys(t.Context(), path, []keyref.Factor{{3}}); err != nil {
				t.Errorf("%s: version %d: %v", when, v, err)
			}
		}
	}
	see("at first", 1, 1)
	held("second", "generate", "{label: transit.mpk-s.v2, state: PENDING}, {label: transit.mtk-s.v2, state: PENDING}")
	see("while version 2 is pending", 1, 1, 2)
	held("half", "rotate", "{label: transit.mpk-s.v2, replaces: transit.mpk-s.v1, evidence: every PSAM holds it}")
	see("while half is rotated", 1, 1, 2)
	held("whole", "rotate", "{label: transit.mtk-s.v2, replaces: transit.mtk-s.v1, evidence: every PSAM holds it}")
	see("after the rotation", 2, 1, 2)
	held("retired", "retire", "{label: transit.mpk-s.v1, evidence: none is left}, {label: transit.mtk-s.v1, evidence: none is left}")
	see("after the retirement", 2, 2)
	held("gone", "destroy", "{label: transit.mpk-s.v1, evidence: a year later}, {label: transit.mtk-s.v1, evidence: a year later}")
	see("after the destruction", 2, 2)
}

func (c Config) requireSlots(ctx context.Context, t *hsm.Token) error {
	for _, u := range slotMasters {
		if err := t.Require(ctx, keyref.Ref{Realm: c.Slots.Realm, Usage: u, Version: c.Slots.KeyVersion}); err != nil {
			return err
		}
	}
	return nil
}
