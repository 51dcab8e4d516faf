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
		together int             // a moment ago
		arrivals []time.Duration // after the gathering began
		closed   time.Duration   // when the trail is closed; 0: never
		want     time.Duration
	}{
		{what: "a caller who is alone", waiting: 1, together: 1},
		{what: "enough from the first", waiting: 7, together: 8},
		{what: "nobody comes", waiting: 1, together: 8, want: pause},
		{what: "the last comes", waiting: 1, together: 4, arrivals: []time.Duration{half / 2, half}, want: half},
		{what: "some come, then none", waiting: 1, together: 8, arrivals: []time.Duration{half}, want: pauses * pause},
		{what: "they come and come", waiting: 1, together: 114, arrivals: []time.Duration{half, pause + half, 2*pause + half, 3*pause + half}, want: pauses * pause},
		{what: "it is closed", waiting: 1, together: 8, closed: half, want: half},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trail := gathering(tc.waiting, tc.together)
				trail.hurry(0)
				took := trail.gathers(tc.closed, tc.arrivals...)
				if took != tc.want {
					t.Errorf("gathered for %v, not %v", took, tc.want)
				}
			})
		})
	}
}

// TestGatherIdle: entries that nobody waits for yet are left until somebody does,
// but not for long, and not when all are there or few callers are.
func TestGatherIdle(t *testing.T) {
	soon := []time.Duration{pause / 4, pause / 2}
	for _, tc := range []struct {
		what     string
		together int
		hurried  time.Duration // when somebody waits; 0: nobody does
		group    uint64        // for an entry of which
		closed   time.Duration
		want     time.Duration
	}{
		{what: "one waits", together: 8, hurried: 3 * pause, want: 3 * pause},
		{what: "one waits at once, and no more come", together: 8, hurried: 3 * pause / 4, want: 3*pause/4 + pause},
		{what: "one waits for an earlier group", together: 8, hurried: 2 * pause, group: 6, want: lag},
		{what: "nobody waits", together: 8, want: lag},
		{what: "all are there", together: 4, want: pause / 2},
		{what: "few are there", together: few - 1},
		{what: "it is closed", together: 8, closed: 2 * pause, want: 2 * pause},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trail := gathering(2, tc.together)
				trail.group = 7
				if tc.group == 0 {
					tc.group = 7
				}
				if tc.hurried > 0 {
					time.AfterFunc(tc.hurried, func() { trail.hurry(tc.group) })
				}
				if took := trail.gathers(tc.closed, soon...); took != tc.want {
					t.Errorf("gathered for %v, not %v", took, tc.want)
				}
			})
		})
	}
}

// gathering is a trail at whose writer so many entries wait.
func gathering(waiting, together int) *Trail {
	t := &Trail{news: make(chan struct{}, 1), wake: make(chan struct{}, 1), now: time.Now,
		queue: make([]waiter, waiting), since: time.Now(), together: together, crowd: together}
	tell(t.news) // of the group before
	return t
}

// gathers gathers while others come, or close the trail, and returns for how
// long. Then all have come.
func (t *Trail) gathers(closed time.Duration, arrivals ...time.Duration) time.Duration {
	begun := time.Now()
	for _, at := range arrivals {
		time.AfterFunc(at, func() { t.enqueue(waiter{}) })
	}
	if closed > 0 {
		time.AfterFunc(closed, func() { t.stop() })
	}
	t.gather()
	took := time.Since(begun)
	time.Sleep(time.Second)
	return took
}

// TestTogether: as many are waited for as were here together, and a crowd is
// remembered for a while.
func TestTogether(t *testing.T) {
	trail := gathering(0, 0)
	trail.file = hole{}
	for _, tc := range []struct{ n, crowd int }{{1, 1}, {8, 8}, {32, 32}, {1, 28}, {1, 24}, {30, 30}} {
		for range tc.n {
			trail.enqueue(waiter{done: make(chan error, 1)})
		}
		trail.hurry(trail.group)
		if trail.flush(); trail.together != tc.n || trail.crowd != tc.crowd || trail.urgent {
			t.Errorf("after %d, %d were together, of %d (urgent %t), want a crowd of %d", tc.n, trail.together, trail.crowd, trail.urgent, tc.crowd)
		}
	}
}

// hole is a file that keeps nothing.
type hole struct{}

func (hole) Write(b []byte) (int, error) { return len(b), nil }
func (hole) Close() error                { return nil }
func (hole) Sync() error                 { return nil }
func (hole) Truncate(int64) error        { return nil }
