package tapdb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// walletRow is a row of a wallet.
type walletRow struct {
	ID        string `gorm:"primaryKey"`
	Requestor string
	Client    string
	State     string
	Holds     string
	RealName  bool
	CardBound bool
	Allowance int64
	Quota     int64
	TierLimit int64
	Ceiling   int64
	OpenedAt  int64
	ChangedAt int64
	Revision  int64
}

// TableName is the table.
func (walletRow) TableName() string { return "wallets" }

// boundRow is a row of a token that belongs to a wallet.
type boundRow struct {
	Ref      string `gorm:"primaryKey"`
	Wallet   string
	Device   string
	NotAfter int64
	BoundAt  int64
}

// TableName is the table.
func (boundRow) TableName() string { return "wallet_tokens" }

func toWalletRow(w account.Wallet) walletRow {
	holds := make([]string, len(w.Holds))
	for i, h := range w.Holds {
		holds[i] = string(h)
	}
	return walletRow{ID: string(w.ID), Requestor: string(w.Requestor), Client: w.Client, State: string(w.State),
		Holds: strings.Join(holds, " "), RealName: w.RealName, CardBound: w.Card, Allowance: int64(w.Allowance),
		Quota: int64(w.Quota), TierLimit: int64(w.Limit), Ceiling: int64(w.Ceiling), OpenedAt: w.OpenedAt.UnixMilli(),
		ChangedAt: w.ChangedAt.UnixMilli(), Revision: w.Revision}
}

func (r walletRow) wallet() account.Wallet {
	w := account.Wallet{ID: token.WalletID(r.ID), Requestor: token.Requestor(r.Requestor), Client: r.Client,
		State: account.WalletState(r.State), RealName: r.RealName, Card: r.CardBound, Allowance: token.Amount(r.Allowance),
		Quota: token.Amount(r.Quota), Limit: token.Amount(r.TierLimit), Ceiling: token.Amount(r.Ceiling),
		OpenedAt: store.Moment(r.OpenedAt), ChangedAt: store.Moment(r.ChangedAt), Revision: r.Revision}
	for _, h := range strings.Fields(r.Holds) {
		w.Holds = append(w.Holds, account.Hold(h))
	}
	return w
}

// opWallet names opening in the table of attempts.
const opWallet = "wallet"

// Open implements [account.Wallets].
func (d *DB) Open(ctx context.Context, caller string, a access.Attempt, w account.Wallet) (opened account.Wallet, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, caller, a, opWallet, string(w.ID))
		if err != nil {
			return err
		}
		if prior != "" {
			opened, err = readWallet(tx, token.WalletID(prior))
			return err
		}
		w.Revision = 1
		row := toWalletRow(w)
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		if err := ledgerdb.Open(tx, w.ID); err != nil {
			return err
		}
		opened = row.wallet()
		return d.emit(tx, event.Event{Type: event.WalletOpened, Wallet: w.ID, Requestor: w.Requestor,
			Data: map[string]string{"state": string(w.State)}})
	})
	if err != nil {
		return account.Wallet{}, fmt.Errorf("opening a wallet: %w", err)
	}
	return opened, nil
}

// Wallet implements [account.Wallets].
func (d *DB) Wallet(ctx context.Context, id token.WalletID) (account.Wallet, error) {
	return readWallet(d.store.Read(ctx), id)
}

func readWallet(db *gorm.DB, id token.WalletID) (account.Wallet, error) {
	all, err := readWallets(db, []token.WalletID{id})
	if err != nil {
		return account.Wallet{}, err
	}
	w, ok := all[id]
	if !ok {
		return account.Wallet{}, account.ErrNoWallet
	}
	return w, nil
}

func readWallets(db *gorm.DB, ids []token.WalletID) (map[token.WalletID]account.Wallet, error) {
	all := make(map[token.WalletID]account.Wallet, len(ids))
	for part := range slices.Chunk(ids, inOne) {
		var rows []walletRow
		if err := db.Where("id IN ?", part).Find(&rows).Error; err != nil {
			return nil, fmt.Errorf("reading wallets: %w", err)
		}
		for _, r := range rows {
			all[token.WalletID(r.ID)] = r.wallet()
		}
	}
	return all, nil
}

// Change implements [account.Wallets].
func (d *DB) Change(ctx context.Context, id token.WalletID, caller string, a access.Attempt, fn func(*account.Wallet)) (w account.Wallet, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, caller, a, opWallet+":change", string(id))
		if err != nil {
			return err
		}
		if prior != "" {
			w, err = readWallet(tx, id)
			return err
		}
		w, err = d.change(tx, id, fn)
		return err
	})
	if err != nil {
		return account.Wallet{}, fmt.Errorf("changing a wallet: %w", err)
	}
	return w, nil
}

// tellings are the events of the states that a wallet can come to.
var tellings = map[account.WalletState]event.Type{account.WalletActive: event.WalletRestored,
	account.WalletRestricted: event.WalletRestricted, account.WalletSuspended: event.WalletSuspended, account.WalletClosed: event.WalletClosed}

// change writes what fn makes of a wallet over the row that fn saw, and tells of
// a new state. It writes the row even when fn changes nothing: whoever tells of
// the wallet afterwards, in the same transaction, is then alone.
func (d *DB) change(tx *gorm.DB, id token.WalletID, fn func(*account.Wallet)) (account.Wallet, error) {
	before, err := readWallet(tx, id)
	if err != nil {
		return account.Wallet{}, err
	}
	w := before
	w.Holds = slices.Clone(before.Holds)
	fn(&w)
	w.Revision++
	row := toWalletRow(w)
	done := tx.Model(&walletRow{}).Where("id = ? AND revision = ?", row.ID, before.Revision).Select("*").Updates(&row)
	if done.Error != nil {
		return account.Wallet{}, fmt.Errorf("changing a wallet: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return account.Wallet{}, account.ErrState
	}
	w = row.wallet() // as it is read when the same is asked for again
	if w.State == before.State {
		return w, nil
	}
	data := map[string]string{"state": string(w.State)}
	if row.Holds != "" {
		data["reason"] = row.Holds
	}
	return w, d.emit(tx, event.Event{Type: tellings[w.State], Wallet: w.ID, Requestor: w.Requestor, Data: data})
}

// Bind implements [account.Wallets].
func (d *DB) Bind(ctx context.Context, b account.Binding) error {
	row := boundRow{string(b.Ref), string(b.Wallet), string(b.Device), b.NotAfter.UnixMilli(), d.now().UnixMilli()}
	err := d.tx(ctx, func(tx *gorm.DB) error {
		done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 1 {
			if err := unused(tx, row.Ref); err != nil {
				return err
			}
		}
		var stored []boundRow
		if err := tx.Where("ref = ?", row.Ref).Limit(1).Find(&stored).Error; err != nil {
			return err
		}
		if len(stored) != 1 || stored[0].Wallet != row.Wallet || stored[0].Device != row.Device {
			return account.ErrBound
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("binding a token: %w", err)
	}
	return nil
}

// unused returns [account.ErrBound] when counters of a token were taken. Its row is written, as
// it is by whoever takes some: they are taken before this, and seen here, or when the
// binding can be seen.
func unused(tx *gorm.DB, ref string) error {
	if err := tx.Exec("UPDATE tokens SET ctr_next = ctr_next WHERE ref = ?", ref).Error; err != nil {
		return err
	}
	var used int64
	if err := tx.Raw("SELECT COUNT(*) FROM tokens WHERE ref = ? AND ctr_next <> ctr_first", ref).Scan(&used).Error; err != nil {
		return err
	}
	if used > 0 {
		return account.ErrBound
	}
	return nil
}

// Bound implements [account.Wallets].
func (d *DB) Bound(ctx context.Context, refs ...token.Ref) (map[token.Ref]token.WalletID, error) {
	return bindings(d.store.Read(ctx), refs)
}

func bindings(db *gorm.DB, refs []token.Ref) (map[token.Ref]token.WalletID, error) {
	all := make(map[token.Ref]token.WalletID)
	for part := range slices.Chunk(refs, inOne) {
		var rows []boundRow
		if err := db.Where("ref IN ?", part).Find(&rows).Error; err != nil {
			return nil, fmt.Errorf("reading which tokens have a wallet: %w", err)
		}
		for _, r := range rows {
			all[token.Ref(r.Ref)] = token.WalletID(r.Wallet)
		}
	}
	return all, nil
}

// Tokens implements [account.Wallets].
func (d *DB) Tokens(ctx context.Context, w token.WalletID) (out []account.Binding, err error) {
	var rows []boundRow
	if err := d.store.Read(ctx).Where("wallet = ?", string(w)).Order("bound_at DESC, ref").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the tokens of a wallet: %w", err)
	}
	for _, r := range rows {
		out = append(out, account.Binding{Wallet: w, Ref: token.Ref(r.Ref), Device: token.DeviceID(r.Device), NotAfter: store.Moment(r.NotAfter)})
	}
	return out, nil
}

// Funds implements [account.Wallets].
func (d *DB) Funds(ctx context.Context, id token.WalletID) (account.Funds, error) {
	return d.funds(d.store.Read(ctx), id)
}

// sureOf is the moment that slots are live at. What has ended by this process's clock and is
// not free yet may still pay, and counts against what a phone is given beside it: so
// the end has to have come by every clock.
func (d *DB) sureOf(ctx context.Context, f account.Funds) (time.Time, error) {
	ended := func(l *account.Lot) bool { return !l.Posted.Free && !f.Now.Before(l.NotAfter) }
	if d.sure == nil || !slices.ContainsFunc(f.Lots, ended) {
		return f.Now, nil
	}
	at, err := d.sure(ctx)
	if err != nil {
		return at, fmt.Errorf("asking whether slots have ended: %w", err)
	}
	return at, nil
}

// funds reads what stands behind a wallet's slots: those that may still pay, and
// those that still hold something.
func (d *DB) funds(db *gorm.DB, id token.WalletID) (f account.Funds, err error) {
	f.Now = d.now()
	if f.Wallet, err = readWallet(db, id); err != nil {
		return f, err
	}
	balances, err := ledgerdb.Balances(db, id)
	if err != nil {
		return f, err
	}
	f.Balances = balances[id]
	set, err := lots(db, "wallet = ? AND (free = ? OR not_after > ?)", string(id), false, f.Now.UnixMilli())
	if err != nil {
		return f, err
	}
	f.Lots = set.all
	if f.Now, err = d.sureOf(db.Statement.Context, f); err != nil {
		return f, err
	}
	var lent *int64
	err = db.Raw("SELECT SUM(amount) FROM ledger_entries WHERE wallet = ? AND from_account = ? AND posted_at > ?",
		string(id), string(ledger.Due), f.Now.Add(-account.QuotaDays).UnixMilli()).Scan(&lent).Error
	if err != nil {
		return f, fmt.Errorf("adding up overdraft: %w", err)
	}
	if lent != nil {
		f.Lent = token.Amount(*lent)
	}
	return f, nil
}
