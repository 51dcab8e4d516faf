package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"
)

// batch bounds how many events one transaction gives positions.
const batch = 1000

// Number gives positions to the events that have none. Whoever does so holds
// the head's row until it commits: an event that becomes visible later gets a
// later position, however early it was put into the outbox. That is what a
// sequence of the database's own would not give.
func (o *Outbox) Number(ctx context.Context) error {
	for {
		waiting, err := o.waiting(ctx)
		if err != nil || !waiting {
			return err
		}
		if err := o.cfg.DB.Tx(ctx, number); err != nil {
			return fmt.Errorf("numbering events: %w", err)
		}
	}
}

func (o *Outbox) waiting(ctx context.Context) (bool, error) {
	var n int
	err := o.cfg.DB.Read(ctx).Raw("SELECT count(*) FROM (SELECT 1 FROM events WHERE position = 0 LIMIT 1) AS w").Scan(&n).Error
	if err != nil {
		return false, fmt.Errorf("looking for new events: %w", err)
	}
	return n > 0, nil
}

func number(tx *gorm.DB) error {
	if err := tx.Exec("UPDATE event_head SET position = position WHERE id = 1").Error; err != nil { // takes the row
		return err
	}
	head, err := Head(tx)
	if err != nil {
		return err
	}
	done := tx.Exec(numberFirst, batch, head)
	if done.Error != nil {
		return done.Error
	}
	return tx.Exec("UPDATE event_head SET position = position + ? WHERE id = 1", done.RowsAffected).Error
}

// numberFirst numbers events by age, of each token only the first that has no
// position: clocks may disagree about which of two was first, seq does not.
const numberFirst = `WITH w AS (
	SELECT e.id AS id, ROW_NUMBER() OVER (ORDER BY e.id) AS n FROM events e
	WHERE e.position = 0 AND NOT EXISTS (SELECT 1 FROM events p WHERE p.ref = e.ref AND p.seq < e.seq AND p.position = 0)
	ORDER BY e.id LIMIT ?
) UPDATE events SET position = ? + w.n FROM w WHERE events.id = w.id`

// Head returns the last position that was given.
func Head(tx *gorm.DB) (int64, error) {
	var head sql.NullInt64
	if err := tx.Raw("SELECT position FROM event_head WHERE id = 1").Scan(&head).Error; err != nil {
		return 0, fmt.Errorf("reading the last position of events: %w", err)
	}
	return head.Int64, nil
}
