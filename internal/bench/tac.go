package bench

import (
	"context"
	"crypto/subtle"
	"errors"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
)

var tacKey = keyref.Ref{Realm: "bench", Usage: keyref.TACMaster, Version: 1}

// TAC measures the check of a physical card's TAC as a back office has it done,
// without slots and without records: derive the card's TAC key, fold it, make
// the TAC, destroy both keys, and compare in constant time. The limit is a C
// loop of the same calls with the same attributes.
func TAC(ctx context.Context, o Options) (Result, error) {
	answers := make([][4]byte, cards)
	make4 := func(ctx context.Context, keys cryptogram.Keys, card uint64) (tac [4]byte, err error) {
		path, err := cardPath(tacKey, card)
		if err != nil {
			return tac, err
		}
		return cryptogram.TAC(ctx, keys, path, cryptogram.TACFold, benchPurchase)
	}
	return hold(ctx, o, &contest{
		name: "tac", key: tacKey,
		unit: "TAC check of a physical card: card key, folded key, TAC, both keys destroyed, compared",
		prepare: func(ctx context.Context, soft *softkey.Ring) (err error) {
			for i := range answers {
				if answers[i], err = make4(ctx, soft, uint64(i)); err != nil {
					return err
				}
			}
			return nil
		},
		check: func(ctx context.Context, tok *hsm.Token, card uint64) error {
			tac, err := make4(ctx, tok, card)
			if err == nil && subtle.ConstantTimeCompare(tac[:], answers[card][:]) != 1 {
				err = errors.New("a card's TAC was refused")
			}
			return err
		},
		loop: func(b *bare, n int, seed uint64) error { _, err := b.tac(n, seed, tacMessage()); return err },
		agree: func(ctx context.Context, tok *hsm.Token, b *bare) error {
			const card = 0x0123456789
			want, err := b.tac(1, card, tacMessage())
			if err != nil {
				return err
			}
			got, err := make4(ctx, tok, card)
			if err == nil && got != [4]byte(want[:4]) {
				err = errors.New("measuring tac: the C loop and the service disagree about a TAC")
			}
			return err
		},
	})
}

// benchPurchase is what every card's TAC is over.
var benchPurchase = cryptogram.Purchase{Amount: 200, Type: cryptogram.PurchaseCAPP, Terminal: [6]byte{1, 2, 3, 4, 5, 6}, TermSeq: 7,
	At: cryptogram.DateTime{0x20, 0x26, 0x07, 0x24, 0x08, 0x30, 0x00}}

// tacMessage is its padded form.
func tacMessage() []byte {
	msg := append(benchPurchase.TACInput(), 0x80)
	for len(msg)%8 != 0 {
		msg = append(msg, 0)
	}
	return msg
}
