package tapdb

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// signalRow is a row of a sign of fraud.
type signalRow struct {
	ID       string `gorm:"primaryKey"`
	Kind     string
	Severity int
	Wallet   string
	TokenRef string
	Ctr      uint16
	Terminal []byte
	FoundAt  int64
	Handled  bool
}

// TableName is the table.
func (signalRow) TableName() string { return "signals" }

// caseRow is a row of a case.
type caseRow struct {
	ID       string `gorm:"primaryKey"`
	Kind     string
	Severity int
	Wallet   string
	TokenRef string
	Ctr      uint16
	Terminal []byte
	OpenedAt int64
}

// TableName is the table.
func (caseRow) TableName() string { return "cases" }

// saveSignals keeps signals that are new. Those that lead to nothing are handled
// at once.
func saveSignals(tx *gorm.DB, all []found, at time.Time) error {
	if len(all) == 0 {
		return nil
	}
	rows := make([]signalRow, len(all))
	for i, f := range all {
		acts := f.Severity() > 1 || f.Kind == detect.WrongPIN || f.Kind.AgainstTerminal() || f.Kind == detect.PhoneOnly
		rows[i] = signalRow{f.ID, string(f.Kind), f.Severity(), string(f.wallet), string(f.Ref), f.Ctr, f.Terminal[:], at.UnixMilli(), !acts}
	}
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(rows, inOne).Error; err != nil {
		return fmt.Errorf("keeping signals: %w", err)
	}
	return nil
}

// Pending implements [account.Findings].
func (d *DB) Pending(ctx context.Context, after account.Finding, limit int) ([]account.Finding, error) {
	q := d.store.Read(ctx).Where("handled = ?", false).Order("found_at, id").Limit(limit)
	if after.ID != "" {
		q = q.Where("(found_at, id) > (?, ?)", store.Millis(after.At), after.ID)
	}
	return findings(q)
}

func findings(q *gorm.DB) ([]account.Finding, error) {
	var rows []signalRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading signals: %w", err)
	}
	out := make([]account.Finding, len(rows))
	for i, r := range rows {
		out[i] = account.Finding{Wallet: token.WalletID(r.Wallet), At: store.Moment(r.FoundAt), Signal: detect.Signal{
			ID: r.ID, Kind: detect.Kind(r.Kind), Ref: token.Ref(r.TokenRef), Ctr: r.Ctr}}
		copy(out[i].Terminal[:], r.Terminal)
	}
	return out, nil
}

// Conclude implements [account.Findings].
func (d *DB) Conclude(ctx context.Context, f account.Finding, effect func(*account.Wallet), open bool) error {
	err := d.tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&signalRow{}).Where("id = ? AND handled = ?", f.ID, false).Update("handled", true)
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error // somebody else did it
		}
		w, err := d.change(tx, f.Wallet, effect)
		if err != nil || !open {
			return err
		}
		return d.open(tx, w, f)
	})
	if err != nil {
		return fmt.Errorf("concluding a signal: %w", err)
	}
	return nil
}

// open opens the case of a signal. One against a terminal names no wallet, and
// nobody but the operator is told.
func (d *DB) open(tx *gorm.DB, w account.Wallet, f account.Finding) error {
	row := caseRow{f.ID, string(f.Kind), f.Severity(), string(f.Wallet), string(f.Ref), f.Ctr, f.Terminal[:], d.now().UnixMilli()}
	against := f.Kind.AgainstTerminal()
	if against {
		row.Wallet = ""
	}
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
		return fmt.Errorf("opening a case: %w", err)
	}
	if against {
		return nil
	}
	return d.emit(tx, event.Event{Type: event.CaseOpened, Wallet: w.ID, Requestor: w.Requestor,
		Data: map[string]string{"case_id": "cs" + f.ID, "kind": strings.ToLower(string(f.Kind))}})
}

// WrongTaps implements [account.Findings].
func (d *DB) WrongTaps(ctx context.Context, w token.WalletID, since time.Time) ([]account.WrongTap, error) {
	var at []int64
	err := d.store.Read(ctx).Raw(`SELECT taps.moment FROM taps JOIN wallet_tokens ON wallet_tokens.ref = taps.token_ref
		WHERE wallet_tokens.wallet = ? AND taps.tac_good = ? AND (taps.outcome <> ? OR (taps.sources & ?) <> 0) AND taps.moment > ?`,
		string(w), false, string(account.Replay), uint8(account.ByPhone), store.Millis(since)).Scan(&at).Error
	if err != nil {
		return nil, fmt.Errorf("reading wrong PINs: %w", err)
	}
	out := make([]account.WrongTap, len(at))
	for i, ms := range at {
		out[i].At = store.Moment(ms)
	}
	return out, nil
}

// Cases implements [account.Findings].
func (d *DB) Cases(ctx context.Context, q account.CaseQuery) ([]account.Case, error) {
	db := d.store.Read(ctx).Order("opened_at DESC, id DESC").Limit(q.Limit)
	if q.Wallet != "" {
		db = db.Where("wallet = ?", string(q.Wallet))
	}
	if q.Requestor != "" {
		db = db.Where("wallet IN (SELECT id FROM wallets WHERE requestor = ?)", string(q.Requestor))
	}
	if q.Before != "" {
		db = db.Where("(opened_at, id) < (SELECT opened_at, id FROM cases WHERE id = ?)", q.Before)
	}
	var rows []caseRow
	if err := db.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading cases: %w", err)
	}
	out := make([]account.Case, len(rows))
	for i, r := range rows {
		out[i] = account.Case{ID: r.ID, Kind: r.Kind, Severity: r.Severity, Wallet: token.WalletID(r.Wallet),
			Ref: token.Ref(r.TokenRef), Ctr: r.Ctr, Opened: store.Moment(r.OpenedAt)}
		copy(out[i].Terminal[:], r.Terminal)
	}
	return out, nil
}
