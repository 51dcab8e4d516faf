// Package quorumdb keeps approvals in the database.
package quorumdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/quorum"
)

// DB is a [quorum.Store]. Safe for concurrent use.
type DB struct{ db *store.DB }

// New returns the approvals of a database that is migrated.
func New(db *store.DB) *DB { return &DB{db} }

var _ quorum.Store = (*DB)(nil)

// approval is a row.
type approval struct {
	ID                         string `gorm:"primaryKey"`
	Verb, Method, Path         string
	Digest                     []byte
	Summary, Reason, Requester string
	Needed                     int
	State                      string
	Revision                   int64
	CreatedAt                  int64 `gorm:"autoCreateTime:false"`
	ExpiresAt, EndedAt         int64
}

// TableName is the table.
func (approval) TableName() string { return "approvals" }

// vote is a row.
type vote struct {
	Approval string `gorm:"primaryKey"`
	Approver string `gorm:"primaryKey"`
	At       int64
}

// TableName is the table.
func (vote) TableName() string { return "approval_votes" }

// Insert implements [quorum.Store].
func (d *DB) Insert(ctx context.Context, a quorum.Approval) error {
	row := toRow(a)
	if err := d.db.Tx(ctx, func(tx *gorm.DB) error { return tx.Create(&row).Error }); err != nil {
		return fmt.Errorf("keeping an approval: %w", err)
	}
	return nil
}

// Approval implements [quorum.Store].
func (d *DB) Approval(ctx context.Context, id string) (quorum.Approval, error) {
	return read(d.db.Read(ctx), id)
}

func read(db *gorm.DB, id string) (quorum.Approval, error) {
	var rows []approval
	if err := db.Where("id = ?", id).Limit(1).Find(&rows).Error; err != nil {
		return quorum.Approval{}, fmt.Errorf("reading an approval: %w", err)
	}
	if len(rows) == 0 {
		return quorum.Approval{}, quorum.ErrUnknown
	}
	a := fromRow(rows[0])
	var votes []vote
	if err := db.Where("approval = ?", id).Order("at, approver").Find(&votes).Error; err != nil {
		return a, fmt.Errorf("reading an approval: %w", err)
	}
	for _, v := range votes {
		a.Votes = append(a.Votes, quorum.Vote{Approver: v.Approver, At: store.Moment(v.At)})
	}
	return a, nil
}

// List implements [quorum.Store]. The votes are not read.
func (d *DB) List(ctx context.Context, p quorum.Page) ([]quorum.Approval, error) {
	q := d.db.Read(ctx).Order("created_at DESC, id DESC").Limit(p.Limit)
	if p.Requester != "" {
		q = q.Where("requester = ?", p.Requester)
	}
	if !p.Before.IsZero() {
		at := p.Before.UnixMilli()
		q = q.Where("created_at < ? OR created_at = ? AND id < ?", at, at, p.BeforeID)
	}
	var rows []approval
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing approvals: %w", err)
	}
	return fromRows(rows), nil
}

// errMoved reports an approval that somebody else changed meanwhile.
var errMoved = errors.New("the approval changed meanwhile")

// tries bounds how often a change begins anew.
const tries = 8

// Change implements [quorum.Store].
func (d *DB) Change(ctx context.Context, id string, change func(*quorum.Approval) error) (out quorum.Approval, err error) {
	for range tries {
		err = d.db.Tx(ctx, func(tx *gorm.DB) error {
			was, err := read(tx, id)
			if err != nil {
				return err
			}
			out = was
			if err := change(&out); err != nil {
				return err
			}
			if out.State == was.State && len(out.Votes) == len(was.Votes) {
				return nil
			}
			return keep(tx, was, &out)
		})
		if !errors.Is(err, errMoved) {
			return out, err
		}
	}
	return out, err
}

// keep writes what changed, if the row is as it was.
func keep(tx *gorm.DB, was quorum.Approval, a *quorum.Approval) error {
	a.Revision = was.Revision + 1
	row := toRow(*a)
	done := tx.Model(&approval{}).Where("id = ? AND revision = ?", a.ID, was.Revision).
		Select("state", "revision", "ended_at").Updates(&row)
	if done.Error != nil {
		return fmt.Errorf("changing an approval: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return errMoved
	}
	for _, v := range a.Votes[len(was.Votes):] {
		if err := tx.Create(&vote{a.ID, v.Approver, v.At.UnixMilli()}).Error; err != nil {
			return fmt.Errorf("keeping an approval: %w", err)
		}
	}
	return nil
}

// page is how many approvals are looked at together.
const page = 100

// Ready implements [quorum.Store].
func (d *DB) Ready(ctx context.Context, w quorum.Which, behind quorum.Approval) ([]quorum.Approval, error) {
	q := d.which(ctx, w, quorum.Approved).Order("created_at, id").Limit(page)
	if behind.ID != "" {
		at := behind.CreatedAt.UnixMilli()
		q = q.Where("created_at > ? OR created_at = ? AND id > ?", at, at, behind.ID)
	}
	var rows []approval
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("looking for approvals: %w", err)
	}
	return fromRows(rows), nil
}

// Spent implements [quorum.Store].
func (d *DB) Spent(ctx context.Context, w quorum.Which) (a quorum.Approval, ok bool, err error) {
	var rows []approval
	if err := d.which(ctx, w, quorum.Used).Order("ended_at DESC, id DESC").Limit(1).Find(&rows).Error; err != nil {
		return a, false, fmt.Errorf("looking for approvals that were used: %w", err)
	}
	if len(rows) == 0 {
		return a, false, nil
	}
	return fromRow(rows[0]), true, nil
}

func (d *DB) which(ctx context.Context, w quorum.Which, state quorum.State) *gorm.DB {
	q := d.db.Read(ctx).Where("digest = ? AND state = ? AND expires_at > ?", w.Digest[:], string(state), w.Now.UnixMilli())
	if w.Requester != "" {
		q = q.Where("requester = ?", w.Requester)
	}
	return q
}

// setting is a row.
type setting struct {
	Name      string `gorm:"primaryKey"`
	Digest    []byte
	ChangedAt int64
}

// TableName is the table.
func (setting) TableName() string { return "approved_settings" }

// Setting returns the digest of settings as they were last allowed; ok is false
// when nothing was ever noted of them.
func (d *DB) Setting(ctx context.Context, name string) (digest [32]byte, ok bool, err error) {
	var rows []setting
	if err := d.db.Read(ctx).Where("name = ?", name).Limit(1).Find(&rows).Error; err != nil {
		return digest, false, fmt.Errorf("reading approved settings: %w", err)
	}
	if len(rows) == 0 {
		return digest, false, nil
	}
	copy(digest[:], rows[0].Digest)
	return digest, true, nil
}

// Allow notes settings as allowed, in the place of what was; it reports whether
// they were what was.
func (d *DB) Allow(ctx context.Context, name string, was *[32]byte, digest [32]byte, now time.Time) (ok bool, err error) {
	err = d.db.Tx(ctx, func(tx *gorm.DB) error {
		if was == nil {
			done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&setting{name, digest[:], now.UnixMilli()})
			ok = done.RowsAffected == 1
			return done.Error
		}
		done := tx.Model(&setting{}).Where("name = ? AND digest = ?", name, was[:]).
			Updates(map[string]any{"digest": bytes.Clone(digest[:]), "changed_at": now.UnixMilli()})
		ok = done.RowsAffected == 1
		return done.Error
	})
	if err != nil {
		return false, fmt.Errorf("noting approved settings: %w", err)
	}
	return ok, nil
}

func toRow(a quorum.Approval) approval {
	return approval{a.ID, string(a.Verb), a.Method, a.Path, a.Digest[:], a.Summary, a.Reason, a.Requester, a.Needed,
		string(a.State), a.Revision, a.CreatedAt.UnixMilli(), a.ExpiresAt.UnixMilli(), store.Millis(a.EndedAt)}
}

func fromRow(r approval) quorum.Approval {
	a := quorum.Approval{ID: r.ID, Verb: quorum.Verb(r.Verb), Method: r.Method, Path: r.Path, Summary: r.Summary, Reason: r.Reason,
		Requester: r.Requester, Needed: r.Needed, State: quorum.State(r.State), Revision: r.Revision,
		CreatedAt: store.Moment(r.CreatedAt), ExpiresAt: store.Moment(r.ExpiresAt), EndedAt: store.Moment(r.EndedAt)}
	copy(a.Digest[:], r.Digest)
	return a
}

func fromRows(rows []approval) []quorum.Approval {
	out := make([]quorum.Approval, len(rows))
	for i, r := range rows {
		out[i] = fromRow(r)
	}
	return out
}
