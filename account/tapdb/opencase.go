package tapdb

import (
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/event"
)

// OpenCase opens a case that detection did not ask for, as part of another
// store's transaction, once for each id, and tells the wallet's requestor.
func (d *DB) OpenCase(tx *gorm.DB, c account.Case) error {
	row := caseRow{c.ID, c.Kind, c.Severity, string(c.Wallet), string(c.Ref), c.Ctr, c.Terminal[:], d.now().UnixMilli()}
	done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
	if done.Error != nil {
		return fmt.Errorf("opening a case: %w", done.Error)
	}
	if done.RowsAffected == 0 {
		return nil
	}
	w, err := d.change(tx, c.Wallet, func(*account.Wallet) {}) // takes the row, so that events of the wallet keep their order
	if err != nil {
		return err
	}
	return d.emit(tx, event.Event{Type: event.CaseOpened, Wallet: w.ID, Requestor: w.Requestor,
		Data: map[string]string{"case_id": "cs" + c.ID, "kind": strings.ToLower(c.Kind)}})
}
