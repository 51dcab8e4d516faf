//go:build cgo

package hsm

import "time"

// Timed has t add up, from now on, what its module takes of CPU time in the calls that
// are made in batches: those of the hot path. It costs each batch two looks at a clock.
func (t *Token) Timed() {
	for _, w := range t.engine.all {
		w.c.timed()
	}
}

// Spent is what the module has taken of CPU time since [Token.Timed].
func (t *Token) Spent() (sum time.Duration) {
	for _, w := range t.engine.all {
		sum += w.c.spent()
	}
	return sum
}
