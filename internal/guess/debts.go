package guess

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// count counts a guess that was judged and did not hold.
type count func(context.Context) error

// Debts are guesses that were judged, did not hold, and could not be counted. They are
// kept in memory until they can be: while the database takes no writes, nothing more is
// judged of what they are of. The zero value is ready; safe for concurrent use.
type Debts struct {
	paying sync.Mutex // one after another: who waits may not go on before it is counted
	mu     sync.Mutex
	of     map[string][]count // by key
	all    bool               // there are too many to keep: everybody pays
}

// Count counts a guess at what a key names, and keeps it as a debt if that fails or
// panics.
func (d *Debts) Count(ctx context.Context, key string, one func(context.Context) error) (err error) {
	counted := false
	defer func() {
		if !counted {
			d.owe(key, one)
		}
	}()
	err = one(ctx)
	counted = err == nil
	return err
}

func (d *Debts) owe(key string, one count) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[string][]count{}
	}
	if d.all = d.all || len(d.of) >= mostSeen; !d.all {
		d.of[key] = append(d.of[key], one)
	}
}

// Pay counts what is owed of some keys; an error says that it still is. It comes before
// anything more is judged of them.
func (d *Debts) Pay(ctx context.Context, shares []Share) error {
	if len(d.due(shares)) == 0 {
		return nil
	}
	d.paying.Lock()
	defer d.paying.Unlock()
	for _, key := range d.due(shares) {
		for one, ok := d.first(key); ok; one, ok = d.first(key) {
			if err := one(ctx); err != nil {
				return fmt.Errorf("counting a MAC that did not hold before: %w", err)
			}
			d.paid(key)
		}
	}
	return nil
}

// due is the keys of which something has to be counted now.
func (d *Debts) due(shares []Share) (keys []string) {
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

func (d *Debts) first(key string) (one count, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.of[key]) == 0 {
		return nil, false
	}
	return d.of[key][0], true
}

// paid takes out the first.
func (d *Debts) paid(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of[key] = d.of[key][1:]; len(d.of[key]) == 0 {
		delete(d.of, key)
	}
	d.all = d.all && len(d.of) > 0
}
