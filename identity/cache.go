package identity

import (
	"sync"
	"time"
)

// cache remembers tokens that were checked, by hash, so that it holds none. It
// is bounded: when full it drops what has expired, and if that is nothing, an
// arbitrary entry, whose token is then checked once more.
type cache struct {
	mu   sync.RWMutex
	size int
	m    map[[32]byte]entry
}

func newCache(size int) *cache { return &cache{size: size, m: map[[32]byte]entry{}} }

func (c *cache) get(k [32]byte) (entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.m[k]
	return e, ok
}

func (c *cache) put(k [32]byte, e entry, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.m[k]; !ok && len(c.m) >= c.size {
		c.evict(now)
	}
	c.m[k] = e
}

func (c *cache) evict(now time.Time) {
	for k, e := range c.m {
		if !now.Before(e.expires) {
			delete(c.m, k)
		}
	}
	for k := range c.m {
		if len(c.m) < c.size {
			return
		}
		delete(c.m, k)
	}
}
