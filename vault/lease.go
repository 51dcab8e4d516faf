package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
)

// leaseFor is how long a block stays its holder's after it was leased or
// renewed. Nothing else depends on it: a process whose clock is wrong is
// refused numbers by the database.
const leaseFor = 10 * time.Minute

// renewAt is how much of a lease is left when it is renewed. Issuing does not
// write the row of its lease each time: those who issue at once would wait for
// each other there.
const renewAt = leaseFor / 2

// recheck is how long a range counts as given out whole before it is looked at
// again: meanwhile numbers that come back are used without a look for fresh
// ones.
const recheck = time.Minute

// errFenced reports that another process took over the block of a serial.
var errFenced = errors.New("the lease of this serial has passed on")

// leases is the serials of one range that this process may use. What is unique
// is a matter of the database, which refuses a number twice; leases only keep
// processes from trying the same one.
type leases struct {
	mu     sync.Mutex
	free   []slot
	blocks []*block
	empty  time.Time // until then, there is nothing to lease
}

// block is a leased run of serials, [first, end).
type block struct {
	first, end, epoch int64
	left              int       // serials not yet in the database; 0: the block is used up
	until             time.Time // the end of the lease
}

// slot is one serial of a block.
type slot struct {
	serial int64
	block  *block
}

// take returns a serial that no token bears. It leases a block when it has to,
// and returns [ErrExhausted] when every serial of the range was given out.
func (v *Vault) take(ctx context.Context, n *numbering) (slot, error) {
	l := &n.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if len(l.free) == 0 {
			if err := v.fill(ctx, n); err != nil {
				return slot{}, err
			}
		}
		s := l.free[0]
		err := v.renew(ctx, n, s.block)
		if err == nil {
			l.free = l.free[1:]
			return s, nil
		}
		if !errors.Is(err, errFenced) {
			return slot{}, err
		}
		l.forget(s.block)
	}
}

// fill leases a block when there is none left; the caller holds the lock.
func (v *Vault) fill(ctx context.Context, n *numbering) error {
	l := &n.leases
	for len(l.free) == 0 {
		if v.cfg.Now().Before(l.empty) {
			return ErrExhausted
		}
		b, free, err := v.lease(ctx, n)
		if errors.Is(err, ErrExhausted) {
			l.empty = v.cfg.Now().Add(recheck)
		}
		if err != nil {
			return err
		}
		l.blocks = slices.DeleteFunc(l.blocks, func(b *block) bool { return b.left == 0 })
		l.blocks = append(l.blocks, b)
		for _, s := range free {
			l.free = append(l.free, slot{s, b})
		}
	}
	return nil
}

// giveBack makes s the next serial to be used: its token was not made.
func (l *leases) giveBack(s slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.blocks, s.block) {
		l.free = slices.Insert(l.free, 0, s)
	}
}

// used notes that the serial of s is in the database.
func (l *leases) used(s slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.block.left--
}

// forget drops a block that has passed on to another process; the caller holds
// the lock.
func (l *leases) forget(b *block) {
	l.blocks = slices.DeleteFunc(l.blocks, func(o *block) bool { return o == b })
	l.free = slices.DeleteFunc(l.free, func(s slot) bool { return s.block == b })
}

// lease gets a block: one that was handed back or whose holder is gone, or
// else the next of the range.
func (v *Vault) lease(ctx context.Context, n *numbering) (b *block, free []int64, err error) {
	err = v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		if err := v.deleteUsedUp(tx, n); err != nil {
			return err
		}
		for {
			b, free, err = v.takeOver(tx, n)
			if err != nil || b == nil || len(free) > 0 {
				break
			}
			// Every serial of it was used before its holder went.
			if err := deleteLease(tx, n, b); err != nil {
				return err
			}
		}
		if err == nil && b == nil {
			b, free, err = v.advance(tx, n)
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("leasing serials of range %s: %w", n.Name, err)
	}
	b.left = len(free)
	return b, free, nil
}

func (v *Vault) deleteUsedUp(tx *gorm.DB, n *numbering) error {
	for _, b := range n.leases.blocks {
		if b.left == 0 {
			if err := deleteLease(tx, n, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func deleteLease(tx *gorm.DB, n *numbering, b *block) error {
	return tx.Where("range_id = ? AND first_serial = ? AND epoch = ?", n.Name, b.first, b.epoch).Delete(&leaseRow{}).Error
}

// takeOver makes a block that nobody uses ours, with the serials in it that
// are free; b is nil when there is none.
func (v *Vault) takeOver(tx *gorm.DB, n *numbering) (b *block, free []int64, err error) {
	now := v.cfg.Now()
	var rows []leaseRow
	err = tx.Where("range_id = ? AND holder <> ? AND (holder = '' OR leased_until < ?)", n.Name, v.instance, now.UnixMilli()).
		Order("first_serial").Limit(1).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, nil, err
	}
	r := rows[0]
	done := tx.Model(&leaseRow{}).Where("range_id = ? AND first_serial = ? AND epoch = ?", n.Name, r.FirstSerial, r.Epoch).
		Updates(map[string]any{"holder": v.instance, "epoch": r.Epoch + 1, "leased_until": now.Add(leaseFor).UnixMilli()})
	if done.Error != nil || done.RowsAffected != 1 {
		return nil, nil, errors.Join(done.Error, errRace(done.RowsAffected == 1))
	}
	var used []int64
	err = tx.Model(&numberRow{}).Where("range_id = ? AND serial >= ? AND serial < ?", n.Name, r.FirstSerial, r.EndSerial).
		Order("serial").Pluck("serial", &used).Error
	if err != nil {
		return nil, nil, err
	}
	for s := r.FirstSerial; s < r.EndSerial; s++ {
		if _, is := slices.BinarySearch(used, s); !is {
			free = append(free, s)
		}
	}
	return &block{first: r.FirstSerial, end: r.EndSerial, epoch: r.Epoch + 1, until: now.Add(leaseFor)}, free, nil
}

// advance leases the next block of serials that were never leased.
func (v *Vault) advance(tx *gorm.DB, n *numbering) (*block, []int64, error) {
	var r rangeRow
	if err := tx.Where("id = ?", n.Name).Take(&r).Error; err != nil {
		return nil, nil, err
	}
	first := r.NextSerial
	end := min(first+v.cfg.LeaseBlock, n.size())
	if first >= end {
		return nil, nil, ErrExhausted
	}
	done := tx.Model(&rangeRow{}).Where("id = ? AND next_serial = ?", n.Name, first).Update("next_serial", end)
	if done.Error != nil || done.RowsAffected != 1 {
		return nil, nil, errors.Join(done.Error, errRace(done.RowsAffected == 1))
	}
	until := v.cfg.Now().Add(leaseFor)
	row := leaseRow{n.Name, first, end, v.instance, 1, until.UnixMilli()}
	free := make([]int64, 0, end-first)
	for s := first; s < end; s++ {
		free = append(free, s)
	}
	return &block{first: first, end: end, epoch: 1, until: until}, free, tx.Create(&row).Error
}

// renew keeps a block ours when its lease comes to its end, and fails with
// [errFenced] when it is another process's already. The caller holds the lock.
func (v *Vault) renew(ctx context.Context, n *numbering, b *block) error {
	now := v.cfg.Now()
	if now.Before(b.until.Add(-renewAt)) {
		return nil
	}
	until := now.Add(leaseFor)
	err := v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&leaseRow{}).
			Where("range_id = ? AND first_serial = ? AND epoch = ?", n.Name, b.first, b.epoch).
			Update("leased_until", until.UnixMilli())
		return errors.Join(done.Error, errRace(done.Error != nil || done.RowsAffected == 1))
	})
	if err != nil {
		return fmt.Errorf("renewing a lease of range %s: %w", n.Name, err)
	}
	b.until = until
	return nil
}

// handBack returns what is left of the leased blocks.
func (v *Vault) handBack(ctx context.Context, n *numbering) error {
	l := &n.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.blocks) == 0 {
		return nil
	}
	err := v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		if err := v.deleteUsedUp(tx, n); err != nil {
			return err
		}
		return tx.Model(&leaseRow{}).Where("range_id = ? AND holder = ?", n.Name, v.instance).Update("holder", "").Error
	})
	if err != nil {
		return fmt.Errorf("handing back serials of range %s: %w", n.Name, err)
	}
	l.free, l.blocks = nil, nil
	return nil
}

// errRace is the error of a compare-and-swap that another process won.
func errRace(won bool) error {
	if won {
		return nil
	}
	return errFenced
}
