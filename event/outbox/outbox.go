// Package outbox keeps events in the database, each put there by the very
// transaction in which it happened: what was not committed is never told, and
// what was committed is told for certain.
package outbox

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
)

// Config is what an [Outbox] is made of. DB is required, and migrated.
type Config struct {
	DB   *store.DB
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // draws ids; nil: crypto/rand
	Log  *slog.Logger     // told of events that cannot be read; nil: nothing is logged
}

// Outbox keeps events. It is safe for concurrent use.
type Outbox struct {
	cfg        Config
	unreadable atomic.Uint64
}

// New returns an outbox.
func New(cfg Config) (*Outbox, error) {
	if cfg.DB == nil {
		return nil, errors.New("opening the outbox: a database is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Outbox{cfg: cfg}, nil
}

// Emit puts e into the outbox as part of tx: it is told if tx commits and only
// then. It gives e its id and its place among the events of its subject. The
// caller has changed the subject's row in tx before, so that two transactions
// about one of them do not ask for the same place; if they do, one of them fails
// and its caller begins again.
func (o *Outbox) Emit(tx *gorm.DB, e event.Event) error {
	values, err := o.values(e)
	if err != nil {
		return err
	}
	statement := insert + first
	if !isFirst(e) {
		statement, values = insert+next, append(values, e.Subject())
	}
	if err := tx.Exec(statement, values...).Error; err != nil {
		return fmt.Errorf("keeping an event: %w", err)
	}
	return nil
}

// EmitAll is Emit for many events, each of another subject. Those that are the
// first of theirs take one statement together.
func (o *Outbox) EmitAll(tx *gorm.DB, all []event.Event) error {
	var firsts []string
	var values []any
	for _, e := range all {
		if !isFirst(e) {
			if err := o.Emit(tx, e); err != nil {
				return err
			}
			continue
		}
		v, err := o.values(e)
		if err != nil {
			return err
		}
		firsts, values = append(firsts, first), append(values, v...)
	}
	if len(firsts) == 0 {
		return nil
	}
	if err := tx.Exec(insert+strings.Join(firsts, ", "), values...).Error; err != nil {
		return fmt.Errorf("keeping events: %w", err)
	}
	return nil
}

// values checks e and returns what its row holds.
func (o *Outbox) values(e event.Event) ([]any, error) {
	if e.At.IsZero() {
		e.At = o.cfg.Now()
	}
	if err := e.Check(); err != nil {
		return nil, err
	}
	data, err := packData(e.Data)
	if err != nil {
		return nil, err
	}
	if e.ID, err = o.drawID(); err != nil {
		return nil, err
	}
	return []any{e.ID, string(e.Type), string(e.Requestor), e.At.UnixMilli(), data, e.Subject()}, nil
}

// isFirst reports whether e says that its subject was made. There is only one
// such event of each: for it the others need not be looked at.
func isFirst(e event.Event) bool { return e.Type == event.Issued || e.Type == event.WalletOpened }

const (
	insert = "INSERT INTO events (id, type, requestor, at, data, position, ref, seq) VALUES "
	first  = "(?, ?, ?, ?, ?, 0, ?, 1)"
	next   = "(?, ?, ?, ?, ?, 0, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE ref = ?))"
)

// ids are base32 in the order of its digits, so that ids sort by time.
var ids = base32.HexEncoding.WithPadding(base32.NoPadding)

// drawID draws an id that begins with the moment it was drawn: rows that are
// inserted together lie together.
func (o *Outbox) drawID() (string, error) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(o.cfg.Now().UnixMilli())<<16)
	if _, err := io.ReadFull(o.cfg.Rand, b[6:]); err != nil {
		return "", fmt.Errorf("drawing the id of an event: %w", err)
	}
	return "ev" + ids.EncodeToString(b[:]), nil
}

// List returns events behind a position, in order, at most limit of them.
// Whoever goes on behind the last one's position sees every event once. A position
// that was not given yet is [event.ErrAhead].
func (o *Outbox) List(ctx context.Context, f event.Filter, after int64, limit int) ([]event.Event, error) {
	if err := o.Number(ctx); err != nil {
		return nil, err
	}
	q := o.cfg.DB.Read(ctx).Where("position > ?", max(after, 0)).Order("position").Limit(limit)
	if f.Requestor != "" {
		q = q.Where("requestor = ?", string(f.Requestor))
	}
	if subject := string(f.Ref) + string(f.Wallet); subject != "" {
		q = q.Where("ref = ?", subject)
	}
	var rows []row
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing events: %w", err)
	}
	if len(rows) == 0 && after > 0 {
		head, err := Head(o.cfg.DB.Read(ctx))
		if err != nil {
			return nil, err
		}
		if after > head {
			return nil, event.ErrAhead
		}
	}
	return o.toEvents(ctx, rows), nil
}

// Last returns the last position that an event has.
func (o *Outbox) Last(ctx context.Context) (int64, error) {
	if err := o.Number(ctx); err != nil {
		return 0, err
	}
	return Head(o.cfg.DB.Read(ctx))
}

// Find returns the events with the given ids, in order. An id that names none
// is left out.
func (o *Outbox) Find(ctx context.Context, ids []string) ([]event.Event, error) {
	var rows []row
	if err := o.cfg.DB.Read(ctx).Where("id IN ?", ids).Order("position").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return o.toEvents(ctx, rows), nil
}
