package hsm

import "testing"

func TestLRU(t *testing.T) {
	c := newLRU[int](3)
	name := func(i int) keptKey { return keptKey{id: uint64(i)} }
	for i := range 3 {
		if _, out := c.add(name(i), i); out {
			t.Errorf("adding %d dropped one of %d", i, i)
		}
	}
	if h, ok := c.get(name(0)); !ok || h != 0 {
		t.Errorf("get(0) = %d, %v", h, ok)
	}
	if h, out := c.add(name(3), 3); !out || h != 1 {
		t.Errorf("adding a fourth dropped %d, %v; 1 was used longest ago", h, out)
	}
	if h, out := c.add(name(3), 33); !out || h != 33 {
		t.Errorf("adding a key again dropped %d, %v; want the new handle", h, out)
	}
	if h, ok := c.get(name(3)); !ok || h != 3 {
		t.Errorf("get(3) = %d, %v", h, ok)
	}
	if _, ok := c.get(name(1)); ok || len(c.at) != 3 || c.order.Len() != 3 {
		t.Errorf("what was dropped is still there: %d, %d", len(c.at), c.order.Len())
	}
	if _, ok := c.get(keptKey{id: 3, folded: true}); ok {
		t.Error("a folded key was taken for the key itself")
	}
}

func TestSeen(t *testing.T) {
	s := newSeen(64)
	k := keptKey{id: 1, depth: 2}
	if s.twice(k) || !s.twice(k) || !s.twice(k) {
		t.Error("a key asked about again was not remembered")
	}
	for i := range uint64(10000) {
		s.twice(keptKey{id: i + 2})
	}
	if s.twice(k) {
		t.Error("a key is remembered for ever")
	}
}
