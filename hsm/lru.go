package hsm

import (
	"container/list"
	"hash/maphash"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// keptKey names a derived key that a worker keeps: the stored key it came
// from, how deep, by which factors, and whether it was folded.
type keptKey struct {
	id      uint64 // of the stored key: unlike its label, never used again
	depth   uint8
	folded  bool
	factors [keyref.MaxLevels]keyref.Factor
}

// lru is a bounded set of handles of derived keys. It belongs to one session:
// when that session goes, so do the objects, and the lru with them.
type lru[H comparable] struct {
	max   int
	at    map[keptKey]*list.Element
	order *list.List // of lruEntry, last used first
}

type lruEntry[H comparable] struct {
	key    keptKey
	handle H
}

func newLRU[H comparable](max int) *lru[H] {
	return &lru[H]{max: max, at: make(map[keptKey]*list.Element, max), order: list.New()}
}

func (c *lru[H]) get(k keptKey) (h H, ok bool) {
	e, ok := c.at[k]
	if !ok {
		return h, false
	}
	c.order.MoveToFront(e)
	return e.Value.(lruEntry[H]).handle, true
}

// add keeps h under k. It returns the handle that has no place any more: the
// one used longest ago, or h itself when k is kept already, as happens when
// one batch derives the same key twice.
func (c *lru[H]) add(k keptKey, h H) (out H, dropped bool) {
	if _, ok := c.at[k]; ok {
		return h, true
	}
	c.at[k] = c.order.PushFront(lruEntry[H]{k, h})
	if len(c.at) <= c.max {
		return out, false
	}
	last := c.order.Remove(c.order.Back()).(lruEntry[H])
	delete(c.at, last.key)
	return last.handle, true
}

// seen remembers, roughly, which keys were derived lately. A key that is used
// once is not worth keeping: the more objects a session has, the slower some
// modules become.
type seen struct {
	seed maphash.Seed
	keys []keptKey
}

func newSeen(n int) *seen { return &seen{maphash.MakeSeed(), make([]keptKey, n)} }

// twice reports whether k was asked about before, if it was not too long ago.
func (s *seen) twice(k keptKey) bool {
	at := &s.keys[maphash.Comparable(s.seed, k)%uint64(len(s.keys))]
	if *at == k {
		return true
	}
	*at = k
	return false
}
