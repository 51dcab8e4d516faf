//go:build cgo

package hsm

import (
	"context"
	"sync/atomic"
	"time"
)

// A module that talks to an HSM over a network may lose it for good: some go on
// answering CKR_DEVICE_ERROR after the HSM has come back, until they are finalised and
// initialised. So when no token of a module answers any more, that is done, and
// again until one does. See docs/decisions/136.

const (
	// mendRest is how long a module is left alone after it was made anew; one that
	// takes long is left alone for mendShare times as long as it took.
	mendRest  = time.Second
	mendShare = 10
	// mendLook is how long a token may take to say that it is there after all.
	mendLook = 5 * time.Second
)

// mending is when a module is made anew because it cannot be reached.
type mending struct {
	asked atomic.Bool
	next  atomic.Int64 // not before, in Unix nanoseconds
}

func (m *mending) rests() bool { return time.Now().UnixNano() < m.next.Load() }

// ails has m made anew, by and by, if none of its tokens answers.
func (m *module) ails() {
	if !m.mending.rests() && m.mending.asked.CompareAndSwap(false, true) {
		go m.mend()
	}
}

func (m *module) mend() {
	defer m.mending.asked.Store(false)
	m.turn.Lock()
	defer m.turn.Unlock()
	begun := time.Now()
	defer func() {
		ended := time.Now()
		m.mending.next.Store(ended.Add(max(mendRest, mendShare*ended.Sub(begun))).UnixNano())
	}()
	if !m.answers() {
		m.anew() // what went wrong is what the next call is told
	}
}

// answers reports whether a token of m is well, which is then not disturbed. One that is
// back is logged in to by that.
func (m *module) answers() bool {
	for _, t := range m.tokens {
		ctx, cancel := context.WithTimeout(context.Background(), mendLook)
		err := t.Health(ctx)
		cancel()
		if err == nil {
			return true
		}
	}
	return len(m.tokens) == 0
}
