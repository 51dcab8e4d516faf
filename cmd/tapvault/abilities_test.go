package main

import (
	"slices"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
)

// TestAbilities: each key is of one ability, and those of a service without any cards
// are of abilities that are always needed.
func TestAbilities(t *testing.T) {
	var bare []keyref.Usage
	for _, r := range (assembly.Config{Slots: assembly.Slots{Realm: "transit", KeyVersion: 1}}).Keys() {
		bare = append(bare, r.Usage)
	}
	for _, u := range keyref.Usages() {
		l := hsm.Lack{Usages: []keyref.Usage{u}}
		if got := costs(l); len(got) != 1 {
			t.Errorf("%s is of %v", u, got)
		}
		if u != keyref.OfficerSign && stops(l) != slices.Contains(bare, u) {
			t.Errorf("without %s: a service stops: %t", u, stops(l))
		}
	}
}
