package trail

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestGather: the writer waits for those who are likely to come, while they
// come, and for nobody else.
func TestGather(t *testing.T) {
	const half = pause / 2
	for _, tc := range []struct {
		what     string
		waiting  int
		expect   int
		arrivals []time.Duration // after the gathering began
		closed   time.Duration   // when the trail is closed; 0: never
		want     time.Duration
	}{
		{what: "a caller who is alone", waiting: 1, expect: 0},
		{what: "enough from the first", waiting: 7, expect: 7},
		{what: "nobody comes", waiting: 1, expect: 7, want: pause},
		{what: "the last comes", waiting: 1, expect: 3, arrivals: []time.Duration{half / 2, half}, want: half},
		{what: "some come, then none", waiting: 1, expect: 7, arrivals: []time.Duration{half}, want: pauses * pause},
		{what: "they come and come", waiting: 1, expect: 99, arrivals: []time.Duration{half, pause + half, 2*pause + half, 3*pause + half}, want: pauses * pause},
		{what: "it is closed", waiting: 1, expect: 7, closed: half, want: half},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trail := &Trail{full: make(chan struct{}, 1), wake: make(chan struct{}, 1), now: time.Now,
					queue: make([]waiter, tc.waiting), expect: tc.expect}
				tell(trail.full) // of the group before
				begun := time.Now()
				for _, at := range tc.arrivals {
					go func() {
						time.Sleep(at)
						trail.enqueue(waiter{})
					}()
				}
				if tc.closed > 0 {
					go func() {
						time.Sleep(tc.closed)
						trail.stop()
					}()
				}
				trail.gather()
				if took := time.Since(begun); took != tc.want {
					t.Errorf("gathered for %v, not %v", took, tc.want)
				}
				time.Sleep(time.Second) // until all have come
			})
		})
	}
}

// TestExpect: as many are waited for as were here together.
func TestExpect(t *testing.T) {
	trail := &Trail{file: hole{}, now: time.Now, full: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	for _, n := range []int{1, 8, 32, 1} {
		for range n {
			trail.enqueue(waiter{done: make(chan error, 1)})
		}
		if trail.flush(); trail.expect != n*7/8 {
			t.Errorf("after %d, %d are waited for", n, trail.expect)
		}
	}
}

// hole is a file that keeps nothing.
type hole struct{}

func (hole) Write(b []byte) (int, error) { return len(b), nil }
func (hole) Close() error                { return nil }
func (hole) Sync() error                 { return nil }
func (hole) Truncate(int64) error        { return nil }
