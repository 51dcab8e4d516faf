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
	share := guess.Share{Key: f.caller.ID + "\x00" + string(name[:]), Weight: 1, Most: abreast}
	leave, err = f.lanes.Enter(ctx, []guess.Share{share}, func(ctx context.Context) (func(int) int, error) {
		var err error
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

// missed counts what did not hold, and returns how many did not. Its context, and that of
// the check, must not end with the caller's connection: who hangs up, and listens on, would
// know by whether there is an answer, and nothing would be counted.
func (f subject) missed(ctx context.Context, name [32]byte) (int, error) {
	return f.cfg.Counters.Miss(ctx, f.caller.ID, name)
}
