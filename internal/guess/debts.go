package guess

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// debt is a MAC that was judged, did not hold, and could not be counted.
type debt struct {
	client string
	name   func(context.Context) (Name, error)
}

// debts are kept in memory until they can be counted: while the database takes no
// writes, nothing more is judged of what they are of. The zero value is ready; safe
// for concurrent use.
type debts struct {
	paying sync.Mutex // one after another: who waits may not go on before it is counted
	mu     sync.Mutex
	of     map[string][]debt // by key
	all    bool              // there are too many to keep: everybody pays
}

// owe adds one.
func (d *debts) owe(key string, one debt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[string][]debt{}
	}
	if d.all = d.all || len(d.of) >= mostSeen; !d.all {
		d.of[key] = append(d.of[key], one)
	}
}

// pay counts what is owed of some keys; an error says that it still is.
func (d *debts) pay(ctx context.Context, shares []Share, count func(context.Context, debt) error) error {
	if len(d.due(shares)) == 0 {
		return nil
	}
	d.paying.Lock()
	defer d.paying.Unlock()
	for _, key := range d.due(shares) {
		for one, ok := d.first(key); ok; one, ok = d.first(key) {
			if err := count(ctx, one); err != nil {
				return fmt.Errorf("counting a MAC that did not hold before: %w", err)
			}
			d.paid(key)
		}
	}
	return nil
}

// due is the keys of which something has to be counted now.
func (d *debts) due(shares []Share) (keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all {
		return slices.Collect(maps.Keys(d.of))
	}
	for _, s := range shares {
		if len(d.of) > 0 && len(d.of[s.Key]) > 0 {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

func (d *debts) first(key string) (one debt, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.of[key]) == 0 {
		return debt{}, false
	}
	return d.of[key][0], true
}

// paid takes out the first.
func (d *debts) paid(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of[key] = d.of[key][1:]; len(d.of[key]) == 0 {
		delete(d.of, key)
	}
	d.all = d.all && len(d.of) > 0
}
