package gather

import (
	"sync"
	"sync/atomic"
)

// Spread does n things, up to lanes of them at a time. When one of them panics the rest
// is done all the same, and Spread panics with what the first did: in a goroutine of its
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
	if m.value != nil {
		panic(m.value)
	}
}

// mishap is the first panic of several goroutines.
type mishap struct {
	once  sync.Once
	value any
}

// keep does one thing, and keeps its panic.
func (m *mishap) keep(do func(i int), i int) {
	defer func() {
		if v := recover(); v != nil {
			m.once.Do(func() { m.value = v })
		}
	}()
	do(i)
}
