package loaddb

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
)

// Held implements [account.Loads]. It is one statement, so that no order is met on
// its way from one state to the next.
func (d *DB) Held(ctx context.Context) (all []account.HeldLoad, err error) {
	const q = `SELECT id, SUM(want) AS want, SUM(found) AS found FROM (
			SELECT id, amount AS want, 0 AS found FROM card_loads
				WHERE kind = 'LOAD' AND state = 'SUSPENSE' OR kind = 'UNLOAD' AND state = 'DISPUTED' AND decided = 0
			UNION ALL SELECT about, 0, amount FROM ledger_entries WHERE to_account = 'SUSPENSE' AND purpose LIKE ?
			UNION ALL SELECT about, 0, -amount FROM ledger_entries WHERE from_account = 'SUSPENSE' AND purpose LIKE ?) AS held
		GROUP BY id HAVING SUM(want) <> 0 OR SUM(found) <> 0
		ORDER BY CASE WHEN SUM(want) = SUM(found) THEN 1 ELSE 0 END, id LIMIT 1000`
	if err := d.cfg.Store.Read(ctx).Raw(q, ledger.ForCards+"%", ledger.ForCards+"%").Scan(&all).Error; err != nil {
		return nil, fmt.Errorf("comparing orders with the ledger: %w", err)
	}
	return all, nil
}

// Astray implements [account.Loads], by one statement for the same reason. What a
// transfer that is no order's left in CARD_LOAD goes by what the transfer is about.
func (d *DB) Astray(ctx context.Context) (all []account.HeldLoad, err error) {
	const q = `SELECT id, SUM(want) AS want, SUM(found) AS found FROM (
			SELECT id, amount AS want, 0 AS found FROM card_loads WHERE kind = 'LOAD' AND state = 'STARTED'
			UNION ALL SELECT about, 0, amount FROM ledger_entries WHERE to_account = 'CARD_LOAD'
			UNION ALL SELECT about, 0, -amount FROM ledger_entries WHERE from_account = 'CARD_LOAD') AS astray
		GROUP BY id HAVING SUM(want) <> SUM(found) ORDER BY id LIMIT 1000`
	if err := d.cfg.Store.Read(ctx).Raw(q).Scan(&all).Error; err != nil {
		return nil, fmt.Errorf("comparing orders on their way with the ledger: %w", err)
	}
	return all, nil
}
