package bench

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// benchKey is the purchase master of the measurement, diversified once.
var benchKey = keyref.Ref{Realm: "bench", Usage: keyref.PurchaseMaster, Version: 1}

// Purchase measures the check of a purchase through the public API of hsm, one
// caller on one thread: derive the card key, derive the process key, make MAC1
// and MAC2, destroy both keys, and compare MAC2 in constant time. The
// cards that take turns are so many that no cached key helps. The limit is a C loop of
// the same calls with the same attributes on the same kind of objects.
func Purchase(ctx context.Context, o Options) (res Result, err error) {
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
	soft := new(softkey.Ring)
	defer soft.Close()
	if err := master(ctx, tok, soft); err != nil {
		return res, err
	}
	if err := tok.Require(ctx, benchKey); err != nil {
		return res, err
	}
	loop, err := openBare(cfg.Module, cfg.Token, benchKey.Label())
	if err != nil {
		return res, err
	}
	defer loop.close()
	if res, err = purchase(ctx, o, tok, soft, loop); err != nil {
		return res, err
	}
	res.Name, res.Unit = "purchase", "purchase check: card key, process key, MAC1, MAC2, both keys destroyed"
	res.Limit = "bare C loop of the same PKCS #11 calls, one thread"
	return res, nil
}

// message1 and message2 are the MAC inputs of a purchase of 2 yuan.
var (
	message1 = append([]byte{0, 0, 0, 200, 6}, make([]byte, 13)...)
	message2 = []byte{0, 0, 0, 200}
)

// master makes the purchase master of the measurement in both rings, so that
// the cards' answers can be made ready in memory.
func master(ctx context.Context, tok *hsm.Token, soft *softkey.Ring) error {
	key := make([]byte, 16)
	defer clear(key)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if err := soft.ImportScratch(ctx, benchKey, key); err != nil {
		return err
	}
	return tok.Import(ctx, benchKey, key)
}

func purchase(ctx context.Context, o Options, tok *hsm.Token, soft *softkey.Ring, loop *bare) (Result, error) {
	if err := agree(ctx, tok, loop); err != nil {
		return Result{}, err
	}
	answers, err := answers(ctx, soft)
	if err != nil {
		return Result{}, err
	}
	var card uint64
	side := func(n int) (time.Duration, error) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begin := time.Now()
		for range n {
			card++
			macs, err := check(ctx, tok, card%cards)
			if err != nil {
				return 0, err
			}
			if subtle.ConstantTimeCompare(macs[1][:], answers[card%cards][:]) != 1 {
				return 0, errors.New("measuring purchase: a card's MAC2 was refused")
			}
		}
		return time.Since(begin), nil
	}
	limit := func(n int) (time.Duration, error) {
		card += uint64(n)
		d, _, err := loop.run(n, card)
		return d, err
	}
	return paired(ctx, o, side, limit)
}

// cards is how many cards take turns: far more than the front-end remembers,
// so that each derivation really happens.
const cards = 16384

// answers returns the MAC2 that each card answers.
func answers(ctx context.Context, soft *softkey.Ring) ([][4]byte, error) {
	all := make([][4]byte, cards)
	for i := range all {
		macs, err := check(ctx, soft, uint64(i))
		if err != nil {
			return nil, err
		}
		all[i] = macs[1]
	}
	return all, nil
}

func check(ctx context.Context, tok cryptogram.Keys, card uint64) ([][4]byte, error) {
	var factor keyref.Factor
	binary.BigEndian.PutUint64(factor[:], card)
	path, err := benchKey.Path(factor)
	if err != nil {
		return nil, err
	}
	input := [8]byte{0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11}
	return tok.ProcessMAC(ctx, path, input, message1, message2)
}

// agree makes sure that both sides compute the same.
func agree(ctx context.Context, tok *hsm.Token, loop *bare) error {
	const card = 0x0123456789
	_, want, err := loop.run(1, card)
	if err != nil {
		return err
	}
	got, err := check(ctx, tok, card)
	if err != nil {
		return err
	}
	if got[0] != want[0] || got[1] != want[1] {
		return errors.New("measuring purchase: the C loop and the service disagree about a MAC")
	}
	return nil
}

// scratch returns the configuration to measure on, and what to call at the end.
func scratch(ctx context.Context, o Options) (cfg hsm.Config, done func() error, err error) {
	if o.HSM != nil {
		return *o.HSM, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "tapvault-bench-")
	if err != nil {
		return cfg, nil, fmt.Errorf("making a scratch token: %w", err)
	}
	done = func() error { return os.RemoveAll(dir) }
	if cfg, err = scratchToken(ctx, dir); err != nil {
		return cfg, nil, errors.Join(fmt.Errorf("making a scratch token: %w", err), done())
	}
	return cfg, done, nil
}

func scratchToken(ctx context.Context, dir string) (cfg hsm.Config, err error) {
	conf, err := softhsmconfig.Write(dir)
	if err != nil {
		return cfg, err
	}
	if err := softhsmconfig.Use(conf); err != nil {
		return cfg, err
	}
	if cfg.Module, err = softhsmconfig.Module(); err != nil {
		return cfg, err
	}
	cfg.Token, cfg.PIN = "bench", hsm.StaticPIN("rehearsal")
	err = hsm.InitToken(ctx, hsm.InitConfig{Module: cfg.Module, Label: cfg.Token,
		SOPIN: []byte("rehearsal"), UserPIN: []byte("rehearsal")})
	return cfg, err
}
