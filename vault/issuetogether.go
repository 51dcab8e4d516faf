package vault

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/gather"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// Tokens that are asked for at the same time are made together, in one
// transaction and with one statement for each table: to a database at the other
// end of a wire, statements cost more than rows. When one of them stands in the
// way of the others, each is made alone.

// mostTogether bounds how many tokens are made by one statement.
const mostTogether = 64

// ordered is a draft with the serial that its token is to have.
type ordered struct {
	n *numbering
	s slot
	d draft
}

// made is a token that an order is answered with; fresh is false when the
// attempt had made one before.
type made struct {
	token token.Token
	fresh bool
}

// errApart reports orders that cannot be made together.
var errApart = errors.New("the tokens are to be made one by one")

func (v *Vault) makers() *gather.Gatherer[ordered, made] {
	return gather.New(gather.Config[ordered, made]{Serve: v.insertAll, Most: mostTogether, Lanes: 1})
}

// insertFresh makes the token of an order, with others if there are any.
func (v *Vault) insertFresh(ctx context.Context, o ordered) (t token.Token, fresh bool, err error) {
	m, err := v.making.Do(ctx, o)
	return m.token, m.fresh, err
}

// insertAll makes the tokens of orders, together if it can be done.
func (v *Vault) insertAll(ctx context.Context, all []ordered) []gather.Answer[made] {
	if len(all) > 1 {
		if answers, ok := v.insertTogether(ctx, all); ok {
			return answers
		}
	}
	answers := make([]gather.Answer[made], len(all))
	gather.Spread(len(all), len(all), func(i int) { answers[i] = v.insertAlone(ctx, all[i]) })
	return answers
}

func (v *Vault) insertAlone(ctx context.Context, o ordered) gather.Answer[made] {
	t, fresh, err := v.insert(ctx, o.n, o.d, func(tx *gorm.DB) (numberRow, error) { return v.fresh(tx, o.n, o.s, o.d) })
	return gather.Answer[made]{Value: made{t, fresh}, Err: err}
}

// insertTogether reports with ok that nothing is left to be tried: the tokens
// are there, or else a commit failed that may have happened all the same.
func (v *Vault) insertTogether(ctx context.Context, all []ordered) (answers []gather.Answer[made], ok bool) {
	ran := false
	err := v.cfg.DB.Tx(ctx, func(tx *gorm.DB) (err error) {
		ran = false
		answers, err = v.putAll(tx, all)
		ran = err == nil
		return err
	})
	if err != nil && ran {
		for i := range answers {
			answers[i] = gather.Answer[made]{Err: err}
		}
	}
	return answers, ran
}

// putAll stores everything that orders come to, in an order that foreign keys
// allow.
func (v *Vault) putAll(tx *gorm.DB, all []ordered) ([]gather.Answer[made], error) {
	if err := v.putAttempts(tx, all); err != nil {
		return nil, err
	}
	if err := v.putCards(tx, all); err != nil {
		return nil, err
	}
	numbers, rows := make([]numberRow, len(all)), make([]tokenRow, len(all))
	for i, o := range all {
		var err error
		numbers[i] = v.freshRow(o.n, o.s, o.d)
		if rows[i], err = v.tokenRow(o.n, numbers[i], o.d); err != nil {
			return nil, err
		}
	}
	if err := tx.Create(&numbers).Error; err != nil {
		return nil, fmt.Errorf("giving out numbers: %w", err)
	}
	done := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "living"}}, DoNothing: true}).Create(&rows)
	if err := allWritten(done, len(rows)); err != nil {
		return nil, fmt.Errorf("storing tokens: %w", err)
	}
	if err := v.tell(tx, all, rows); err != nil {
		return nil, err
	}
	return v.answers(all, rows)
}

// allWritten fails when not as many rows were written as were given.
func allWritten(done *gorm.DB, n int) error {
	if done.Error == nil && done.RowsAffected != int64(n) {
		return errApart
	}
	return done.Error
}

func (v *Vault) putAttempts(tx *gorm.DB, all []ordered) error {
	firsts := make([]store.First, len(all))
	for i, o := range all {
		firsts[i] = store.First{Caller: o.d.caller, Attempt: o.d.attempt, Op: o.d.op, Result: string(o.d.Ref)}
	}
	ok, err := store.OnceAll(tx, firsts)
	if err == nil && !ok {
		err = errApart
	}
	return err
}

// putCards stores the cards that are new. One that is to be changed is changed
// alone.
func (v *Vault) putCards(tx *gorm.DB, all []ordered) error {
	var rows []cardRow
	for _, o := range all {
		switch {
		case o.d.card.update:
			return errApart
		case o.d.card.write:
			rows = append(rows, o.d.card.row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := v.mayWrite(tx); err != nil {
		return err
	}
	done := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "pan_index"}}, DoNothing: true}).Create(&rows)
	if err := allWritten(done, len(rows)); err != nil {
		return fmt.Errorf("storing cards: %w", err)
	}
	return nil
}

// tell keeps the events of new tokens, and ties each to the one it follows.
func (v *Vault) tell(tx *gorm.DB, all []ordered, rows []tokenRow) error {
	events := make([]event.Event, len(rows))
	for i, r := range rows {
		events[i] = r.issued()
	}
	if err := v.emitAll(tx, events); err != nil {
		return err
	}
	for _, o := range all {
		if err := v.follow(tx, o.d); err != nil {
			return err
		}
	}
	return nil
}

func (v *Vault) answers(all []ordered, rows []tokenRow) ([]gather.Answer[made], error) {
	answers := make([]gather.Answer[made], len(rows))
	for i, r := range rows {
		card := all[i].d.card.row
		t, err := v.toToken(tokenView{r, card.PAR, card.Last4})
		if err != nil {
			return nil, err
		}
		answers[i].Value = made{t, true}
	}
	return answers, nil
}
