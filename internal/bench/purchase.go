package bench

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// benchKey is the purchase master of the measurement, diversified once.
var benchKey = keyref.Ref{Realm: "bench", Usage: keyref.PurchaseMaster, Version: 1}

// Purchase measures the check of a purchase through the public API of hsm:
// derive the card key, derive the process key, make MAC1 and MAC2, destroy both
// keys, and compare MAC2 in constant time. The limit is a C loop of the same
// calls with the same attributes on the same kind of objects.
func Purchase(ctx context.Context, o Options) (Result, error) {
	answers := make([][4]byte, cards)
	return hold(ctx, o, &contest{
		name: "purchase", key: benchKey,
		unit: "purchase check: card key, process key, MAC1, MAC2, both keys destroyed",
		prepare: func(ctx context.Context, soft *softkey.Ring) error {
			for i := range answers {
				macs, err := purchaseMACs(ctx, soft, uint64(i))
				if err != nil {
					return err
				}
				answers[i] = macs[1]
			}
			return nil
		},
		check: func(ctx context.Context, tok *hsm.Token, card uint64) error {
			macs, err := purchaseMACs(ctx, tok, card)
			if err == nil && subtle.ConstantTimeCompare(macs[1][:], answers[card][:]) != 1 {
				err = errors.New("a card's MAC2 was refused")
			}
			return err
		},
		loop: func(b *bare, n int, seed uint64) error { _, _, err := b.run(n, seed); return err },
		agree: func(ctx context.Context, tok *hsm.Token, b *bare) error {
			const card = 0x0123456789
			_, want, err := b.run(1, card)
			if err != nil {
				return err
			}
			got, err := purchaseMACs(ctx, tok, card)
			if err == nil && (got[0] != want[0] || got[1] != want[1]) {
				err = errors.New("measuring purchase: the C loop and the service disagree about a MAC")
			}
			return err
		},
	})
}

// message1 and message2 are the MAC inputs of a purchase of 2 yuan.
var (
	message1 = append([]byte{0, 0, 0, 200, 6}, make([]byte, 13)...)
	message2 = []byte{0, 0, 0, 200}
)

func purchaseMACs(ctx context.Context, keys cryptogram.Keys, card uint64) ([][4]byte, error) {
	path, err := cardPath(benchKey, card)
	if err != nil {
		return nil, err
	}
	input := [8]byte{0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11}
	return keys.ProcessMAC(ctx, path, input, message1, message2)
}

// cardPath is one level below a master, with the card's number as factor.
func cardPath(master keyref.Ref, card uint64) (keyref.Path, error) {
	var factor keyref.Factor
	binary.BigEndian.PutUint64(factor[:], card)
	return master.Path(factor)
}

// scratch returns the configuration to measure on, and what to call at the end.
func scratch(ctx context.Context, o Options) (cfg hsm.Config, done func() error, err error) {
	if o.HSM != nil {
		return *o.HSM, func() error { return nil }, nil
	}
	module, err := softtoken.Find(o.Module)
	if err != nil {
		return cfg, nil, fmt.Errorf("making a scratch token: %w", err)
	}
	dir, err := os.MkdirTemp("", "tapvault-bench-")
	if err != nil {
		return cfg, nil, fmt.Errorf("making a scratch token: %w", err)
	}
	done = func() error { return os.RemoveAll(dir) }
	if cfg, err = module.Scratch(ctx, dir, "bench", "rehearsal"); err != nil {
		return cfg, nil, errors.Join(fmt.Errorf("making a scratch token: %w", err), done())
	}
	cfg.RecycleAfter = -1 // the loops have sessions of their own in the module
	return cfg, done, nil
}
