package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// numberings are the ranges that this process knows. Others are added when it
// meets them: another process may have been started with one more.
type numberings struct {
	list     atomic.Pointer[[]*numbering]
	learning sync.Mutex
}

// all lists them, those that are configured first. It is not to be changed.
func (n *numberings) all() []*numbering {
	if p := n.list.Load(); p != nil {
		return *p
	}
	return nil
}

// add puts more behind those that are known. Of callers at once, one may.
func (n *numberings) add(more ...*numbering) {
	all := slices.Concat(n.all(), more)
	n.list.Store(&all)
}

// LearnRanges looks for ranges that other processes have made since. Their
// numbers are known from then on, and none is issued from them here. Numbers that
// are met before are looked for by themselves; what this is for is to tell them
// from card numbers, and terminals of them. One that cannot be opened holds up no other.
func (v *Vault) LearnRanges(ctx context.Context) error {
	v.ranges.learning.Lock()
	defer v.ranges.learning.Unlock()
	var names []string
	if err := v.cfg.DB.Read(ctx).Model(&rangeRow{}).Order("created_at, id").Pluck("id", &names).Error; err != nil {
		return fmt.Errorf("reading token ranges: %w", err)
	}
	var more []*numbering
	var errs []error
	for _, name := range names {
		if v.known(name) != nil {
			continue
		}
		n, err := v.learn(ctx, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		more = append(more, n)
	}
	if more != nil {
		v.ranges.add(more...)
	}
	return errors.Join(errs...)
}

// learn reads a range.
func (v *Vault) learn(ctx context.Context, name string) (*numbering, error) {
	var row rangeRow
	if err := v.cfg.DB.Read(ctx).Where("id = ?", name).Take(&row).Error; err != nil {
		return nil, fmt.Errorf("reading token range %s: %w", name, err)
	}
	return v.unwrap(ctx, row)
}

func (v *Vault) known(name string) *numbering {
	for _, n := range v.ranges.all() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// learnWithin bounds a look for the range of a row that was read.
const learnWithin = 30 * time.Second

// rangeByName returns the range of a row, for which it looks if it has to.
func (v *Vault) rangeByName(name string) (*numbering, error) {
	if n := v.known(name); n != nil {
		return n, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), learnWithin)
	defer cancel()
	err := v.LearnRanges(ctx)
	if n := v.known(name); n != nil {
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("its range %s: %w", name, errNoRange)
}

// errNoRange reports a row of a range that there is not.
var errNoRange = errors.New("the range is not known")
