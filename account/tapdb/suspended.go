package tapdb

import (
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
)

// suspended compares what slots say that is set aside for them with what the ledger
// holds for them in SUSPENSE, and names whatever else stands there but for orders to
// cards, which others know. It is one statement, so that no slot is met on its way.
func suspended(db *gorm.DB, r *account.Recon) error {
	var bad []struct {
		About       string
		Ctr         uint16
		Want, Found int64
	}
	const q = `SELECT about, ctr, SUM(want) AS want, SUM(found) AS found FROM (
			SELECT token_ref AS about, ctr, suspended AS want, 0 AS found FROM slots WHERE suspended <> 0
			UNION ALL SELECT about, ctr, 0, amount FROM ledger_entries WHERE to_account = 'SUSPENSE' AND purpose NOT LIKE ?
			UNION ALL SELECT about, ctr, 0, -amount FROM ledger_entries WHERE from_account = 'SUSPENSE' AND purpose NOT LIKE ?) AS held
		GROUP BY about, ctr HAVING SUM(want) <> SUM(found) ORDER BY about, ctr LIMIT 1000`
	if err := db.Raw(q, ledger.ForCards+"%", ledger.ForCards+"%").Scan(&bad).Error; err != nil {
		return fmt.Errorf("comparing slots with the ledger: %w", err)
	}
	for _, m := range bad {
		r.Mismatches = append(r.Mismatches, account.Mismatch{What: "slot", Name: fmt.Sprintf("%s/%d", m.About, m.Ctr), Want: m.Want, Found: m.Found})
	}
	return nil
}
