package tapdb

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
)

// totals is a row of what a token has paid so far.
type totals struct {
	TokenRef  string `gorm:"primaryKey"`
	Total     int64
	Uses      int64
	ChangedAt int64
}

// TableName is the table.
func (totals) TableName() string { return "token_totals" }

// directUse is a row of a use without a tap.
type directUse struct {
	TokenRef string `gorm:"primaryKey"`
	UseID    string `gorm:"primaryKey"`
	Amount   int64
	UsedAt   int64
}

// TableName is the table.
func (directUse) TableName() string { return "direct_uses" }

// change is what one transaction adds to the totals of a token.
type change struct{ total, uses int64 }

// book counts the uses of one transaction. Totals are written as differences,
// so that a transaction need not read those that no control asks for.
type book struct {
	tx      *gorm.DB
	stored  map[token.Ref]totals // of tokens that were asked for
	changes map[token.Ref]*change
}

func newBook(tx *gorm.DB) *book {
	return &book{tx, make(map[token.Ref]totals), make(map[token.Ref]*change)}
}

// paid is one posted record, or none.
type paid struct {
	amount int64
	posted bool
}

// amount is what a slot pays.
func amount(s *slot) paid {
	e, ok := s.Posted()
	return paid{int64(e.Tap.Amount), ok}
}

// judge asks the controls about a record that is new to its slot. What the slot
// pays already is not counted against it: a slot pays once.
func (b *book) judge(e account.Evidence, s *slot) (reason string, err error) {
	if _, known := s.Find(e.ID()); known || e.Bounds == nil {
		return "", nil
	}
	sum, count, err := b.before(e.Ref)
	if err != nil {
		return "", err
	}
	if was := amount(s); was.posted {
		sum, count = sum-was.amount, count-1
	}
	return e.Bounds.Judge(uint64(max(sum, 0)), int(count)), nil
}

// before is what a token has paid, with what this transaction has added.
func (b *book) before(ref token.Ref) (sum, count int64, err error) {
	row, ok := b.stored[ref]
	if !ok {
		var rows []totals
		if err := b.tx.Where("token_ref = ?", string(ref)).Limit(1).Find(&rows).Error; err != nil {
			return 0, 0, fmt.Errorf("reading totals: %w", err)
		}
		if len(rows) > 0 {
			row = rows[0]
		}
		b.stored[ref] = row
	}
	if c := b.changes[ref]; c != nil {
		row.Total, row.Uses = row.Total+c.total, row.Uses+c.uses
	}
	return row.Total, row.Uses, nil
}

// move counts that a slot paid one record before and pays another now.
func (b *book) move(ref token.Ref, from, to paid) {
	c := b.changes[ref]
	if c == nil {
		c = &change{}
		b.changes[ref] = c
	}
	c.total += to.amount - from.amount
	if to.posted && !from.posted {
		c.uses++
	}
}

// save adds what was counted to the stored totals, in the order of references:
// two processes that count for the same tokens never wait for each other in a
// circle.
func (b *book) save(now time.Time) error {
	var rows []totals
	for _, ref := range slices.SortedFunc(maps.Keys(b.changes), cmp.Compare[token.Ref]) {
		if c := b.changes[ref]; *c != (change{}) {
			rows = append(rows, totals{string(ref), c.total, c.uses, now.UnixMilli()})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	add := clause.OnConflict{Columns: []clause.Column{{Name: "token_ref"}}, DoUpdates: clause.Set{
		{Column: clause.Column{Name: "total"}, Value: gorm.Expr("token_totals.total + excluded.total")},
		{Column: clause.Column{Name: "uses"}, Value: gorm.Expr("token_totals.uses + excluded.uses")},
		{Column: clause.Column{Name: "changed_at"}, Value: gorm.Expr("excluded.changed_at")},
	}}
	if err := b.tx.Clauses(add).CreateInBatches(rows, inOne).Error; err != nil {
		return fmt.Errorf("adding to totals: %w", err)
	}
	return nil
}

// reused is the reason of a use whose id stands for another amount.
const reused = "use-reused"

// Spend implements [account.Journal].
func (d *DB) Spend(ctx context.Context, ref token.Ref, id string, bounds account.Bounds) (reason string, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		reason, err = d.spend(tx, ref, id, bounds)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("counting a use: %w", err)
	}
	return reason, nil
}

func (d *DB) spend(tx *gorm.DB, ref token.Ref, id string, bounds account.Bounds) (reason string, err error) {
	row := directUse{string(ref), id, int64(bounds.Use.Amount), d.now().UnixMilli()}
	var known []directUse
	if err := tx.Where("token_ref = ? AND use_id = ?", row.TokenRef, id).Limit(1).Find(&known).Error; err != nil {
		return "", fmt.Errorf("reading a use: %w", err)
	}
	if len(known) > 0 {
		if known[0].Amount != row.Amount {
			return reused, nil
		}
		return "", nil // counted before
	}
	b := newBook(tx)
	sum, count, err := b.before(ref)
	if err != nil {
		return "", err
	}
	if reason := bounds.Judge(uint64(max(sum, 0)), int(count)); reason != "" {
		return reason, nil
	}
	b.move(ref, paid{}, paid{row.Amount, true})
	if err := tx.Create(&row).Error; err != nil {
		return "", fmt.Errorf("inserting a use: %w", err)
	}
	return "", b.save(d.now())
}
