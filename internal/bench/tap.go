package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Measures of the bench of taps: each of a few gates uploads batches at once, a
// batch holds one tap of each of so many phones, and each phone has slots for
// every batch of its group.
const (
	gates     = 4
	batchSize = account.MaxBatch
	slotsEach = 10
	tapRounds = 9
)

// Tap measures uploads of wallets' taps in batches of 500: each record's keys
// fetched from the HSM, MAC2 and TAC judged, the record, its slot and the ledger
// written, and the batch committed to the disk before its answer. The limit is
// a C loop of the same PKCS #11 calls alone.
func Tap(ctx context.Context, o Options) (Result, error) {
	r, err := onServers(ctx, func(ctx context.Context, s *server) (Result, error) { return tapOn(ctx, o, s) })
	r.Name, r.Callers = "tap", gates
	for i := range r.Parts {
		r.Parts[i].Callers = gates
	}
	return r, err
}

func tapOn(ctx context.Context, o Options, s *server) (res Result, err error) {
	y, err := newYard(ctx, o, s)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, y.close()) }()
	loop, err := openBare(y.config.Module, y.config.Token, benchKey.Label())
	if err != nil {
		return res, err
	}
	defer loop.close()
	if err := slotsAgree(ctx, y.hsm, loop); err != nil {
		return res, err
	}
	waves, err := y.waves(ctx)
	if err != nil {
		return res, err
	}
	var ratios, sides, limits []float64
	for i := range 1 + tapRounds { // the first warms both sides up
		side, err := y.upload(ctx, waves[i])
		if err != nil {
			return res, err
		}
		bare, _, err := loop.slots(gates*batchSize, uint64(i)<<32)
		if err != nil {
			return res, err
		}
		if i > 0 {
			const n = gates * batchSize
			sides, limits = append(sides, n/side.Seconds()), append(limits, n/bare.Seconds())
			ratios = append(ratios, bare.Seconds()/side.Seconds())
		}
	}
	return tapResult(sides, limits, ratios), nil
}

// upload sends one batch from every gate at once.
func (y *yard) upload(ctx context.Context, w wave) (time.Duration, error) {
	errs := make([]error, gates)
	var wg sync.WaitGroup
	begin := time.Now()
	for g := range gates {
		wg.Go(func() {
			results, err := y.accounts.Upload(ctx, gateCaller, gateName(g), w[g])
			for _, r := range results {
				if err == nil && !r.Good() {
					err = fmt.Errorf("measuring taps: a good tap was answered %s %s", r.Outcome, r.Reason)
				}
			}
			errs[g] = err
		})
	}
	wg.Wait()
	return time.Since(begin), errors.Join(errs...)
}

// slotsAgree makes sure that the service and the loop fetch the same keys.
func slotsAgree(ctx context.Context, tok *hsm.Token, loop *bare) error {
	const token = 0x0123456789
	path, err := slotMaster(keyref.SlotPurchaseMaster).Path(eight(0x1111111111111111), eight(token))
	if err != nil {
		return err
	}
	want, err := tok.SlotKeys(ctx, path, []keyref.Factor{eight(0x2222222222222222)})
	if err != nil {
		return err
	}
	defer clear(want)
	_, got, err := loop.slots(1, token)
	if err == nil && got != want[0] {
		err = errors.New("measuring taps: the C loop and the service disagree about a key")
	}
	return err
}

var gateCaller = access.Caller{ID: "gates", Role: access.Terminal, Scopes: access.ForRole(access.Terminal)}
