package attack

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
)

// Terms of the design that bounds are computed from, in fen.
const (
	slots            = 10   // of a bundle of tier A
	cap1             = 1000 // most that one slot pays
	limit            = token.Amount(slots * cap1)
	staleCap         = token.Amount(500)
	every            = 10 * time.Minute // between taps of one attacker
	uploads          = time.Minute      // between uploads of a gate
	polls            = 5 * time.Minute  // between its looks at the deny list
	fare             = token.Amount(300)
	planned  float64 = 0.001 // chance that five guesses find a PIN, with the list of those that are refused
)

// stage is where attacks are played. Each has a service day to itself, which
// begins at eight in the morning.
type stage struct {
	*city.City
	rand *rand.Rand
	seed uint64
}

func newStage(ctx context.Context, seed uint64) (*stage, error) {
	c, err := city.New(ctx, time.Date(2026, 5, 20, 8, 0, 0, 0, city.Zone), nil)
	if err != nil {
		return nil, err
	}
	return &stage{City: c, seed: seed}, nil
}

func (s *stage) close() error { return s.City.Close() }

// tomorrow begins the next attack's day. Its chance is its own, so that a row
// played alone goes as it goes among others.
func (s *stage) tomorrow(_ context.Context, row string) error {
	now := s.Clock.Now().In(city.Zone)
	next := time.Date(now.Year(), now.Month(), now.Day()+1, 8, 0, 0, 0, city.Zone)
	s.Clock.To(next)
	mix := s.seed
	for _, b := range []byte(row) {
		mix = mix*31 + uint64(b)
	}
	s.rand = rand.New(rand.NewPCG(s.seed, mix))
	return nil
}

// pin is a PIN of six digits that no list of popular ones has.
func (s *stage) pin() string {
	return fmt.Sprintf("%d%d%d%d%d%d", 7, s.rand.IntN(5), 9, 2+s.rand.IntN(4), 0, 6)
}

// gates are readers of class G.
func (s *stage) gates(ctx context.Context, n int) ([]*city.Reader, error) {
	return s.readers(ctx, 'G', n)
}

func (s *stage) readers(ctx context.Context, class deny.Class, n int) (all []*city.Reader, err error) {
	for range n {
		r, err := s.Reader(ctx, class)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

const hour = time.Hour

// begins draws when each of n clones taps first, within the first interval.
func (s *stage) begins(n int) (first []time.Duration) {
	for range n {
		first = append(first, time.Duration(s.rand.Int64N(int64(every))).Truncate(time.Second))
	}
	return first
}

// begin lets n riders begin at once.
func begin(n int) []time.Duration { return make([]time.Duration, n) }
