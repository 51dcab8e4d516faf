// Package hookdb keeps in the database which events a webhook has not taken.
package hookdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/webhook"
)

// DB is a [webhook.Queue] on a database. Safe for concurrent use.
type DB struct {
	store  *store.DB
	events *outbox.Outbox
	now    func() time.Time
}

// New returns the queue in db, which has been migrated. A nil now is time.Now.
func New(db *store.DB, events *outbox.Outbox, now func() time.Time) *DB {
	if now == nil {
		now = time.Now
	}
	return &DB{db, events, now}
}

type mark struct {
	Endpoint  string `gorm:"primaryKey"`
	Position  int64
	Failures  int
	RestUntil int64
}

// TableName is the table.
func (mark) TableName() string { return "webhook_marks" }

type row struct {
	Endpoint string `gorm:"primaryKey"`
	Position int64  `gorm:"primaryKey;autoIncrement:false"`
	EventID  string
	Ref      string
	Attempts int
	NextAt   int64
}

// TableName is the table.
func (row) TableName() string { return "webhook_queue" }

// page bounds the events that one transaction queues.
const page = 200

// errMoved reports that another process filled the queue meanwhile.
var errMoved = errors.New("the mark has moved")

// Fill implements [webhook.Queue].
func (d *DB) Fill(ctx context.Context, e webhook.Endpoint) error {
	for {
		at, err := d.mark(ctx, e.Name)
		if err != nil {
			return err
		}
		events, err := d.events.List(ctx, event.Filter{Requestor: e.Requestor}, at, page)
		if err != nil || len(events) == 0 {
			return err
		}
		err = d.store.Tx(ctx, func(tx *gorm.DB) error { return fill(tx, e.Name, at, events) })
		if err != nil && !errors.Is(err, errMoved) {
			return fmt.Errorf("queueing events: %w", err)
		}
	}
}

// mark reads how far the queue was filled, and begins one at the newest event.
func (d *DB) mark(ctx context.Context, endpoint string) (int64, error) {
	var rows []mark
	if err := d.store.Read(ctx).Where("endpoint = ?", endpoint).Limit(1).Find(&rows).Error; err != nil {
		return 0, fmt.Errorf("reading a webhook's mark: %w", err)
	}
	if len(rows) == 1 {
		return rows[0].Position, nil
	}
	if err := d.events.Number(ctx); err != nil {
		return 0, err
	}
	m := mark{Endpoint: endpoint}
	err := d.store.Tx(ctx, func(tx *gorm.DB) (err error) {
		if m.Position, err = outbox.Head(tx); err != nil {
			return err
		}
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&m).Error
	})
	if err != nil {
		return 0, fmt.Errorf("beginning a webhook's queue: %w", err)
	}
	return m.Position, nil
}

func fill(tx *gorm.DB, endpoint string, from int64, events []event.Event) error {
	to := events[len(events)-1].Position
	done := tx.Model(&mark{}).Where("endpoint = ? AND position = ?", endpoint, from).Update("position", to)
	if done.Error != nil {
		return done.Error
	}
	if done.RowsAffected != 1 {
		return errMoved
	}
	rows := make([]row, len(events))
	for i, e := range events {
		rows[i] = row{Endpoint: endpoint, Position: e.Position, EventID: e.ID, Ref: e.Subject()}
	}
	return tx.CreateInBatches(rows, 100).Error
}

// Claim implements [webhook.Queue].
func (d *DB) Claim(ctx context.Context, e webhook.Endpoint, until time.Time, limit int) ([]webhook.Delivery, error) {
	var claimed []row
	if due, err := d.due(d.store.Read(ctx), e.Name, 1); err != nil || len(due) == 0 {
		return nil, err
	}
	err := d.store.Tx(ctx, func(tx *gorm.DB) error {
		claimed = nil
		due, err := d.due(tx, e.Name, limit)
		if err != nil {
			return err
		}
		for _, r := range due {
			done := tx.Model(&row{}).Where("endpoint = ? AND position = ? AND attempts = ? AND next_at = ?", r.Endpoint, r.Position, r.Attempts, r.NextAt).
				Updates(map[string]any{"attempts": r.Attempts + 1, "next_at": until.UnixMilli()})
			if done.Error != nil {
				return done.Error
			}
			if r.Attempts++; done.RowsAffected == 1 {
				claimed = append(claimed, r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claiming events: %w", err)
	}
	return d.deliveries(ctx, claimed)
}

// far is longer than a delivery is ever put off: what is further ahead was put off by a
// process whose clock was.
const far = 2 * time.Hour

// due finds what may be tried now: of each token the first, if its time has
// come.
func (d *DB) due(tx *gorm.DB, endpoint string, limit int) ([]row, error) {
	now := d.now()
	var rows []row
	for _, when := range []struct {
		is string
		at time.Time
	}{{"q.next_at <= ?", now}, {"q.next_at > ?", now.Add(far)}} {
		var some []row
		err := tx.Table("webhook_queue AS q").Where("q.endpoint = ? AND "+when.is, endpoint, when.at.UnixMilli()).
			Where("NOT EXISTS (SELECT 1 FROM webhook_queue p WHERE p.endpoint = q.endpoint AND p.ref = q.ref AND p.position < q.position)").
			Order("q.position").Limit(limit - len(rows)).Find(&some).Error
		if err != nil {
			return nil, fmt.Errorf("looking for events to send: %w", err)
		}
		if rows = append(rows, some...); len(rows) == limit {
			break
		}
	}
	return rows, nil
}

func (d *DB) deliveries(ctx context.Context, rows []row) ([]webhook.Delivery, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	ids, attempts := make([]string, len(rows)), make(map[string]int, len(rows))
	for i, r := range rows {
		ids[i], attempts[r.EventID] = r.EventID, r.Attempts
	}
	events, err := d.events.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]webhook.Delivery, len(events))
	for i, e := range events {
		out[i] = webhook.Delivery{Endpoint: rows[0].Endpoint, Attempt: attempts[e.ID], Event: e}
	}
	return out, nil
}

// Done implements [webhook.Queue].
func (d *DB) Done(ctx context.Context, one webhook.Delivery) error {
	return d.store.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Where("endpoint = ? AND position = ?", one.Endpoint, one.Event.Position).Delete(&row{}).Error
	})
}

// Later implements [webhook.Queue]. A delivery that somebody else has claimed
// since is theirs.
func (d *DB) Later(ctx context.Context, one webhook.Delivery, at time.Time) error {
	return d.store.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Model(&row{}).Where("endpoint = ? AND position = ? AND attempts = ?", one.Endpoint, one.Event.Position, one.Attempt).
			Update("next_at", at.UnixMilli()).Error
	})
}
