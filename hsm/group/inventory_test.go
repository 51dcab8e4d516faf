package group_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// TestInventory: the keys of two tokens are listed together, and what is not the
// same in both is flagged.
func TestInventory(t *testing.T) {
	t.Setenv(softhsmconfig.Env, "")
	original, err := softhsmconfig.Module()
	if err != nil {
		t.Fatal(err)
	}
	first := born(t, original)
	second, strange := first.cloned(t, library(t, original)), born(t, library(t, original))
	list := func(other home) []keyref.Info {
		t.Helper()
		g, err := group.New(t.Context(), slog.New(slog.DiscardHandler), group.Member{Name: "1", Open: first.open}, group.Member{Name: "2", Open: other.open})
		if err != nil {
			t.Fatal(err)
		}
		all, err := g.Inventory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		return all
	}
	keys := keyceremony.ServiceKeys(realm)
	both := []string{"1", "2"}
	all := list(second)
	if len(all) != len(keys) {
		t.Errorf("%d keys, want %d", len(all), len(keys))
	}
	for _, k := range all {
		if !slices.Equal(k.Tokens, both) || k.Flag != "" {
			t.Errorf("%s: in %q, %s", k.Ref.Label(), k.Tokens, k.Flag)
		}
	}
	for _, k := range list(strange) {
		if !slices.Equal(k.Tokens, both) || k.Flag != "it is another key in token 2 than in token 1" {
			t.Errorf("%s: in %q, %s", k.Ref.Label(), k.Tokens, k.Flag)
		}
	}
	more := keyref.Ref{Realm: "cards", Usage: keyref.LoadMaster, Version: 1}
	tok, err := second.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Import(t.Context(), more, []byte("sixteen bytes ab")); err != nil {
		t.Fatal(err)
	}
	if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
	flagged := 0
	for _, k := range list(second) {
		if k.Flag == "" {
			continue
		}
		flagged++
		if k.Ref != more || !slices.Equal(k.Tokens, []string{"2"}) || k.Flag != "token 1 does not hold it" {
			t.Errorf("%s: in %q, %s", k.Ref.Label(), k.Tokens, k.Flag)
		}
	}
	if flagged != 1 {
		t.Errorf("%d keys are flagged, want one", flagged)
	}
}

// TestInventoryOfOne: a token that is out is not said to lack keys.
func TestInventoryOfOne(t *testing.T) {
	t.Setenv(softhsmconfig.Env, "")
	original, err := softhsmconfig.Module()
	if err != nil {
		t.Fatal(err)
	}
	g, err := group.New(t.Context(), slog.New(slog.DiscardHandler), group.Member{Name: "1", Open: func(context.Context) (*hsm.Token, error) {
		return nil, fmt.Errorf("%w: the cable is out", hsm.ErrUnavailable)
	}}, group.Member{Name: "2", Open: born(t, original).open})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	all, err := g.Inventory(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatalf("%d keys, %v", len(all), err)
	}
	for _, k := range all {
		if !slices.Equal(k.Tokens, []string{"2"}) || k.Flag != "" {
			t.Errorf("%s: in %q, %s", k.Ref.Label(), k.Tokens, k.Flag)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Inventory(ctx); fault.KindOf(err) == "" || err == nil {
		t.Errorf("after the caller left: %v", err)
	}
}

func TestMerge(t *testing.T) {
	a, b := &keyref.CheckValue{1}, &keyref.CheckValue{2}
	ref := func(v uint8) keyref.Ref { return keyref.Ref{Usage: keyref.PANSeal, Version: v} }
	got := group.Merge(group.Held{Name: "1", Keys: []keyref.Info{{Ref: ref(3), Check: a}, {Ref: ref(1), Check: a}, {Ref: ref(4), Flag: "cut off"}, {Ref: ref(6)}}},
		group.Held{Name: "2", Keys: []keyref.Info{{Ref: ref(1)}, {Ref: ref(3), Check: b}, {Ref: ref(5), Flag: "cut off"}, {Ref: ref(4)}, {Ref: ref(6), Check: a}}},
		group.Held{Name: "3", Keys: []keyref.Info{{Ref: ref(1), Check: a}, {Ref: ref(3), Check: a}, {Ref: ref(5)}, {Ref: ref(4)}, {Ref: ref(6), Check: b}}})
	var lines []string
	for _, k := range got {
		lines = append(lines, fmt.Sprintf("%d %s %s", k.Ref.Version, strings.Join(k.Tokens, ","), k.Flag))
	}
	want := []string{"1 1,2,3 ", "3 1,2,3 it is another key in token 2 than in token 1", "4 1,2,3 cut off", "5 2,3 cut off",
		"6 1,2,3 it is another key in token 3 than in token 2"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
}
