package issuerhost

import (
	"context"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/internal/guess"
)

// guarded runs a check that ends in [emv.ErrMismatch], within what the caller
// may still get wrong.
func (f subject) guarded(ctx context.Context, name [32]byte, check func(context.Context) error) error {
	_, leave, err := f.enter(ctx, name, guess.Abreast, maxMisses)
	if err != nil {
		return err
	}
	defer leave()
	ctx = context.WithoutCancel(ctx) // see [subject.missed]
	if err = check(ctx); !errors.Is(err, emv.ErrMismatch) {
		return err
	}
	n, err := f.missed(ctx, name)
	if err != nil {
		return err
	}
	if n > maxMisses {
		return f.tooMany(ctx, "misses")
	}
	return f.refuse(ctx, "cryptogram", ErrRefused)
}

// enter waits until the caller may have something of a name judged here: so many side
// by side, and until all that it has under way could be wrong and not be more than
// most. n is how many were wrong before; leave has to be called when this one is counted.
func (f subject) enter(ctx context.Context, name [32]byte, abreast, most int) (n int, leave func(), err error) {
	shares := []guess.Share{{Key: f.guesses(name), Weight: 1, Most: abreast}}
	leave, err = f.lanes.Enter(ctx, shares, func(ctx context.Context) (func(int) int, error) {
		err := f.debts.Pay(ctx, shares)
		if err != nil {
			return nil, err
		}
		if n, err = f.cfg.Counters.Misses(ctx, f.caller.ID, name); err == nil && n >= most {
			err = f.tooMany(ctx, "misses")
		}
		return func(int) int { return most - n }, err
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("waiting for other checks of this card: %w", err)
	}
	return n, leave, err
}

// guesses is the key of what the caller shows of a name.
func (f subject) guesses(name [32]byte) string { return f.caller.ID + "\x00" + string(name[:]) }

// missed counts what did not hold, and returns how many did not. Its context, and that of
// the check, must not end with the caller's connection: who hangs up, and listens on, would
// know by whether there is an answer, and nothing would be counted. What could not be
// counted is before anything more of the name is judged.
func (f subject) missed(ctx context.Context, name [32]byte) (n int, err error) {
	counters, client := f.cfg.Counters, f.caller.ID // a debt keeps no card's number
	err = f.debts.Count(ctx, f.guesses(name), func(ctx context.Context) (err error) {
		n, err = counters.Miss(ctx, client, name)
		return err
	})
	return n, err
}
