package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
)

var arqcKey = keyref.Ref{Realm: "bench", Usage: keyref.ACMaster, Version: 1}

// ARQC measures the check of an ARQC of Visa's CVN 18 as the service does it,
// from the fields to the comparison in constant time, at 1, 2 and 8 callers.
// The cards that take turns are so many that no kept key helps. The limit is a
// C loop of the fewest calls that such a check takes, with the same attributes
// on the same kind of objects, on as many threads as serve it best.
func ARQC(ctx context.Context, o Options) (res Result, err error) {
	o = o.withDefaults()
	cfg, done, err := scratch(ctx, o)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, done()) }()
	tok, err := hsm.Open(ctx, cfg)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	b := &arqcBench{tok: tok, profile: emv.Profiles["visa-18"]}
	if err := b.prepare(ctx); err != nil {
		return res, err
	}
	for range 8 {
		loop, err := openBare(cfg.Module, cfg.Token, arqcKey.Label())
		if err != nil {
			return res, err
		}
		defer loop.close()
		b.loops = append(b.loops, loop)
	}
	return b.measure(ctx, o)
}

// arqcBench is both sides.
type arqcBench struct {
	tok     *hsm.Token
	profile emv.Profile
	loops   []*bare
	cards   []emv.Card
	answers [][8]byte
	data    emv.Data
	step    [16]byte // of the session key
	msg     []byte   // padded
	next    uint64
}

// prepare makes the key in both rings, the cards and what they answer.
func (b *arqcBench) prepare(ctx context.Context) error {
	key := make([]byte, 16)
	defer clear(key)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	soft := new(softkey.Ring)
	defer soft.Close()
	if err := soft.ImportScratch(ctx, arqcKey, key); err != nil {
		return err
	}
	if err := b.tok.Import(ctx, arqcKey, key); err != nil {
		return err
	}
	if err := b.tok.Require(ctx, arqcKey); err != nil {
		return err
	}
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

// measure measures each number of callers; the worst of them counts.
func (b *arqcBench) measure(ctx context.Context, o Options) (res Result, err error) {
	if err := b.agree(ctx); err != nil {
		return res, err
	}
	threads, err := b.best()
	if err != nil {
		return res, err
	}
	for _, callers := range []int{1, 2, 8} {
		r, err := paired(ctx, o, func(n int) (time.Duration, error) { return b.check(ctx, callers, n) },
			func(n int) (time.Duration, error) { return b.bare(threads, n) })
		if err != nil {
			return res, err
		}
		r.Name, r.Callers = "arqc", callers
		r.Unit = "ARQC check (CVN 18, 40 bytes): card key, session key in two forms, algorithm 3, keys destroyed, compared"
		r.Limit = fmt.Sprintf("bare C loop of the fewest PKCS #11 calls, best of 1, 2 and 8 threads: %d", threads)
		res.Parts = append(res.Parts, r)
	}
	parts := res.Parts
	res = parts[0]
	for _, r := range parts[1:] {
		if r.Ratio < res.Ratio {
			res = r
		}
	}
	res.Parts = parts
	return res, nil
}

// share runs n operations as so many workers do.
func share(workers, n int, one func(worker, first, count int) error) (time.Duration, error) {
	errs := make([]error, workers)
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range workers {
		first, end := n*w/workers, n*(w+1)/workers
		wg.Go(func() { errs[w] = one(w, first, end-first) })
	}
	wg.Wait()
	return time.Since(begin), errors.Join(errs...)
}

func (b *arqcBench) check(ctx context.Context, callers, n int) (time.Duration, error) {
	base := b.next
	b.next += uint64(n)
	return share(callers, n, func(_, first, count int) error {
		for i := range count {
			k := (base + uint64(first+i)) % cards
			if err := b.profile.Verify(ctx, b.tok, arqcKey, b.cards[k], b.data, b.answers[k]); err != nil {
				return fmt.Errorf("measuring arqc: %w", err)
			}
		}
		return nil
	})
}

func (b *arqcBench) bare(threads, n int) (time.Duration, error) {
	base := b.next
	b.next += uint64(n)
	return share(threads, n, func(w, first, count int) error {
		_, err := b.loops[w].arqc(count, base+uint64(first), b.step, b.msg)
		return err
	})
}

// best is the number of threads with which the loop is fastest.
func (b *arqcBench) best() (threads int, err error) {
	const n = 4000
	var least time.Duration
	for _, k := range []int{1, 2, 8} {
		took := time.Duration(1<<63 - 1)
		for range 3 {
			d, err := b.bare(k, n)
			if err != nil {
				return 0, err
			}
			took = min(took, d)
		}
		if threads == 0 || took < least {
			threads, least = k, took
		}
	}
	return threads, nil
}

// agree makes sure that both sides compute the same, for one card.
func (b *arqcBench) agree(ctx context.Context) error {
	step, err := b.profile.Master.Step(b.cards[1])
	if err != nil {
		return err
	}
	got, err := b.loops[0].arqc(1, binary.BigEndian.Uint64(step), b.step, b.msg)
	if err != nil {
		return err
	}
	if err := b.profile.Verify(ctx, b.tok, arqcKey, b.cards[1], b.data, got); err != nil {
		return fmt.Errorf("measuring arqc: the C loop and the service disagree: %w", err)
	}
	return nil
}
