package attack

import (
	"context"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/internal/sim/loss"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
)

// rider is somebody who taps where he should not.
type rider interface {
	apdu.Transmitter
	// Ready is called before each tap: it enters a PIN, or begins again with a
	// fresh copy.
	Ready() error
}

// raid is riders who tap in turn at readers.
type raid struct {
	riders  []rider
	readers []*city.Reader
	fare    token.Amount
	every   time.Duration
	until   time.Duration // after it began
	deaf    bool          // nobody uploads, and no list is heard
	// fares, if it is not nil, is what a rider asks for instead when fare was
	// refused.
	less token.Amount
	// first is when each rider begins; nil: at some moment of the first interval.
	first []time.Duration
}

// haul is what a raid came to.
type haul struct {
	taken token.Amount
	taps  int
	last  time.Duration // of the last tap that was accepted
}

// ride plays a raid, second by second where something happens. Readers upload
// every minute and look at the deny list every five, unless they are deaf.
func (s *stage) ride(ctx context.Context, r raid) (h haul, err error) {
	for _, reader := range r.readers {
		reader.Cut(r.deaf)
	}
	s.Clock.Advance(time.Minute) // nobody steals a phone in the second in which it is set up
	began := s.Clock.Now()
	next := make([]time.Duration, len(r.riders))
	for i := range next {
		if r.first != nil {
			next[i] = r.first[i]
		} else {
			next[i] = time.Duration(s.rand.Int64N(int64(r.every))).Truncate(time.Second)
		}
	}
	nextUpload, nextPoll := uploads, polls
	for {
		at := r.until
		who := -1
		for i, n := range next {
			if n < at {
				at, who = n, i
			}
		}
		if !r.deaf && min(nextUpload, nextPoll) <= at {
			at, who = min(nextUpload, nextPoll), -1
		}
		if at >= r.until {
			return h, nil
		}
		s.Clock.To(began.Add(at))
		if who < 0 {
			if at == nextUpload {
				err = s.upload(ctx, r.readers)
				nextUpload += uploads
			} else {
				err = s.poll(ctx, r.readers)
				nextPoll += polls
			}
			if err != nil {
				return h, err
			}
			continue
		}
		next[who] += r.every
		took, err := s.try(ctx, r, r.riders[who])
		if err != nil {
			return h, err
		}
		if took > 0 {
			h.taken, h.taps, h.last = h.taken+took, h.taps+1, at
		}
	}
}

// try is one tap of one rider at a reader of chance; a refusal takes nothing.
func (s *stage) try(ctx context.Context, r raid, who rider) (token.Amount, error) {
	if err := who.Ready(); err != nil {
		return 0, err
	}
	reader := r.readers[s.rand.IntN(len(r.readers))]
	if _, err := reader.Tap(ctx, who, r.fare); err == nil {
		return r.fare, nil
	}
	if r.less > 0 {
		if _, err := reader.Tap(ctx, who, r.less); err == nil {
			return r.less, nil
		}
	}
	return 0, ctx.Err()
}

func (s *stage) upload(ctx context.Context, readers []*city.Reader) error {
	for _, r := range readers {
		if r.Pending() == 0 {
			continue
		}
		if _, err := r.Upload(ctx); err != nil {
			return fmt.Errorf("uploading: %w", err)
		}
	}
	return nil
}

func (s *stage) poll(ctx context.Context, readers []*city.Reader) error {
	for _, r := range readers {
		if err := r.Refresh(ctx); err != nil {
			return fmt.Errorf("hearing the deny list: %w", err)
		}
	}
	return nil
}

// bound is the formula for clones of one phone at online readers: d is when the
// slowest proof of theft is on the road, and one upload and one poll follow it.
func bound(clones int, fare token.Amount, d time.Duration) token.Amount {
	c := loss.Default(clones, 1)
	c.Fare, c.Every = fare, every
	return c.Bound(d + uploads + polls)
}

// second is when the second of clones taps, or one alone has gone round its n
// slots: from then on two purchases from one slot are on their way.
func second(first []time.Duration, n int) time.Duration {
	if len(first) == 1 {
		return first[0] + time.Duration(n)*every
	}
	a, b := min(first[0], first[1]), max(first[0], first[1])
	for _, f := range first[2:] {
		switch {
		case f < a:
			a, b = f, a
		case f < b:
			b = f
		}
	}
	return b
}
