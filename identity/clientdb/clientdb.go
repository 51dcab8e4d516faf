// Package clientdb keeps the registered clients, and the ids of assertions
// that were used, in the database.
package clientdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/store"
)

// Store implements [identity.Registry] and what an administrator does to it.
// It is safe for concurrent use.
type Store struct {
	db  *store.DB
	now func() time.Time
}

// New returns a store over db; a nil now is time.Now.
func New(db *store.DB, now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{db, now}
}

var _ identity.Registry = (*Store)(nil)

// client is a row of the table of clients.
type client struct {
	ID        string `gorm:"primaryKey"`
	Name      string
	Role      string
	Scopes    string
	Requestor string
	Terminal  string
	JWK       []byte `gorm:"column:jwk"`
	EncJWK    []byte `gorm:"column:enc_jwk"`
	Bound     bool
	Disabled  bool
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

// TableName is the table.
func (client) TableName() string { return "clients" }

// assertion is a row of the table of used assertions.
type assertion struct {
	Client     string `gorm:"primaryKey"`
	JTI        string `gorm:"primaryKey;column:jti"`
	ValidUntil int64
}

// TableName is the table.
func (assertion) TableName() string { return "assertions" }

// Add registers c after [identity.Client.Validate]. It returns
// [identity.ErrExists] when the id is taken, and then changes nothing.
func (s *Store) Add(ctx context.Context, c identity.Client) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c.CreatedAt = s.now()
	row := toRow(c)
	err := s.db.Tx(ctx, func(tx *gorm.DB) error { return tx.Create(&row).Error })
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return identity.ErrExists
	}
	if err != nil {
		return fmt.Errorf("registering client: %w", err)
	}
	return nil
}

// SetDisabled disables or enables a client. It returns [identity.ErrUnknown]
// when there is none.
func (s *Store) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return s.change(ctx, id, "disabled", disabled)
}

// change sets one column of one client.
func (s *Store) change(ctx context.Context, id, column string, value any) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&client{}).Where("id = ?", id).Update(column, value)
		if done.Error != nil {
			return fmt.Errorf("changing client: %w", done.Error)
		}
		if done.RowsAffected == 0 {
			return identity.ErrUnknown
		}
		return nil
	})
}

// SetEncryptionKey registers the public key to which answers for a client are
// sealed, in the place of the one before; an empty one takes it away. It returns
// [identity.ErrUnknown] when there is no such client.
func (s *Store) SetEncryptionKey(ctx context.Context, id string, jwk []byte) error {
	c, err := s.Client(ctx, id)
	if err != nil {
		return err
	}
	c.EncJWK = jwk
	if err := c.Validate(); err != nil {
		return err
	}
	return s.change(ctx, id, "enc_jwk", jwk)
}

// List returns all clients by id.
func (s *Store) List(ctx context.Context) ([]identity.Client, error) {
	var rows []client
	if err := s.db.Read(ctx).Order("id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing clients: %w", err)
	}
	out := make([]identity.Client, len(rows))
	for i, r := range rows {
		out[i] = fromRow(r)
	}
	return out, nil
}

// Client returns one client, or [identity.ErrUnknown].
func (s *Store) Client(ctx context.Context, id string) (identity.Client, error) {
	var rows []client
	if err := s.db.Read(ctx).Where("id = ?", id).Limit(1).Find(&rows).Error; err != nil {
		return identity.Client{}, fmt.Errorf("reading client: %w", err)
	}
	if len(rows) == 0 {
		return identity.Client{}, identity.ErrUnknown
	}
	return fromRow(rows[0]), nil
}

// Spend notes that an assertion was used; see [identity.Registry]. Notes that
// no longer matter by any clock go in the same transaction: one that goes too
// soon lets its assertion be used again.
func (s *Store) Spend(ctx context.Context, clientID, jti string, until time.Time) error {
	row := assertion{clientID, jti, until.UnixMilli()}
	over, err := s.db.Surely(ctx)
	if err != nil {
		return fmt.Errorf("noting assertion: %w", err)
	}
	if now := s.now(); now.Before(over) {
		over = now
	}
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Where("valid_until < ?", over.UnixMilli()).Delete(&assertion{}).Error; err != nil {
			return fmt.Errorf("forgetting old assertions: %w", err)
		}
		done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if done.Error != nil {
			return fmt.Errorf("noting assertion: %w", done.Error)
		}
		if done.RowsAffected == 0 {
			return identity.ErrSpent
		}
		return nil
	})
}

func toRow(c identity.Client) client {
	return client{c.ID, c.Name, string(c.Role), identity.Scope(c.Scopes), c.Requestor, c.Terminal, c.JWK,
		c.EncJWK, c.Bound, c.Disabled, c.CreatedAt.UnixMilli()}
}

func fromRow(r client) identity.Client {
	return identity.Client{ID: r.ID, Name: r.Name, Role: access.Role(r.Role), Scopes: identity.ParseScope(r.Scopes),
		Requestor: r.Requestor, Terminal: r.Terminal, JWK: r.JWK, EncJWK: r.EncJWK, Bound: r.Bound, Disabled: r.Disabled,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC()}
}
