package bench

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
)

var arqcKey = keyref.Ref{Realm: "bench", Usage: keyref.ACMaster, Version: 1}

// ARQC measures the check of an ARQC of Visa's CVN 18 as the service does it,
// from the fields to the comparison in constant time. The limit is a C loop of
// the fewest calls that such a check takes, with the same attributes on the same
// kind of objects.
func ARQC(ctx context.Context, o Options) (Result, error) {
	b := &arqcBench{profile: emv.Profiles["visa-18"]}
	return hold(ctx, o, &contest{
		name: "arqc", key: arqcKey,
		unit:    "ARQC check (CVN 18, 40 bytes): card key, session key in two forms, algorithm 3, keys destroyed, compared",
		prepare: b.prepare,
		check: func(ctx context.Context, tok *hsm.Token, card uint64) error {
			return b.profile.Verify(ctx, tok, arqcKey, emv.Transaction{Card: b.cards[card], Data: b.data, AC: b.answers[card]})
		},
		loop:  func(l *bare, n int, seed uint64) error { _, err := l.arqc(n, seed, b.step, b.msg); return err },
		agree: b.agree,
	})
}

// arqcBench is the cards and what they answer.
type arqcBench struct {
	profile emv.Profile
	cards   []emv.Card
	answers [][8]byte
	data    emv.Data
	step    [16]byte // of the session key
	msg     []byte   // padded
}

func (b *arqcBench) prepare(ctx context.Context, soft *softkey.Ring) error {
	b.data = emv.Data{"9F02": make([]byte, 6), "9F03": make([]byte, 6), "9F1A": {1, 0x56}, "95": make([]byte, 5), "5F2A": {1, 0x56},
		"9A": {0x26, 7, 0x24}, "9C": {0}, "9F37": {1, 2, 3, 4}, "82": {0x20, 0}, "9F36": {0, 7}, "9F10": {6, 1, 0x12, 3, 0xA0, 0, 0}}
	msg, err := b.profile.Input(b.data)
	if err != nil {
		return err
	}
	b.msg = mac.Pad2(msg, 8)
	copy(b.step[:], emv.CommonStep([]byte{0, 7, 0, 0, 0, 0, 0, 0}, 0))
	b.cards, b.answers = make([]emv.Card, cards), make([][8]byte, cards)
	for i := range b.cards {
		if b.cards[i], err = emv.NewCard(fmt.Sprintf("%016d", 4761730000000000+uint64(i)), "00"); err != nil {
			return err
		}
		if b.answers[i], err = b.profile.AC(ctx, soft, arqcKey, b.cards[i], b.data); err != nil {
			return err
		}
	}
	return nil
}

// agree makes sure that both sides compute the same, for one card.
func (b *arqcBench) agree(ctx context.Context, tok *hsm.Token, l *bare) error {
	step, err := b.profile.Master.Step(b.cards[1])
	if err != nil {
		return err
	}
	got, err := l.arqc(1, binary.BigEndian.Uint64(step), b.step, b.msg)
	if err != nil {
		return err
	}
	if err := b.profile.Verify(ctx, tok, arqcKey, emv.Transaction{Card: b.cards[1], Data: b.data, AC: got}); err != nil {
		return fmt.Errorf("measuring arqc: the C loop and the service disagree: %w", err)
	}
	return nil
}
