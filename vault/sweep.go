package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/token"
)

// Of all states, unexpired are those that time ends, and ended those in which a
// token has come to its end.
var (
	unexpired = []string{string(token.Requested), string(token.Delivered), string(token.Active), string(token.Suspended)}
	ended     = []string{string(token.Expired), string(token.Deleted)}
)

// ExpireDue moves up to limit tokens whose windows have closed to EXPIRED, each
// with the event that tells of it, and returns how many it moved and how many
// it looked at: as many as limit mean that more may wait. Several processes may
// do so at once; each token is moved by one of them. The quarantine of a
// number runs from the end of its token's window, whenever this is called.
func (w *Writer) ExpireDue(ctx context.Context, limit int) (moved, seen int, err error) {
	now, err := w.v.surely(ctx)
	if err != nil {
		return 0, 0, err
	}
	err = w.v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		moved = 0
		var rows []tokenView
		err := views(tx).Where("tokens.state IN ? AND tokens.not_after <= ?", unexpired, now.UnixMilli()).
			Order("tokens.not_after, tokens.ref").Limit(limit).Find(&rows).Error
		if err != nil {
			return fmt.Errorf("looking for tokens whose time has come: %w", err)
		}
		seen = len(rows)
		for _, row := range rows {
			_, err := w.v.change(tx, row, token.Change{Ref: token.Ref(row.Row.Ref), From: token.State(row.Row.State),
				Verb: token.Expire, At: moment(row.Row.NotAfter)})
			if errors.Is(err, ErrConflict) {
				continue // another process was faster
			}
			if err != nil {
				return err
			}
			moved++
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return moved, seen, nil
}

// surely asks for the moment that has come by every clock there is.
func (v *Vault) surely(ctx context.Context) (time.Time, error) {
	now, err := v.cfg.Sure(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking a second clock: %w", err)
	}
	return now, nil
}
