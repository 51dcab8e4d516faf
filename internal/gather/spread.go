package gather

import (
	"sync"
	"sync/atomic"

	"github.com/tapvault/tapvault/internal/fault"
)

// Spread does n things, up to lanes of them at a time. When one of them panics the rest
// is done all the same, and Spread panics with a [fault.Panicked] of the first: in a goroutine of its
// own a panic ends the process.
func Spread(n, lanes int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	var m mishap
	for range min(n, lanes) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				m.keep(do, i)
			}
		})
	}
	wg.Wait()
	if m.first != nil {
		panic(m.first)
	}
}

// mishap is the first panic of several goroutines.
type mishap struct {
	once  sync.Once
	first *fault.Panicked
}

// keep does one thing, and keeps its panic.
func (m *mishap) keep(do func(i int), i int) {
	defer func() {
		if v := recover(); v != nil {
			p := fault.Carry(v)
			m.once.Do(func() { m.first = p })
		}
	}()
	do(i)
}
