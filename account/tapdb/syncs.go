package tapdb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// syncRow is a row of a sync.
type syncRow struct {
	Wallet     string `gorm:"primaryKey"`
	SyncID     string `gorm:"primaryKey"`
	Digest     []byte
	TokenRef   string
	ReceivedAt int64
	Answer     string
	Bundle     string
}

// TableName is the table.
func (syncRow) TableName() string { return "syncs" }

// BeginSync implements [account.Syncs].
func (d *DB) BeginSync(ctx context.Context, r account.SyncRequest, at time.Time) (first time.Time, answer *account.Settlement, err error) {
	row := syncRow{Wallet: string(r.Wallet), SyncID: r.ID, Digest: r.Digest[:], TokenRef: string(r.Ref), ReceivedAt: at.UnixMilli()}
	err = d.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
			return err
		}
		stored, err := readSync(tx, r)
		if err != nil {
			return err
		}
		first, answer = store.Moment(stored.ReceivedAt), nil
		if stored.Answer == "" {
			return nil
		}
		out, err := settlement(tx, stored)
		answer = &out
		return err
	})
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("beginning a sync: %w", err)
	}
	return first, answer, nil
}

// readSync reads the row of a sync, which has begun.
func readSync(tx *gorm.DB, r account.SyncRequest) (syncRow, error) {
	var rows []syncRow
	if err := tx.Where("wallet = ? AND sync_id = ?", string(r.Wallet), r.ID).Limit(1).Find(&rows).Error; err != nil {
		return syncRow{}, fmt.Errorf("reading a sync: %w", err)
	}
	if len(rows) != 1 || !bytes.Equal(rows[0].Digest, r.Digest[:]) || rows[0].TokenRef != string(r.Ref) {
		return syncRow{}, account.ErrSyncReused
	}
	return rows[0], nil
}

// Told implements [account.Syncs].
func (d *DB) Told(ctx context.Context, ref token.Ref, w account.Word, evidence []account.Evidence,
	refusals []account.Refusal) (results []account.Result, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		r, err := d.begin(tx, evidence, refusals, ref)
		if err != nil {
			return err
		}
		if r.wrong, err = left(tx, r.bound[ref], w.PIN); err != nil {
			return err
		}
		if results, err = r.take(evidence); err != nil {
			return err
		}
		account.Hear(r.set.all, w)
		return r.finish()
	})
	if err != nil {
		return nil, fmt.Errorf("taking in a sync: %w", err)
	}
	return results, nil
}

// FinishSync implements [account.Syncs].
func (d *DB) FinishSync(ctx context.Context, e account.SyncEnd) (out account.Settlement, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		row, err := readSync(tx, e.Request)
		if err != nil {
			return err
		}
		if row.Answer != "" { // another process was faster
			out, err = settlement(tx, row)
			return err
		}
		out, err = d.finishSync(tx, e, row)
		return err
	})
	if err != nil {
		return account.Settlement{}, fmt.Errorf("answering a sync: %w", err)
	}
	return out, nil
}

func (d *DB) finishSync(tx *gorm.DB, e account.SyncEnd, row syncRow) (account.Settlement, error) {
	f, err := d.funds(tx, e.Request.Wallet)
	if err != nil {
		return account.Settlement{}, err
	}
	open, err := openSignals(tx, e.Request.Wallet)
	if err != nil {
		return account.Settlement{}, err
	}
	out, kinds, held := e.Settle(f, open)
	w, err := d.change(tx, e.Request.Wallet, func(w *account.Wallet) { e.Leave(w, out, f.Now) })
	if err != nil {
		return out, err
	}
	if err := d.grant(tx, e, &f, kinds, held); err != nil {
		return out, err
	}
	out, _, _ = e.Settle(f, open)
	out.State = w.State
	out.Grant = account.GrantOf(granted(f.Lots, e.Bundle()))
	if err := d.chargeDue(tx, w, f.Balances.Due); err != nil {
		return out, err
	}
	row.Answer, err = packSettlement(out)
	if err != nil {
		return out, err
	}
	if out.Grant != nil {
		row.Bundle = out.Grant.BundleID
	}
	done := tx.Model(&syncRow{}).Where("wallet = ? AND sync_id = ? AND answer = ''", row.Wallet, row.SyncID).
		Updates(map[string]any{"answer": row.Answer, "bundle": row.Bundle})
	if done.Error == nil && done.RowsAffected != 1 {
		return out, gorm.ErrDuplicatedKey // begin again: another process was faster
	}
	return out, done.Error
}

// grant keeps the slots of a grant and reserves money for them; f is brought up to
// date.
func (d *DB) grant(tx *gorm.DB, e account.SyncEnd, f *account.Funds, kinds []account.SlotKind, held []token.Amount) error {
	lots, moves, err := e.Lots(*f, kinds, held)
	if err != nil || len(lots) == 0 {
		return err
	}
	if err := ledgerdb.Post(tx, f.Now, moves...); err != nil {
		return fmt.Errorf("reserving for slots: %w", err)
	}
	rows := make([]lotRow, len(lots))
	for i, l := range lots {
		rows[i] = toLotRow(l)
	}
	if err := tx.CreateInBatches(rows, 100).Error; err != nil {
		return fmt.Errorf("handing out slots: %w", err)
	}
	balances, err := ledgerdb.Balances(tx, f.Wallet.ID)
	f.Balances, f.Lots = balances[f.Wallet.ID], append(f.Lots, lots...)
	return err
}

// openSignals reports whether detection found something of a wallet that may hold it back
// and was not acted on yet. What a wrong PIN leads to is known only then.
func openSignals(tx *gorm.DB, w token.WalletID) (bool, error) {
	var n int64
	err := tx.Model(&signalRow{}).Where("wallet = ? AND handled = ? AND (severity > 1 OR kind = ?)", string(w), false, string(detect.WrongPIN)).Count(&n).Error
	if err != nil {
		return false, fmt.Errorf("counting signals: %w", err)
	}
	return n > 0, nil
}

func granted(all []*account.Lot, bundle string) (lots []*account.Lot) {
	for _, l := range all {
		if l.Bundle == bundle {
			lots = append(lots, l)
		}
	}
	return lots
}

// settled is a settlement as it is stored; its grant is in the slots.
type settled struct {
	Result    account.SyncResult
	Decisions []account.Result
	State     account.WalletState
	Balances  account.Balances
	Next      account.Thresholds
}

func packSettlement(s account.Settlement) (string, error) {
	decisions := append([]account.Result(nil), s.Decisions...)
	for i := range decisions {
		decisions[i].Control = "" // for the record alone
	}
	b, err := json.Marshal(settled{s.Result, decisions, s.State, s.Balances, s.Next})
	if err != nil {
		return "", fmt.Errorf("keeping a settlement: %w", err)
	}
	return string(b), nil
}

// settlement reads the answer of a sync.
func settlement(tx *gorm.DB, row syncRow) (account.Settlement, error) {
	var s settled
	if err := json.Unmarshal([]byte(row.Answer), &s); err != nil {
		return account.Settlement{}, fmt.Errorf("%w: a settlement", errRow)
	}
	out := account.Settlement{Result: s.Result, Decisions: s.Decisions, State: s.State, Balances: s.Balances, Next: s.Next}
	if row.Bundle == "" {
		return out, nil
	}
	var rows []lotRow
	if err := tx.Where("bundle = ?", row.Bundle).Order("ctr").Find(&rows).Error; err != nil {
		return out, fmt.Errorf("reading a grant: %w", err)
	}
	var lots []*account.Lot
	for _, r := range rows {
		l, err := r.lot()
		if err != nil {
			return out, err
		}
		lots = append(lots, l)
	}
	out.Grant = account.GrantOf(lots)
	return out, nil
}
