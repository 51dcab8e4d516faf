package tapdb

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/token"
)

// Taps implements [account.Reports].
func (d *DB) Taps(ctx context.Context, w token.WalletID, limit int) ([]account.TapView, error) {
	db := d.store.Read(ctx)
	list, err := entries(db.Where("token_ref IN (SELECT ref FROM wallet_tokens WHERE wallet = ?)", string(w)).
		Order("moment DESC").Limit(limit))
	if err != nil {
		return nil, err
	}
	out := make([]account.TapView, len(list))
	var keys [][]any
	for i, e := range list {
		out[i] = account.TapView{ID: e.ID(), Ref: e.Ref, Ctr: e.Tap.Seq, At: e.Moment, Amount: e.Tap.Amount,
			Terminal: e.Tap.Terminal, Outcome: e.Outcome, Status: e.Status()}
		keys = append(keys, []any{string(e.Ref), e.Tap.Seq})
	}
	states := make(map[slotKey]string)
	for part := range slices.Chunk(keys, inOne) {
		var rows []lotRow
		if err := db.Where("(token_ref, ctr) IN ?", part).Find(&rows).Error; err != nil {
			return nil, fmt.Errorf("reading slots: %w", err)
		}
		for _, r := range rows {
			states[slotKey{token.Ref(r.TokenRef), r.Ctr}] = r.State
		}
	}
	for i, v := range out {
		out[i].Slot = account.SlotState(states[slotKey{v.Ref, v.Ctr}])
	}
	return out, nil
}

// Signals implements [account.Reports].
func (d *DB) Signals(ctx context.Context, w token.WalletID, limit int) ([]account.Finding, error) {
	return findings(d.store.Read(ctx).Where("wallet = ?", string(w)).Order("found_at DESC, id").Limit(limit))
}

// Recon implements [account.Reports].
func (d *DB) Recon(ctx context.Context, from, to time.Time) (r account.Recon, err error) {
	r.From, r.To, r.Accounts = from, to, make(map[string]int64)
	db := d.store.Read(ctx)
	if r.Terminals, err = terminals(db, from, to); err != nil {
		return r, err
	}
	sums, err := ledgerdb.Sums(db, "")
	if err != nil {
		return r, err
	}
	var all int64
	for a, n := range sums {
		r.Accounts[string(a)] = n
		all += n
	}
	if all != 0 {
		r.Mismatches = append(r.Mismatches, account.Mismatch{What: "ledger", Name: "all accounts", Found: all})
	}
	if err := wallets(db, &r); err != nil {
		return r, err
	}
	if err := operators(db, &r); err != nil {
		return r, err
	}
	if err := suspended(db, &r); err != nil {
		return r, err
	}
	var n int64
	if err := db.Model(&caseRow{}).Where("opened_at >= ? AND opened_at < ?", from.UnixMilli(), to.UnixMilli()).Count(&n).Error; err != nil {
		return r, fmt.Errorf("counting cases: %w", err)
	}
	r.OpenCases = int(n)
	return r, nil
}

// terminals sums up what each terminal recorded in a time, in the order of serials.
func terminals(db *gorm.DB, from, to time.Time) (days []account.TerminalDay, err error) {
	rows, err := db.Raw(`SELECT terminal, term_seq, amount, id FROM taps WHERE moment >= ? AND moment < ? AND sources <> ?
		ORDER BY terminal, term_seq, id`, from.UnixMilli(), to.UnixMilli(), account.ByPhone).Rows()
	if err != nil {
		return nil, fmt.Errorf("reading a day's taps: %w", err)
	}
	defer func() { _ = rows.Close() }()
	hash := sha256.New()
	for rows.Next() {
		var terminal []byte
		var serial, amount int64
		var id string
		if err := rows.Scan(&terminal, &serial, &amount, &id); err != nil || len(terminal) != 6 {
			return nil, fmt.Errorf("%w: a day's taps", errRow)
		}
		last := len(days) - 1
		if last < 0 || days[last].Terminal != [6]byte(terminal) {
			days = append(days, account.TerminalDay{Terminal: [6]byte(terminal), First: uint32(serial), Last: uint32(serial)})
			last++
			hash.Reset()
		}
		t := &days[last]
		if gap := int(uint32(serial) - t.Last); gap > 1 {
			t.Missing += gap - 1
		}
		t.Count, t.Sum, t.Last = t.Count+1, t.Sum+token.Amount(amount), uint32(serial)
		hash.Write([]byte(id))
		t.Digest = [32]byte(hash.Sum(nil))
	}
	return days, rows.Err()
}

// wallets compares each balance of all wallets with what their transfers come to.
func wallets(db *gorm.DB, r *account.Recon) error {
	var bad []struct {
		Wallet, Account string
		Want, Found     int64
	}
	const q = `SELECT b.wallet AS wallet, b.account AS account, b.found AS found, COALESCE(e.total, 0) AS want
		FROM (SELECT wallet, 'AVAILABLE' AS account, available AS found FROM wallet_balances
			UNION ALL SELECT wallet, 'OFFLINE_RESERVE', reserve FROM wallet_balances
			UNION ALL SELECT wallet, 'CARD_LOAD', card_load FROM wallet_balances
			UNION ALL SELECT wallet, 'OVERDRAFT_DUE', -due FROM wallet_balances) AS b LEFT JOIN (
			SELECT wallet, account, SUM(amount) AS total FROM (
				SELECT wallet, to_account AS account, amount FROM ledger_entries
				UNION ALL SELECT wallet, from_account, -amount FROM ledger_entries) AS moved
			GROUP BY wallet, account) AS e ON e.wallet = b.wallet AND e.account = b.account
		WHERE b.found <> COALESCE(e.total, 0) ORDER BY b.wallet, b.account LIMIT 1000`
	if err := db.Raw(q).Scan(&bad).Error; err != nil {
		return fmt.Errorf("comparing balances: %w", err)
	}
	for _, m := range bad {
		r.Mismatches = append(r.Mismatches, account.Mismatch{What: "wallet", Name: m.Wallet + "/" + m.Account, Want: m.Want, Found: m.Found})
	}
	return nil
}

// operators compares what records of the day come to with what is posted of their
// slots.
func operators(db *gorm.DB, r *account.Recon) error {
	set, err := lots(db, `token_ref IN (SELECT t.token_ref FROM taps t JOIN wallet_tokens w ON w.ref = t.token_ref
		WHERE t.moment >= ? AND t.moment < ?)`, r.From.UnixMilli(), r.To.UnixMilli())
	if err != nil {
		return err
	}
	days := make(map[string]*account.OperatorDay)
	day := func(name string) *account.OperatorDay {
		if days[name] == nil {
			days[name] = &account.OperatorDay{Operator: name}
		}
		return days[name]
	}
	disputes := make(map[string]int64)
	for _, l := range set.all {
		e, ok := l.Slot.Posted()
		if !ok || e.Moment.Before(r.From) || !e.Moment.Before(r.To) {
			continue
		}
		want := l.Target()
		if want.Party == account.Unresolved {
			paid, _ := l.Paid()
			disputes[paid.Reporter+" and "+paid.Rival] += int64(want.Charged)
		}
		for _, p := range []struct {
			party        string
			want, posted token.Amount
		}{{want.Party, want.Charged, 0}, {want.FraudParty, want.Fraud, 0},
			{l.Posted.Party, 0, l.Posted.ChargedPart}, {l.Posted.FraudParty, 0, l.Posted.Fraud}} {
			if p.party != "" {
				o := day(p.party)
				o.Records, o.Posted = o.Records+int64(p.want), o.Posted+int64(p.posted)
			}
		}
		if l.Posted.Party != "" {
			day(l.Posted.Party).Unpaid += int64(l.Posted.Charged - l.Posted.ChargedPart)
		}
	}
	for _, names := range slices.Sorted(maps.Keys(disputes)) {
		r.Mismatches = append(r.Mismatches, account.Mismatch{What: "operator", Name: names, Want: disputes[names]})
	}
	for _, o := range days {
		r.Operators = append(r.Operators, *o)
		if o.Records != o.Posted+o.Unpaid {
			r.Mismatches = append(r.Mismatches, account.Mismatch{What: "operator", Name: o.Operator, Want: o.Records, Found: o.Posted + o.Unpaid})
		}
	}
	slices.SortFunc(r.Operators, func(a, b account.OperatorDay) int { return cmp.Compare(a.Operator, b.Operator) })
	return nil
}
