package loaddb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/load"
)

// decision is a row of what was decided.
type decision struct {
	LoadID    string `gorm:"primaryKey"`
	State     string `gorm:"primaryKey"`
	Verdict   string
	Reason    string
	Evidence  string
	Client    string
	DecidedAt int64
}

// TableName is the table.
func (decision) TableName() string { return "card_load_decisions" }

func (d decision) decision() load.Decision {
	return load.Decision{Load: d.LoadID, In: load.State(d.State), Verdict: load.Verdict(d.Verdict), Reason: d.Reason, Evidence: d.Evidence,
		By: d.Client, At: time.UnixMilli(d.DecidedAt).UTC()}
}

// Decide implements [load.Store].
func (d *DB) Decide(ctx context.Context, x load.Decision) (out load.Record, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		out, err = d.decide(tx, x)
		return err
	})
	return out, err
}

func (d *DB) decide(tx *gorm.DB, x load.Decision) (load.Record, error) {
	r, err := find(tx, x.Load)
	if err != nil {
		return r, err
	}
	known, err := decided(tx, x.Load)
	if err != nil {
		return r, err
	}
	if again, err := x.Repeats(known[x.Load]); again || err != nil {
		return r, err
	}
	next, moves, err := r.Decide(x)
	if err != nil {
		return r, err
	}
	if err := d.pay(tx, r, moves); err != nil {
		return r, err
	}
	next.ChangedAt = x.At.UTC().Truncate(time.Millisecond)
	if next, err = swap(tx, next); err != nil {
		return r, err
	}
	row := decision{x.Load, string(x.In), string(x.Verdict), x.Reason, x.Evidence, x.By, x.At.UnixMilli()}
	if err := tx.Create(&row).Error; err != nil {
		return r, fmt.Errorf("keeping a decision: %w", err)
	}
	return next, d.tell(tx, next, x.Verdict)
}

// pay moves the money of a decision, to an account or from it.
func (d *DB) pay(tx *gorm.DB, r load.Record, moves []ledger.Transfer) error {
	post := func() error { return ledgerdb.Post(tx, d.cfg.Now(), moves...) }
	takes := slices.ContainsFunc(moves, func(m ledger.Transfer) bool { return m.From == ledger.Available })
	if takes && d.cfg.Phones != nil {
		return d.cfg.Phones.Lowering(tx, r.Account, post)
	}
	if err := post(); err != nil {
		return err
	}
	return d.arrived(tx, moves)
}

// decided reads what was decided of orders, in the order of time.
func decided(db *gorm.DB, ids ...string) (map[string][]load.Decision, error) {
	var rows []decision
	if err := db.Where("load_id IN ?", ids).Order("decided_at, state").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading decisions: %w", err)
	}
	all := make(map[string][]load.Decision)
	for _, r := range rows {
		all[r.LoadID] = append(all[r.LoadID], r.decision())
	}
	return all, nil
}

// waits selects the orders that wait for somebody. Its parameter is the moment
// before which an order of which nothing was heard has to be begun.
const waits = "(state = 'SUSPENSE' OR state = 'DISPUTED' AND decided = 0 OR state = 'STARTED' AND created_at <= ?)"

// Search implements [load.Store].
func (d *DB) Search(ctx context.Context, q load.Search) ([]load.Matter, error) {
	db := d.cfg.Store.Read(ctx)
	w := db.Limit(q.Limit).Order("created_at, id")
	switch {
	case q.Load != "":
		w = w.Where("id = ?", q.Load)
	case q.State != "":
		w = w.Where("state = ?", string(q.State))
	default:
		w = w.Where(waits, q.Overdue.UnixMilli())
	}
	if q.Account != "" {
		w = w.Where("account = ?", string(q.Account))
	}
	if q.Requestor != "" {
		w = w.Where("requestor = ?", string(q.Requestor))
	}
	if q.After != "" {
		w = w.Where("(created_at, id) > (SELECT created_at, id FROM card_loads WHERE id = ?)", q.After)
	}
	found, err := records(w)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	ids := make([]string, len(found))
	for i, r := range found {
		ids[i] = r.ID
	}
	said, err := decided(db, ids...)
	if err != nil {
		return nil, err
	}
	out := make([]load.Matter, len(found))
	for i, r := range found {
		out[i] = load.Matter{Record: r, Decisions: said[r.ID]}
	}
	return out, nil
}

// Waiting implements [load.Store].
func (d *DB) Waiting(ctx context.Context, overdue time.Time) (int, error) {
	var n int64
	if err := d.cfg.Store.Read(ctx).Model(&cardLoad{}).Where(waits, overdue.UnixMilli()).Count(&n).Error; err != nil {
		return 0, fmt.Errorf("counting loads that wait: %w", err)
	}
	return int(n), nil
}
