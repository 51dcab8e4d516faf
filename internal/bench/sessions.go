//go:build linux

package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/softtoken"
)

const (
	manySessions = 32
	slowness     = time.Millisecond // of every call, as of an HSM behind a network
	// A round ends for one caller after the other, and a check takes 10 ms: short
	// rounds take 2 % off what many sessions do, and nothing off what one does.
	sessionsRound = time.Second
)

var hmacKey = keyref.Ref{Usage: keyref.PARKey, Version: 1}

// Sessions measures what more sessions bring when every call of the module
// takes a millisecond longer, as over a network: 32 callers with 32 sessions
// against 32 callers with one. Ratio is how many times as much they get done. The
// worse of two parts counts: purchase checks, in the sessions of workers, and
// HMACs, in those of the pool. The module is SoftHSM behind a shim that is
// compiled for it.
func Sessions(ctx context.Context, o Options) (res Result, err error) {
	if o.Round <= 0 {
		o.Round = sessionsRound
	}
	o = o.withDefaults()
	dir, err := os.MkdirTemp("", "tapvault-bench-")
	if err != nil {
		return res, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	slow, one, many, err := slowTokens(ctx, o, dir)
	defer func() { err = errors.Join(err, closeAll(one, many)) }()
	if err != nil {
		return res, err
	}
	slow.Delay(slowness)
	defer slow.Heal()
	for name, op := range map[string]func(context.Context, *hsm.Token, uint64) error{
		"purchase": func(ctx context.Context, t *hsm.Token, n uint64) error { _, err := purchaseMACs(ctx, t, n); return err },
		"hmac": func(ctx context.Context, t *hsm.Token, _ uint64) error {
			_, err := t.HMAC(ctx, hmacKey, message1)
			return err
		},
	} {
		r, err := growth(ctx, o, slow, one, many, op)
		if err != nil {
			return res, fmt.Errorf("measuring sessions: %w", err)
		}
		r.Name, r.Callers, r.Module = "sessions", manySessions, o.Module
		r.Unit = map[string]string{"purchase": "purchase check", "hmac": "HMAC"}[name] + ", every call of the module 1 ms slower, 32 sessions"
		r.Limit = "the same with one session: ratio is how many times as much 32 do"
		res.Parts = append(res.Parts, r)
	}
	parts := res.Parts
	res = slices.MinFunc(parts, func(a, b Result) int { return int(1000 * (a.Ratio - b.Ratio)) })
	res.Parts = parts
	return res, nil
}

// slowTokens makes two tokens with the same keys behind a shim.
func slowTokens(ctx context.Context, o Options, dir string) (s *shim.Shim, one, many *hsm.Token, err error) {
	if _, err := exec.LookPath("cc"); err != nil {
		return nil, nil, nil, fmt.Errorf("compiling a slow module: there is no C compiler: install gcc: %w", err)
	}
	module, err := softtoken.Find(o.Module)
	if err != nil {
		return nil, nil, nil, err
	}
	path, err := module.Path()
	if err != nil {
		return nil, nil, nil, err
	}
	initArgs, err := module.Home(dir, "one", "many")
	if err != nil {
		return nil, nil, nil, err
	}
	so := filepath.Join(dir, "shim")
	if err := os.Mkdir(so, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("making a folder: %w", err)
	}
	if s, err = shim.Build(so, path); err != nil {
		return nil, nil, nil, err
	}
	key, secret := make([]byte, 16), make([]byte, 32)
	defer clear(key)
	defer clear(secret)
	if _, err := rand.Read(key); err != nil {
		return nil, nil, nil, err
	}
	if _, err := rand.Read(secret); err != nil {
		return nil, nil, nil, err
	}
	open := func(label string, sessions int) (*hsm.Token, error) {
		cfg := hsm.Config{Module: s.Module, InitArgs: initArgs, Token: label, PIN: hsm.StaticPIN("rehearsal"), Workers: sessions, MaxSessions: sessions}
		err := hsm.InitToken(ctx, hsm.InitConfig{Module: s.Module, InitArgs: initArgs, Label: label, SOPIN: []byte("rehearsal"), UserPIN: []byte("rehearsal")})
		if err != nil {
			return nil, err
		}
		t, err := hsm.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return t, errors.Join(t.Import(ctx, benchKey, key), t.Import(ctx, hmacKey, secret), t.Require(ctx, benchKey, hmacKey))
	}
	if one, err = open("one", 1); err != nil {
		return s, one, nil, err
	}
	many, err = open("many", manySessions)
	return s, one, many, err
}

func closeAll(tokens ...*hsm.Token) error {
	var errs []error
	for _, t := range tokens {
		if t != nil {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}

// growth measures both tokens in turn.
func growth(ctx context.Context, o Options, slow *shim.Shim, one, many *hsm.Token, op func(context.Context, *hsm.Token, uint64) error) (Result, error) {
	few, lots := turns{shim: slow, tok: one}, turns{shim: slow, tok: many}
	var next atomic.Uint64 // no card comes twice: the few of one session would have their keys ready
	var ratios []float64
	for i := range 1 + o.Rounds { // the first warms both sides up
		for _, side := range []*turns{&few, &lots} {
			if err := side.round(ctx, o, &next, op); err != nil {
				return Result{}, err
			}
		}
		if i == 0 {
			few, lots = turns{shim: slow, tok: one}, turns{shim: slow, tok: many}
			continue
		}
		ratios = append(ratios, lots.rates[i-1]/few.rates[i-1])
	}
	slices.Sort(ratios)
	return Result{OpsPerS: median(lots.rates), LimitPerS: median(few.rates), Ratio: median(ratios), Rounds: o.Rounds, Ratios: ratios,
		CallsEach: lots.callsEach(), LimitCallsEach: few.callsEach()}, nil
}

// turns is what one token got done in rounds.
type turns struct {
	shim        *shim.Shim
	tok         *hsm.Token
	rates       []float64
	calls, done uint64
}

func (t *turns) round(ctx context.Context, o Options, next *atomic.Uint64, op func(context.Context, *hsm.Token, uint64) error) error {
	before := t.shim.AllCalls()
	done, took, err := crowdOn(ctx, t.tok, o.Round, next, op)
	t.calls += uint64(t.shim.AllCalls() - before)
	t.done += done
	t.rates = append(t.rates, float64(done)/took.Seconds())
	return err
}

// callsEach is how many calls of the module one operation took.
func (t *turns) callsEach() float64 { return float64(t.calls) / float64(t.done) }

// crowdOn has 32 callers ask for about d, and returns how much was done in what
// time.
func crowdOn(ctx context.Context, t *hsm.Token, d time.Duration, next *atomic.Uint64, op func(context.Context, *hsm.Token, uint64) error) (uint64, time.Duration, error) {
	var done atomic.Uint64
	errs := make([]error, manySessions)
	var wg sync.WaitGroup
	begin := time.Now()
	for c := range errs {
		wg.Go(func() {
			for errs[c] == nil && time.Since(begin) < d {
				errs[c] = op(ctx, t, next.Add(1)%cards)
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return done.Load(), time.Since(begin), errors.Join(errs...)
}
