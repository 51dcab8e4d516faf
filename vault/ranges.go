package vault

import (
	"context"
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
// from card numbers, and terminals of them.
func (v *Vault) LearnRanges(ctx context.Context) error {
	v.ranges.learning.Lock()
	defer v.ranges.learning.Unlock()
	var rows []rangeRow
	if err := v.cfg.DB.Read(ctx).Order("created_at, id").Find(&rows).Error; err != nil {
		return fmt.Errorf("reading token ranges: %w", err)
	}
	var more []*numbering
	for _, row := range rows {
		if v.known(row.ID) != nil {
			continue
		}
		n, err := v.unwrap(ctx, row)
		if err != nil {
			return err
		}
		more = append(more, n)
	}
	if more != nil {
		v.ranges.add(more...)
	}
	return nil
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
	if err := v.LearnRanges(ctx); err != nil {
		return nil, err
	}
	if n := v.known(name); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("its range %s is not known", name)
}
