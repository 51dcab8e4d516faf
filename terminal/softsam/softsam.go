// Package softsam is a security module in memory for simulations: it takes no
// master but those that follow from a simulation's seed.
//
// What it answers is what [psam] answers; only where the keys lie differs. A
// real master in process memory would be worth the whole scheme, so there is no
// way to give one to it.
package softsam

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/psam"
)

// ErrNotSimulated reports a master or a seed that no simulation made.
var ErrNotSimulated = errors.New("softsam: only masters of a simulation are taken")

// Marker begins every seed, so that a key that found its way into a
// configuration is no seed.
const Marker = "tapvault simulation "

// minSeed is how long a seed is at least behind its marker.
const minSeed = 8

// Master is the key of a simulation that ref names, for a service that is to
// play with it. Two seeds have nothing in common.
func Master(seed string, ref keyref.Ref) (key [16]byte, err error) {
	if !strings.HasPrefix(seed, Marker) || len(seed) < len(Marker)+minSeed {
		return key, fmt.Errorf("%w: a seed begins with %q", ErrNotSimulated, Marker)
	}
	m := hmac.New(sha256.New, []byte(seed))
	m.Write([]byte("softsam/v1/" + ref.Label()))
	copy(key[:], m.Sum(nil))
	return key, nil
}

// Config says what a module holds.
type Config struct {
	Seed     string
	Realm    string
	Cards    byte // version of usage 42h, two levels; 0: the module knows no cards
	Phones   byte // version of usage 62h, three levels; 0: the module lacks the phones' key
	Terminal [6]byte
	Serial   psam.Serial // nil: one that starts again with the process
	// Masters are keys that somebody says are the seed's. They are checked, and
	// nothing but them is used; nil: the seed's own.
	Masters map[keyref.Ref][16]byte
}

// New returns a module, or [ErrNotSimulated] when a master is not the seed's.
func New(ctx context.Context, c Config) (*psam.PSAM, error) {
	if c.Serial == nil {
		c.Serial = &psam.Counter{}
	}
	table := map[psam.KeyID]keyref.Ref{}
	if c.Cards != 0 {
		table[psam.KeyID{Usage: psam.TwoLevels, Version: c.Cards}] = keyref.Ref{Realm: c.Realm, Usage: keyref.PurchaseMaster, Version: c.Cards}
	}
	if c.Phones != 0 {
		table[psam.KeyID{Usage: psam.ThreeLevels, Version: c.Phones}] = keyref.Ref{Realm: c.Realm, Usage: keyref.SlotPurchaseMaster, Version: c.Phones}
	}
	ring := &softkey.Ring{}
	for _, ref := range table {
		key, err := Master(c.Seed, ref)
		if err != nil {
			return nil, err
		}
		if given, ok := c.Masters[ref]; c.Masters != nil && (!ok || subtle.ConstantTimeCompare(given[:], key[:]) != 1) {
			return nil, fmt.Errorf("%w: %v", ErrNotSimulated, ref)
		}
		if err := ring.ImportScratch(ctx, ref, key[:]); err != nil {
			return nil, fmt.Errorf("filling a module: %w", err)
		}
	}
	return psam.New(psam.Config{Keys: ring, Table: table, Terminal: c.Terminal, Serial: c.Serial})
}
