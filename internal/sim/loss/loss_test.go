package loss_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/sim/loss"
	"github.com/tapvault/tapvault/token"
)

// TestProof11Loss holds the model to the figures that the design was decided
// on. They were got by another program, so they are met within a tolerance;
// what must be exact is that a proof at readers without network costs clones
// everything there.
func TestProof11Loss(t *testing.T) {
	sixHours := func(c *loss.Case) { c.Left = 6 * time.Hour }
	depots := func(c *loss.Case) { c.Fare = 200 }
	for name, tc := range map[string]struct {
		clones    int
		online    float64
		edit      []func(*loss.Case)
		mean, p95 float64 // yuan
	}{
		"all online, 1":             {1, 1, nil, 32, 42},
		"all online, 10":            {10, 1, nil, 20, 36},
		"all online, 100":           {100, 1, nil, 112, 210},
		"90 % online, 1":            {1, 0.9, nil, 63, 84},
		"90 % online, 10":           {10, 0.9, nil, 348, 405},
		"90 % online, 100":          {100, 0.9, nil, 3284, 3459},
		"half online, 1":            {1, 0.5, nil, 186, 225},
		"half online, 10":           {10, 0.5, nil, 1618, 1722},
		"depots only, 1":            {1, 0, []func(*loss.Case){depots}, 215, 252},
		"depots only, 10":           {10, 0, []func(*loss.Case){depots}, 2118, 2234},
		"depots only, six hours, 1": {1, 0, []func(*loss.Case){depots, sixHours}, 73, 94},
	} {
		c := loss.Default(tc.clones, tc.online)
		for _, edit := range tc.edit {
			edit(&c)
		}
		got := c.Simulate(11, 4000/(10+tc.clones))
		if mean := float64(got.Mean) / 100; math.Abs(mean-tc.mean) > 0.25*tc.mean {
			t.Errorf("%s: %.0f yuan on average, where %.0f is expected", name, mean, tc.mean)
		}
		if p95 := float64(got.P95) / 100; math.Abs(p95-tc.p95) > 0.3*tc.p95 {
			t.Errorf("%s: %.0f yuan at the 95th of 100, where %.0f is expected", name, p95, tc.p95)
		}
	}
	for _, k := range []int{1, 10, 100} {
		c := loss.Default(k, 0)
		c.Proof = true
		if got := c.Simulate(11, 5); got.Mean != 0 || got.P95 != 0 || c.Bound(c.Left) != 0 {
			t.Errorf("%d clones at readers that demand a proof took %d fen; bound %d", k, got.Mean, c.Bound(c.Left))
		}
	}
}

// TestDetection says how soon a fork is known: clones that begin together find
// each other, one alone has to go round its slots.
func TestDetection(t *testing.T) {
	for k, want := range map[int]time.Duration{1: 105 * time.Minute, 10: 150 * time.Second, 100: 36 * time.Second} {
		got := loss.Default(k, 1).Simulate(3, 200).Detected
		if math.Abs(got.Seconds()-want.Seconds()) > 0.25*want.Seconds() {
			t.Errorf("%d clones are known after %v, where %v is expected", k, got.Round(time.Second), want)
		}
	}
}

// TestBoundHolds plays days of every kind: none may cost more than the formula
// says for the moment at which that day's clones were denied everywhere.
func TestBoundHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, k := range []int{1, 2, 7, 30} {
		c := loss.Default(k, 1)
		for range 200 {
			d := c.Play(r)
			until := c.Left
			if d.Detected > 0 {
				until = d.Detected + c.Poll
			}
			if bound := c.Bound(until); d.Loss > bound {
				t.Fatalf("%d clones, known after %v: %d fen, bound %d", k, d.Detected, d.Loss, bound)
			}
		}
	}
}

func TestBound(t *testing.T) {
	c := loss.Case{Clones: 2, Online: 0.5, Fare: 300, Cap: 200, Every: 10 * time.Minute, Left: time.Hour}
	// online: half of 2 taps, offline: half of 6 taps; 200 fen each, twice.
	if got := c.Bound(11 * time.Minute); got != token.Amount(2*(1+3)*200) {
		t.Errorf("%d", got)
	}
	c.Proof = true
	if got := c.Bound(11 * time.Minute); got != 400 {
		t.Errorf("with a proof: %d", got)
	}
	if got := c.Bound(100 * time.Hour); got != 2*3*200 {
		t.Errorf("it lasts longer than the slots: %d", got)
	}
}
