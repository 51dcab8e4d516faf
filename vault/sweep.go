package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// Of all states, unexpired are those that time ends, and ended those in which a
// token has come to its end.
var (
	unexpired = []string{string(token.Requested), string(token.Delivered), string(token.Active), string(token.Suspended)}
	ended     = []string{string(token.Expired), string(token.Deleted)}
)

// expired bounds how many tokens one transaction of a sweep moves, so that others do not
// wait long for the database.
const expired = 200

// ExpireDue moves the tokens whose windows have closed to EXPIRED, each with the
// event that tells of it, and returns how many it moved. One that cannot be read holds up
// none of the others, and is named in the error. Several processes may do
// so at once; each token is moved by one of them. The quarantine of a
// number runs from the end of its token's window, whenever this is called.
func (w *Writer) ExpireDue(ctx context.Context) (moved int, err error) {
	now, err := w.v.surely(ctx)
	if err != nil {
		return 0, err
	}
	due := func(db *gorm.DB) *gorm.DB {
		return db.Where("tokens.state IN ? AND tokens.not_after <= ?", unexpired, now.UnixMilli())
	}
	page := func(after store.Place) (places []store.Place, err error) {
		q := due(w.v.cfg.DB.Read(ctx).Table("tokens")).Select("not_after AS at, ref AS name")
		q = q.Where("(not_after, ref) > (?, ?)", after.At, after.Name)
		if err := q.Order("not_after, ref").Limit(expired).Find(&places).Error; err != nil {
			return nil, fmt.Errorf("looking for tokens whose time has come: %w", err)
		}
		return places, nil
	}
	moved, err = store.Sweep(page, func(refs []string) (n int, err error) {
		err = w.v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
			n, err = w.v.expire(tx, func(q *gorm.DB) *gorm.DB { return due(q).Where("tokens.ref IN ?", refs) })
			return err
		})
		return n, err
	})
	if err != nil {
		err = fmt.Errorf("expiring tokens: %w", err)
	}
	return moved, err
}

// expire moves the tokens that are due.
func (v *Vault) expire(tx *gorm.DB, due func(*gorm.DB) *gorm.DB) (moved int, err error) {
	var rows []tokenView
	if err := due(views(tx)).Order("tokens.not_after, tokens.ref").Find(&rows).Error; err != nil {
		return 0, fmt.Errorf("reading tokens whose time has come: %w", err)
	}
	for _, row := range rows {
		_, err := v.change(tx, row, token.Change{Ref: token.Ref(row.Row.Ref), From: token.State(row.Row.State),
			Verb: token.Expire, At: moment(row.Row.NotAfter)})
		if errors.Is(err, ErrConflict) {
			continue // another process was faster
		}
		if err != nil {
			return 0, err
		}
		moved++
	}
	return moved, nil
}

// surely asks for the moment that has come by every clock there is.
func (v *Vault) surely(ctx context.Context) (time.Time, error) {
	now, err := v.cfg.Sure(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking a second clock: %w", err)
	}
	return now, nil
}
