//go:build cgo

package hsm

import (
	"fmt"
	"sync"
	"time"
)

// stallAfter is how long a module may take to be made anew until callers are not kept
// waiting any more. There is no way to end a call of a module: it is waited for in the
// background, and when it returns, all go on.
const stallAfter = 5 * time.Second

var errStalled = fmt.Errorf("%w: its module does not return from being finalised and initialised", ErrUnavailable)

// watch refuses callers of m's tokens from stallAfter on until its answer is called.
// m.turn must be held until then.
func (m *module) watch() (end func()) {
	var mu sync.Mutex
	var over, stalled bool
	begun := time.Now()
	late := time.AfterFunc(stallAfter, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		stalled = true
		m.refuse(true)
		m.tellStall(time.Since(begun), errStalled)
	})
	return func() {
		late.Stop()
		mu.Lock()
		defer mu.Unlock()
		if over = true; stalled {
			m.refuse(false)
			m.tellStall(time.Since(begun), nil)
		}
	}
}

// refuse has callers told at once that the module hangs, or not any more.
func (m *module) refuse(yes bool) {
	var err error
	if yes {
		err = errStalled
	}
	for _, t := range m.tokens {
		t.engine.refuse(err)
		t.pool.refuse(yes)
	}
}

func (m *module) tellStall(took time.Duration, err error) {
	for _, t := range m.tokens {
		if t.cfg.OnStall != nil {
			t.cfg.OnStall(took, err)
			return
		}
	}
}
