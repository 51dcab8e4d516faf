package issuerhost

import "sync"

// owed is of whom a wrong value was judged and could not be counted.
type owed struct {
	mu  sync.Mutex
	of  map[checked]bool
	all bool
}

// mostOwed bounds the memory: callers whom another issuer names may be many.
const mostOwed = 10_000

// owe adds one. Where there are too many, everybody owes.
func (o *owed) owe(c checked) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = map[checked]bool{}
	}
	if o.all = o.all || len(o.of) >= mostOwed; !o.all {
		o.of[c] = true
	}
}

// owes reports whether a check has to be counted before it is made.
func (o *owed) owes(c checked) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all || o.of[c]
}

// checked is what a caller checks.
type checked struct {
	client string
	name   [32]byte
}
