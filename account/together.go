package account

import (
	"context"
	"sync/atomic"

	"github.com/tapvault/tapvault/internal/gather"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
)

// crowd bounds how many records of a batch are worked on at the same time. What
// they ask of the HSM and of the vault meanwhile is answered together.
const crowd = 16

// judgeAll judges the records of a batch, in their order. Shown is what who shows
// them got wrong before. Where spare is set, what keeps one of them from being judged
// is in its verdict.
func (s *Service) judgeAll(ctx context.Context, taps []Tap, where token.Use, shown guess.Standing, spare bool) ([]verdict, error) {
	out := make([]verdict, len(taps))
	err := together(len(taps), func(i int) error {
		var err error
		out[i], err = s.judge(ctx, taps[i], where, shown, spare)
		if spare && ofRow(err) {
			out[i], err = verdict{unread: err}, nil
		}
		return err
	})
	return out, err
}

// together does n things, some at the same time. After an error it begins
// nothing new, and returns the first of them.
func together(n int, do func(i int) error) error {
	var first atomic.Pointer[error]
	gather.Spread(n, crowd, func(i int) {
		if first.Load() != nil {
			return
		}
		if err := do(i); err != nil {
			first.CompareAndSwap(nil, &err)
		}
	})
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
