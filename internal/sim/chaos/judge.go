//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
)

// judge holds the database and the audit records to what was answered.
func (f *fleet) judge(ctx context.Context, l *load, rep *Report) (err error) {
	rep.Tokens, rep.Moves, rep.Wrong = len(l.refs), len(l.moved), l.wrong
	f.judgeRows(l, rep)
	db, err := store.Open(ctx, store.Config{DSN: f.servers[f.first].At(f.dsn), ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := f.tokens(ctx, db, l, rep); err != nil {
		return err
	}
	if err := f.money(ctx, db, l, rep); err != nil {
		return err
	}
	recorded := map[access.Action]int64{}
	for i, n := range f.nodes {
		if err := f.proofs(ctx, i, recorded, rep); err != nil {
			return fmt.Errorf("proofs of process %d: %w", i, err)
		}
		_, most := n.memory()
		rep.Memory = append(rep.Memory, most)
		if err := n.stop(); err != nil {
			return err
		}
		if err := f.record(ctx, i, rep); err != nil {
			return err
		}
	}
	for action, done := range map[access.Action]int64{access.TokenRequest: int64(rep.Tokens), access.AccountPost: int64(rep.Moves), access.DetokenizeDirect: rep.Opened} {
		if recorded[action] < done {
			rep.blame("%s was answered %d times and is recorded %d times", action, done, recorded[action])
		}
	}
	return nil
}

// judgeRows looks for what callers may not have seen.
func (f *fleet) judgeRows(l *load, rep *Report) {
	for _, row := range rep.Rows {
		what := faults[slices.Index(Names(), row.Fault)]
		if what.silent && row.Broken > 0 {
			rep.blame("%s: %d requests were not answered; the last such thing was: %v", row.Fault, row.Broken, l.last)
		}
		if what.busy && row.Busy == 0 {
			rep.blame("%s: nobody was told to come back", row.Fault)
		}
	}
	if n := f.mute.Load(); n > 0 {
		rep.blame("%d times a caller was told that it does not work, and not when to come back", n)
	}
}

// mostWrong bounds a report: when everything is lost, that is seen sooner.
const mostWrong = 100

// blame notes a promise that was not kept.
func (r *Report) blame(format string, args ...any) {
	if len(r.Wrong) < mostWrong {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
	}
}

// tokens looks for every token that was answered.
func (f *fleet) tokens(ctx context.Context, db *store.DB, l *load, rep *Report) error {
	var refs []string
	if err := db.Read(ctx).Raw("SELECT ref FROM tokens").Scan(&refs).Error; err != nil {
		return fmt.Errorf("reading tokens: %w", err)
	}
	there := make(map[string]struct{}, len(refs))
	for _, r := range refs {
		there[r] = struct{}{}
	}
	for r, row := range l.refs {
		if _, ok := there[r]; !ok {
			rep.lose(row)
			rep.blame("the token %s was answered and is not there", r)
		}
	}
	var numbers, cards int
	if err := db.Read(ctx).Raw("SELECT count(*) FROM (SELECT DISTINCT range_id, serial FROM tokens) AS n").Scan(&numbers).Error; err != nil {
		return fmt.Errorf("counting numbers: %w", err)
	}
	if err := db.Read(ctx).Raw("SELECT count(DISTINCT card_id) FROM tokens").Scan(&cards).Error; err != nil {
		return fmt.Errorf("counting cards: %w", err)
	}
	if len(refs) != numbers || len(refs) != cards || len(refs) != len(l.refs) {
		rep.blame("%d tokens were answered; there are %d with %d numbers for %d cards", len(l.refs), len(refs), numbers, cards)
	}
	return nil
}

// money compares what wallets hold with what was answered.
func (f *fleet) money(ctx context.Context, db *store.DB, l *load, rep *Report) error {
	var rows []struct {
		Wallet    string
		Available int64
	}
	if err := db.Read(ctx).Raw("SELECT wallet, available FROM wallet_balances").Scan(&rows).Error; err != nil {
		return fmt.Errorf("reading balances: %w", err)
	}
	held := map[string]int64{}
	for _, r := range rows {
		held[r.Wallet] = r.Available
	}
	for _, p := range l.purses {
		if held[p] != l.paid[p] {
			rep.blame("a wallet holds %d fen; %d were answered", held[p], l.paid[p])
		}
	}
	var events []string
	if err := db.Read(ctx).Raw("SELECT event_id FROM account_events").Scan(&events).Error; err != nil {
		return fmt.Errorf("reading movements: %w", err)
	}
	times := make(map[string]int, len(events))
	for _, e := range events {
		times[e]++
		if _, answered := l.moved[e]; !answered || times[e] > 1 {
			rep.blame("the movement %s was not answered, or is there twice", e)
		}
	}
	for e, row := range l.moved {
		if times[e] == 0 {
			rep.lose(row)
			rep.blame("the movement %s was answered and is not there", e)
		}
	}
	return nil
}

// lose counts something that was acknowledged and is not there.
func (r *Report) lose(row int) {
	r.Lost++
	if row != between {
		r.Rows[row].Lost++
	}
}

// record verifies the audit record of a process that has ended, with every
// checkpoint that the HSM signed.
func (f *fleet) record(ctx context.Context, i int, rep *Report) error {
	cmd := exec.CommandContext(ctx, f.bin, "audit", "verify", "--config", f.nodes[i].config, "--json")
	out, err := cmd.Output()
	if err != nil {
		rep.blame("the audit record of process %d does not verify: %v", i, err)
		return nil
	}
	var found struct {
		Lines   uint64 `json:"lines"`
		Covered uint64 `json:"covered"`
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return fmt.Errorf("reading what audit verify says: %w", err)
	}
	rep.Records += found.Lines
	if found.Lines == 0 || found.Covered != found.Lines {
		rep.blame("process %d has %d audit records, of which checkpoints prove %d", i, found.Lines, found.Covered)
	}
	return nil
}
