// Package loaddb keeps orders to cards in the database, each together with the
// money that it moves.
package loaddb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/token"
)

// Events keeps what is told to requestors, as part of a transaction.
type Events interface {
	Emit(tx *gorm.DB, e event.Event) error
}

// Cases opens cases, once for each id, as part of a transaction.
type Cases interface {
	OpenCase(tx *gorm.DB, c account.Case) error
}

// Phones are asked to sync when an account falls below what they hold.
type Phones interface {
	// Lowering makes a change of an account as part of a transaction.
	Lowering(tx *gorm.DB, id token.WalletID, change func() error) error
	// Arrived does what follows when money came to an account, as part of the
	// transaction that brought it. What brought it has a name of its own.
	Arrived(tx *gorm.DB, id token.WalletID, what string) error
}

// Config is what a [DB] is made of. Store is required, and migrated.
type Config struct {
	Store  *store.DB
	Events Events           // nil: nobody is told
	Cases  Cases            // nil: an order's state says that somebody has to look at it
	Phones Phones           // nil: nobody's account stands behind a phone
	Now    func() time.Time // nil: time.Now
}

// DB is a [load.Store] on a database. Safe for concurrent use.
type DB struct{ cfg Config }

// New returns the store.
func New(cfg Config) (*DB, error) {
	if cfg.Store == nil {
		return nil, errors.New("keeping card loads: a database is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &DB{cfg}, nil
}

// tries is how often a transaction is begun: another process that orders the
// same card at the same moment makes the database refuse one of the two.
const tries = 3

func (d *DB) tx(ctx context.Context, fn func(tx *gorm.DB) error) (err error) {
	for range tries {
		if err = d.cfg.Store.Tx(ctx, fn); !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
	}
	return err
}

// operation names orders in the table of attempts.
const operation = "card-load"

// Begin implements [load.Store].
func (d *DB) Begin(ctx context.Context, r load.Record, a access.Attempt) (out load.Record, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		out, err = d.begin(tx, r, a)
		return err
	})
	return out, err
}

func (d *DB) begin(tx *gorm.DB, r load.Record, a access.Attempt) (load.Record, error) {
	prior, err := store.Prior(tx, r.Client, a, operation)
	if err != nil {
		return r, err
	}
	if prior != "" {
		first, err := find(tx, prior)
		if err != nil {
			return r, err
		}
		use, _, err := load.Meet([]load.Record{first}, first) // it may have been reversed since
		return use, err
	}
	known, err := list(tx, "card = ? AND purse = ? AND seq = ?", r.Card[:], int(r.Purse()), r.Seq)
	if err != nil {
		return r, err
	}
	use, changed, err := load.Meet(known, r)
	if err != nil {
		return r, err
	}
	if _, err := store.Once(tx, r.Client, a, operation, use.ID); err != nil {
		return r, err
	}
	switch {
	case !changed:
		return use, nil
	case use.ID != r.ID:
		return swap(tx, use)
	}
	if err := d.take(tx, r); err != nil {
		return r, err
	}
	row := toRow(r)
	if err := tx.Create(&row).Error; err != nil {
		return r, fmt.Errorf("keeping a load: %w", err)
	}
	return r, d.tell(tx, r, "")
}

// take moves the money of a new order.
func (d *DB) take(tx *gorm.DB, r load.Record) error {
	post := func() error { return ledgerdb.Post(tx, d.cfg.Now(), r.Begin()...) }
	if d.cfg.Phones == nil {
		return post()
	}
	return d.cfg.Phones.Lowering(tx, r.Account, post)
}

// Record implements [load.Store].
func (d *DB) Record(ctx context.Context, id string) (load.Record, error) {
	return find(d.cfg.Store.Read(ctx), id)
}

// List implements [load.Store].
func (d *DB) List(ctx context.Context, f load.Filter) ([]load.Record, error) {
	q := d.cfg.Store.Read(ctx).Where("account = ?", string(f.Account))
	if f.State != "" {
		q = q.Where("state = ?", string(f.State))
	}
	if f.Before != "" {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM card_loads WHERE id = ?)", f.Before)
	}
	return records(q.Order("created_at DESC, id DESC").Limit(f.Limit))
}

// Finish implements [load.Store].
func (d *DB) Finish(ctx context.Context, id string, revision int64, f load.Finding) (out load.Record, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		out, err = d.finish(tx, id, revision, f)
		return err
	})
	return out, err
}

func (d *DB) finish(tx *gorm.DB, id string, revision int64, f load.Finding) (load.Record, error) {
	r, err := find(tx, id)
	if err != nil {
		return r, err
	}
	next, moves := r.Next(f)
	if next.State == r.State {
		return r, nil
	}
	if r.Revision != revision {
		return r, load.ErrChanged
	}
	if err := ledgerdb.Post(tx, d.cfg.Now(), moves...); err != nil {
		return r, err
	}
	if err := d.arrived(tx, moves); err != nil {
		return r, err
	}
	next.ChangedAt = d.cfg.Now().UTC().Truncate(time.Millisecond)
	if next, err = swap(tx, next); err != nil {
		return r, err
	}
	if err := d.look(tx, next); err != nil {
		return r, err
	}
	return next, d.tell(tx, next, "")
}

// arrived has money that came to an account put to use: a debt is paid of it, and
// a wallet that was closed meanwhile keeps none.
func (d *DB) arrived(tx *gorm.DB, moves []ledger.Transfer) error {
	for _, m := range moves {
		if m.To != ledger.Available || d.cfg.Phones == nil {
			continue
		}
		if err := d.cfg.Phones.Arrived(tx, m.Wallet, m.Key); err != nil {
			return err
		}
	}
	return nil
}

// look opens the case of an order that somebody has to look at.
func (d *DB) look(tx *gorm.DB, r load.Record) error {
	if !r.State.Open() || d.cfg.Cases == nil {
		return nil
	}
	what := "card-load\x00"
	if r.State == load.Disputed { // the case may have been opened, and decided, before
		what = "card-load-disputed\x00"
	}
	id := sha256.Sum256([]byte(what + r.ID))
	c := account.Case{ID: hex.EncodeToString(id[:16]), Kind: "CARD_LOAD", Severity: 2, Wallet: r.Account, Ctr: r.Seq, Terminal: r.Terminal}
	if r.State == load.Disputed {
		c.Severity = 3
	}
	return d.cfg.Cases.OpenCase(tx, c)
}

// Miss implements [load.Store].
func (d *DB) Miss(ctx context.Context, id string) error {
	return d.tx(ctx, func(tx *gorm.DB) error {
		return tx.Exec("UPDATE card_loads SET misses = misses + 1 WHERE id = ?", id).Error
	})
}

// tell puts what became of an order into the outbox, and which verdict it follows
// from, if it does.
func (d *DB) tell(tx *gorm.DB, r load.Record, v load.Verdict) error {
	if d.cfg.Events == nil {
		return nil
	}
	data := map[string]string{"load": r.ID, "kind": string(r.Kind), "state": string(r.State), "amount": fmt.Sprint(r.Amount)}
	if v != "" {
		data["decision"] = string(v)
	}
	return d.cfg.Events.Emit(tx, event.Event{Type: event.CardLoad, Wallet: r.Account, Requestor: r.Requestor, At: d.cfg.Now(), Data: data})
}

// swap stores r if it is still as it was read, and counts its revision.
func swap(tx *gorm.DB, r load.Record) (load.Record, error) {
	was := r.Revision
	r.Revision++
	row := toRow(r)
	done := tx.Model(&cardLoad{}).Where("id = ? AND revision = ?", r.ID, was).
		Select("state", "rand", "balance", "old_limit", "terminal", "at", "probe", "decided", "revision", "changed_at").Updates(&row)
	if done.Error != nil {
		return r, fmt.Errorf("changing a load: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return r, load.ErrChanged
	}
	return r, nil
}

func find(db *gorm.DB, id string) (load.Record, error) {
	all, err := list(db, "id = ?", id)
	if err != nil {
		return load.Record{}, err
	}
	if len(all) == 0 {
		return load.Record{}, load.ErrUnknown
	}
	return all[0], nil
}

func list(db *gorm.DB, where string, args ...any) ([]load.Record, error) {
	return records(db.Where(where, args...).Order("created_at, id"))
}

func records(q *gorm.DB) ([]load.Record, error) {
	var rows []cardLoad
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading loads: %w", err)
	}
	out := make([]load.Record, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.record(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
