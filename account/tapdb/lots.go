package tapdb

import (
	"database/sql/driver"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// lotRow is a row of a slot that was handed out to a wallet.
type lotRow struct {
	TokenRef    string `gorm:"primaryKey"`
	Ctr         uint16 `gorm:"primaryKey;autoIncrement:false"`
	UD          octets `gorm:"column:ud"`
	Wallet      string
	Bundle      string
	Held        int64
	NotAfter    int64
	IssuedAt    int64
	State       string
	UnusedAt    int64
	DiscardedAt int64
	GapAt       int64
	Released    bool
	Refunded    bool
	Free        bool
	Charged     int64
	ChargedPart int64
	Party       string
	Suspended   int64
	Fraud       int64
	FraudParty  string
	Transfers   int
}

// octets are the bytes of a use descriptor; unlike a slice they compare.
type octets [credential.UDSize]byte

// Value and Scan store them as bytes.
func (o octets) Value() (driver.Value, error) { return o[:], nil }

// Scan is the inverse of Value.
func (o *octets) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || copy(o[:], b) != len(o) || len(b) != len(o) {
		return fmt.Errorf("%w: use descriptor of a slot", errRow)
	}
	return nil
}

// TableName is the table.
func (lotRow) TableName() string { return "slots" }

// changing are the columns of a slot that can change.
var changing = []string{"state", "unused_at", "discarded_at", "gap_at", "released", "refunded", "free", "charged",
	"charged_part", "party", "suspended", "fraud", "fraud_party", "transfers"}

// inOne bounds the values of one statement's list.
const inOne = 400

func toLotRow(l *account.Lot) lotRow {
	return lotRow{
		TokenRef: string(l.Ref), Ctr: l.Ctr(), UD: l.UD.Bytes(), Wallet: string(l.Wallet), Bundle: l.Bundle, Held: int64(l.Held),
		NotAfter: l.NotAfter.UnixMilli(), IssuedAt: l.Issued.UnixMilli(), State: string(l.State()),
		UnusedAt: store.Millis(l.UnusedAt), DiscardedAt: store.Millis(l.DiscardedAt), GapAt: store.Millis(l.GapAt),
		Released: l.Released, Refunded: l.Refunded, Free: l.Posted.Free, Charged: int64(l.Posted.Charged),
		ChargedPart: int64(l.Posted.ChargedPart), Party: l.Posted.Party, Suspended: int64(l.Posted.Suspended),
		Fraud: int64(l.Posted.Fraud), FraudParty: l.Posted.FraudParty, Transfers: l.N,
	}
}

// lot is the inverse of toLotRow, without the evidence.
func (r lotRow) lot() (*account.Lot, error) {
	ud, err := credential.ParseUD(r.UD[:])
	if err != nil || ud.Ctr != r.Ctr {
		return nil, fmt.Errorf("%w: use descriptor of a slot", errRow)
	}
	for _, n := range []int64{r.Held, r.Charged, r.ChargedPart, r.Suspended, r.Fraud} {
		if int64(token.Amount(n)) != n {
			return nil, fmt.Errorf("%w: an amount of a slot", errRow)
		}
	}
	return &account.Lot{
		Ref: token.Ref(r.TokenRef), UD: ud, Wallet: token.WalletID(r.Wallet), Bundle: r.Bundle, Held: token.Amount(r.Held),
		NotAfter: store.Moment(r.NotAfter), Issued: store.Moment(r.IssuedAt), UnusedAt: store.Moment(r.UnusedAt),
		DiscardedAt: store.Moment(r.DiscardedAt), GapAt: store.Moment(r.GapAt), Released: r.Released, Refunded: r.Refunded, N: r.Transfers,
		Posted: account.Posting{Free: r.Free, Charged: token.Amount(r.Charged), ChargedPart: token.Amount(r.ChargedPart),
			Party: r.Party, Suspended: token.Amount(r.Suspended), Fraud: token.Amount(r.Fraud), FraudParty: r.FraudParty},
	}, nil
}

// lotSet is slots as they were read: what differs in the end is written.
type lotSet struct {
	all []*account.Lot
	was map[slotKey]lotRow
}

func (s *lotSet) add(o lotSet) {
	s.all = append(s.all, o.all...)
	if s.was == nil {
		s.was = make(map[slotKey]lotRow)
	}
	maps.Copy(s.was, o.was)
}

// lots reads slots that a condition finds, with their evidence, in order.
func lots(db *gorm.DB, where string, args ...any) (s lotSet, err error) {
	var rows []lotRow
	if err := db.Where(where, args...).Order("token_ref, ctr").Find(&rows).Error; err != nil {
		return s, fmt.Errorf("reading slots: %w", err)
	}
	var refs []string
	for _, r := range rows {
		refs = append(refs, r.TokenRef)
	}
	slices.Sort(refs)
	var stored []account.Entry
	for part := range slices.Chunk(slices.Compact(refs), inOne) {
		some, err := entries(db.Where("token_ref IN ?", part))
		if err != nil {
			return s, err
		}
		stored = append(stored, some...)
	}
	return newLotSet(rows, stored)
}

// lotsOf reads the slots of those names that were handed out, with their evidence.
func lotsOf(db *gorm.DB, names []slotKey) (s lotSet, err error) {
	keys := make([][]any, len(names))
	for i, k := range names {
		keys[i] = []any{string(k.ref), k.ctr}
	}
	var rows []lotRow
	if err := db.Where("(token_ref, ctr) IN ?", keys).Order("token_ref, ctr").Find(&rows).Error; err != nil {
		return s, fmt.Errorf("reading slots: %w", err)
	}
	stored, err := entries(db.Where("(token_ref, ctr) IN ?", keys))
	if err != nil {
		return s, err
	}
	return newLotSet(rows, stored)
}

// newLotSet puts rows of slots and their records together.
func newLotSet(rows []lotRow, stored []account.Entry) (s lotSet, err error) {
	s.was = make(map[slotKey]lotRow, len(rows))
	index := make(map[slotKey]*account.Lot, len(rows))
	for _, r := range rows {
		l, err := r.lot()
		if err != nil {
			return s, err
		}
		k := slotKey{l.Ref, l.Ctr()}
		s.all, s.was[k], index[k] = append(s.all, l), r, l
	}
	for _, e := range stored {
		if l := index[slotKey{e.Ref, e.Tap.Seq}]; l != nil {
			l.Entries = append(l.Entries, e)
		}
	}
	for _, l := range s.all {
		l.Order()
	}
	return s, nil
}

// entries reads the records that a question finds.
func entries(q *gorm.DB) ([]account.Entry, error) {
	var rows []tap
	if err := q.Order("id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading taps: %w", err)
	}
	out := make([]account.Entry, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.entry(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// saveLots writes what changed of slots, or slots that are new.
func saveLots(tx *gorm.DB, all []*account.Lot) error {
	if len(all) == 0 {
		return nil
	}
	rows := make([]lotRow, len(all))
	for i, l := range all {
		rows[i] = toLotRow(l)
	}
	set := clause.OnConflict{Columns: []clause.Column{{Name: "token_ref"}, {Name: "ctr"}}, DoUpdates: clause.AssignmentColumns(changing)}
	if err := tx.Clauses(set).CreateInBatches(rows, 100).Error; err != nil {
		return fmt.Errorf("keeping slots: %w", err)
	}
	return nil
}
