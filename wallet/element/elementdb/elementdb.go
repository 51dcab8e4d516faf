// Package elementdb keeps secure elements and their scripts in the database.
package elementdb

import (
	"context"
	"crypto/rsa"
	"fmt"
	"math/big"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// operation names enrolment in the table of attempts.
const operation = "element"

const exponent = 65537

// DB is an [element.Store] on a database. It is safe for concurrent use.
type DB struct{ store *store.DB }

// New returns the store of elements in db, which has been migrated.
func New(db *store.DB) *DB { return &DB{db} }

type row struct {
	ID         string `gorm:"primaryKey"`
	Serial     []byte
	Wallet     string
	Client     string
	Modulus    []byte
	Leaf       string
	KeyVersion int
	TokenRef   string
	Seq        int64
	Acked      int64
	ReceiptNo  int64
	Receipt    []byte
	State      string
	Tries      int
	Balance    int64
	EnrolledAt int64
}

// TableName is the table.
func (row) TableName() string { return "elements" }

type scriptRow struct {
	Element string `gorm:"primaryKey"`
	Seq     int64  `gorm:"primaryKey;autoIncrement:false"`
	Cause   string
	Verb    int
	Script  []byte
	MadeAt  int64
}

// TableName is the table.
func (scriptRow) TableName() string { return "element_scripts" }

func toRow(e element.Element) row {
	return row{ID: string(e.ID), Serial: e.Serial[:], Wallet: string(e.Wallet), Client: e.Client, Modulus: e.Key.N.Bytes(), Leaf: e.Leaf,
		KeyVersion: int(e.KeyVersion), TokenRef: string(e.Ref), Seq: int64(e.Seq), Acked: int64(e.Acked), ReceiptNo: int64(e.Number),
		Receipt: append([]byte{}, e.Receipt...), State: string(e.State), Tries: int(e.Tries), Balance: int64(e.Balance),
		EnrolledAt: e.EnrolledAt.UnixMilli()}
}

func (r row) element() (element.Element, error) {
	if len(r.Serial) != message.SerialSize {
		return element.Element{}, fmt.Errorf("reading an element: its serial number is damaged")
	}
	return element.Element{ID: token.DeviceID(r.ID), Serial: message.Serial(r.Serial), Wallet: token.WalletID(r.Wallet), Client: r.Client,
		Key: &rsa.PublicKey{N: new(big.Int).SetBytes(r.Modulus), E: exponent}, Leaf: r.Leaf, KeyVersion: byte(r.KeyVersion),
		Ref: token.Ref(r.TokenRef), Seq: uint32(r.Seq), Acked: uint32(r.Acked), Number: uint32(r.ReceiptNo), Receipt: r.Receipt,
		State: element.State(r.State), Tries: byte(r.Tries), Balance: token.Amount(r.Balance),
		EnrolledAt: time.UnixMilli(r.EnrolledAt).UTC()}, nil
}

// Insert implements [element.Store].
func (d *DB) Insert(ctx context.Context, caller string, a access.Attempt, e element.Element) (stored element.Element, err error) {
	err = d.store.Tx(ctx, func(tx *gorm.DB) error {
		stored = e
		prior, err := store.Once(tx, caller, a, operation, string(e.ID))
		if err != nil {
			return err
		}
		if prior != "" {
			stored, err = find(tx, prior)
			return err
		}
		var n int64
		if err := tx.Model(&row{}).Where("serial = ?", e.Serial[:]).Count(&n).Error; err != nil {
			return fmt.Errorf("looking for a serial number: %w", err)
		}
		if n > 0 {
			return wallet.ErrRefused
		}
		r := toRow(e)
		if err := tx.Create(&r).Error; err != nil {
			return fmt.Errorf("inserting an element: %w", err)
		}
		return nil
	})
	if err != nil {
		return element.Element{}, err
	}
	return stored, nil
}

// Element implements [element.Store].
func (d *DB) Element(ctx context.Context, id token.DeviceID) (element.Element, error) {
	return find(d.store.Read(ctx), string(id))
}

func find(db *gorm.DB, id string) (element.Element, error) {
	var rows []row
	if err := db.Where("id = ?", id).Limit(1).Find(&rows).Error; err != nil {
		return element.Element{}, fmt.Errorf("reading an element: %w", err)
	}
	if len(rows) == 0 {
		return element.Element{}, wallet.ErrRefused
	}
	return rows[0].element()
}

// Put implements [element.Store].
func (d *DB) Put(ctx context.Context, id token.DeviceID, s element.Script) (done bool, err error) {
	err = d.store.Tx(ctx, func(tx *gorm.DB) (err error) {
		if done, err = made(tx, id, s.Cause); err != nil || done {
			return err
		}
		set := map[string]any{"seq": int64(s.Seq)}
		if s.Ref != "" {
			set["token_ref"] = string(s.Ref)
		}
		moved := tx.Model(&row{}).Where("id = ? AND seq = ?", string(id), int64(s.Seq)-1).Updates(set)
		if moved.Error != nil || moved.RowsAffected == 0 {
			return moved.Error
		}
		r := scriptRow{string(id), int64(s.Seq), s.Cause, int(s.Verb), s.Bytes, s.At.UnixMilli()}
		if err := tx.Create(&r).Error; err != nil {
			return fmt.Errorf("inserting a script: %w", err)
		}
		done = true
		return nil
	})
	return done && err == nil, err
}

// Made implements [element.Store].
func (d *DB) Made(ctx context.Context, id token.DeviceID, cause string) (bool, error) {
	return made(d.store.Read(ctx), id, cause)
}

func made(tx *gorm.DB, id token.DeviceID, cause string) (bool, error) {
	var n int64
	if err := tx.Model(&scriptRow{}).Where("element = ? AND cause = ?", string(id), cause).Count(&n).Error; err != nil {
		return false, fmt.Errorf("looking for a script: %w", err)
	}
	return n > 0, nil
}

// Script implements [element.Store].
func (d *DB) Script(ctx context.Context, id token.DeviceID, seq uint32) (s element.Script, found bool, err error) {
	var rows []scriptRow
	if err := d.store.Read(ctx).Where("element = ? AND seq = ?", string(id), int64(seq)).Limit(1).Find(&rows).Error; err != nil {
		return s, false, fmt.Errorf("reading a script: %w", err)
	}
	if len(rows) == 0 {
		return s, false, nil
	}
	r := rows[0]
	return element.Script{Seq: uint32(r.Seq), Cause: r.Cause, Verb: message.Verb(r.Verb), Bytes: r.Script, At: time.UnixMilli(r.MadeAt).UTC()}, true, nil
}

// Hear implements [element.Store]. A receipt that is being settled stays until it
// is: the one that came after it is told again by the next courier.
func (d *DB) Hear(ctx context.Context, e element.Element) error {
	return d.store.Tx(ctx, func(tx *gorm.DB) error {
		set := map[string]any{"acked": int64(e.Acked), "receipt_no": int64(e.Number), "receipt": append([]byte{}, e.Receipt...),
			"state": string(e.State), "tries": int(e.Tries), "balance": int64(e.Balance)}
		err := tx.Model(&row{}).Where("id = ? AND receipt_no < ? AND length(receipt) = 0", string(e.ID), int64(e.Number)).Updates(set).Error
		if err != nil {
			return fmt.Errorf("keeping a receipt: %w", err)
		}
		return nil
	})
}

// Lost implements [element.Store].
func (d *DB) Lost(ctx context.Context, id token.DeviceID, seq uint32) (lost bool, err error) {
	err = d.store.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&row{}).Where("id = ? AND seq < ? AND EXISTS (SELECT 1 FROM restores)", string(id), int64(seq)).Update("seq", int64(seq))
		if done.Error != nil {
			return fmt.Errorf("keeping how far an element is: %w", done.Error)
		}
		lost = done.RowsAffected == 1
		return nil
	})
	return lost && err == nil, err
}

// Settled implements [element.Store].
func (d *DB) Settled(ctx context.Context, id token.DeviceID, number uint32) error {
	return d.store.Tx(ctx, func(tx *gorm.DB) error {
		err := tx.Model(&row{}).Where("id = ? AND receipt_no = ?", string(id), int64(number)).Update("receipt", []byte{}).Error
		if err != nil {
			return fmt.Errorf("settling a receipt: %w", err)
		}
		return nil
	})
}
