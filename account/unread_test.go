package account_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

// damage is a column that is spoilt, of rows that one token or its wallet alone needs.
type damage struct {
	table, set string
	of         string   // the column of the table by which the row is found
	wallet     bool     // it names the wallet, not the token
	columns    []string // that set changes
	key        []string // of the table
}

var damages = map[string]damage{
	"controls of the token": {"tokens", "controls = '{'", "ref", false, []string{"controls"}, []string{"ref"}},
	"counters of the token": {"tokens", "ctr_next = 70000", "ref", false, []string{"ctr_next"}, []string{"ref"}},
	"amounts of slots":      {"slots", "charged = -5, charged_part = -5", "token_ref", false, []string{"charged", "charged_part"}, []string{"token_ref", "ctr"}},
	"use descriptor":        {"slots", "ud = substr(ud, 1, 4)", "token_ref", false, []string{"ud"}, []string{"token_ref", "ctr"}},
	"an earlier tap":        {"taps", "ud = substr(ud, 1, 4)", "token_ref", false, []string{"ud"}, []string{"id"}},
	"balances":              {"wallet_balances", "reserve = 1", "wallet", true, []string{"reserve"}, []string{"wallet"}},
}

// spoilt does d and returns what undoes it.
func (l *walletLab) spoilt(d damage, w token.WalletID, ref token.Ref) (mend func()) {
	l.t.Helper()
	name := string(ref)
	if d.wallet {
		name = string(w)
	}
	l.spoil("CREATE TABLE whole AS SELECT * FROM " + d.table)
	l.spoil("UPDATE "+d.table+" SET "+d.set+" WHERE "+d.of+" = ?", name)
	return func() {
		var same, back []string
		for _, k := range d.key {
			same = append(same, "whole."+k+" = "+d.table+"."+k)
		}
		for _, c := range d.columns {
			back = append(back, c+" = (SELECT whole."+c+" FROM whole WHERE "+strings.Join(same, " AND ")+")")
		}
		l.spoil("UPDATE "+d.table+" SET "+strings.Join(back, ", ")+" WHERE "+d.of+" = ? AND EXISTS (SELECT 1 FROM whole WHERE "+strings.Join(same, " AND ")+")", name)
	}
}

// paid is what operators are owed for a wallet's taps.
func (l *walletLab) paid(w token.WalletID) int64 { return l.sums(w)[ledger.OperatorPayable] }

// TestRowThatCannotBeReadDefersItsTaps: a tap of which something that is stored cannot be read is deferred, and all
// others of the batch are judged; when the row is mended it is judged as if it came for the first time, and paid once.
func TestRowThatCannotBeReadDefersItsTaps(t *testing.T) {
	for name, d := range damages {
		t.Run(name, func(t *testing.T) { deferring(t, newWalletLab(t), d) })
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		for _, name := range []string{"counters of the token", "use descriptor", "balances"} {
			t.Run(name, func(t *testing.T) {
				deferring(t, walletLabOn(t, storetest.Open(t, storetest.Postgres(t)(t)), hsmtest.New(t, hsmtest.Options{})), damages[name])
			})
		}
	})
}

func deferring(t *testing.T, l *walletLab, d damage) {
	w, tok, slots := l.ready()
	other, otherTok, otherSlots := l.ready()
	bad, badTok, badSlots := l.ready()
	l.want("the first tap", l.one(l.ride(badTok, badSlots[0])), account.Posted, "")
	l.vault.Clock.Add(time.Minute)
	forged := l.ride(tok, slots[1])
	forged.MAC2[0] ^= 1
	batch := []account.Tap{l.ride(badTok, badSlots[1]), l.ride(tok, slots[0]), forged, l.ride(badTok, badSlots[2]), l.ride(otherTok, otherSlots[0])}
	mend := l.spoilt(d, bad, badTok.Ref)

	for _, as := range []account.Outcome{account.Posted, account.Duplicate} {
		l.said.Reset()
		got := l.upload(batch...)
		for _, i := range []int{0, 3} {
			l.want("what cannot be judged", got[i], account.Deferred, account.Unreadable)
		}
		l.want("another", got[1], as, "")
		l.want("a forged one", got[2], account.Rejected, account.Tamper)
		l.want("the last", got[4], as, "")
		if said := l.said.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "taps=2") || !strings.Contains(said, "terminal=gate-7") ||
			d.of != "wallet" && !strings.Contains(said, string(badTok.Ref)) || strings.Contains(said, badTok.Number.Digits()) || strings.Contains(said, "70000") {
			t.Errorf("the log says %q", said)
		}
	}
	var refused int64
	if err := l.db.Read(t.Context()).Raw("SELECT COUNT(*) FROM tap_refusals WHERE token_ref = ?", string(tok.Ref)).Scan(&refused).Error; err != nil || refused != 1 {
		t.Errorf("%d refusals are kept, %v", refused, err)
	}
	if n := l.Deferred(); n != 4 {
		t.Errorf("%d were deferred", n)
	}
	if l.paid(w) != 200 || l.paid(other) != 200 || l.paid(bad) != 200 {
		t.Errorf("paid %d, %d and %d", l.paid(w), l.paid(other), l.paid(bad))
	}
	mend()
	got := l.upload(batch...)
	for _, i := range []int{0, 3} {
		l.want("mended", got[i], account.Posted, "")
	}
	for _, r := range l.upload(batch[0], batch[1], batch[3], batch[4]) {
		l.want("sent once more", r, account.Duplicate, "")
	}
	if l.paid(w) != 200 || l.paid(other) != 200 || l.paid(bad) != 600 {
		t.Errorf("mended: paid %d, %d and %d", l.paid(w), l.paid(other), l.paid(bad))
	}
	l.invariants()
}

// TestStoredTapThatCannotBeRead: a tap that cannot be read keeps those of its own slot waiting, and where its token has
// no wallet no other; one whose amount nobody can have paid is none that is read.
func TestStoredTapThatCannotBeRead(t *testing.T) {
	for _, damage := range []string{"tac = ud", "amount = -5", "term_seq = 4294967296"} {
		l := newLab(t)
		first, second := l.tap(0, 5), l.tap(1, 6)
		l.want("the first", l.one(first), account.Posted, "")
		storetest.Exec(t, l.db, "CREATE TABLE whole AS SELECT * FROM taps")
		storetest.Exec(t, l.db, "UPDATE taps SET "+damage)
		got := l.upload(first, second)
		l.want(damage, got[0], account.Deferred, account.Unreadable)
		l.want("another slot", got[1], account.Posted, "")
		if r, _, err := l.Judge(t.Context(), gate, first, token.Use{}); err == nil {
			t.Errorf("who waits for one answer, in time, is given %+v", r)
		}
		l.vault.Clock.Add(40 * 24 * time.Hour)
		got = l.upload(first, l.tap(2, 7))
		l.want("when it is too late for others", got[0], account.Deferred, account.Unreadable)
		l.want("another that comes too late", got[1], account.Rejected, account.Late)
		if r, _, err := l.Judge(t.Context(), gate, first, token.Use{}); err == nil {
			t.Errorf("who waits for one answer is given %+v", r)
		}
		storetest.Exec(t, l.db, "DELETE FROM taps WHERE id IN (SELECT id FROM whole)")
		storetest.Exec(t, l.db, "INSERT INTO taps SELECT * FROM whole")
		for _, r := range l.upload(first, second) {
			l.want("mended", r, account.Duplicate, "")
		}
	}
}

// failing is a journal that is gone after some calls.
type failing struct {
	account.Journal
	left int
}

func (f *failing) Record(ctx ctx, e []account.Evidence, r []account.Refusal) ([]account.Result, error) {
	if f.left--; f.left < 0 {
		return nil, errFlaky
	}
	return f.Journal.Record(ctx, e, r)
}

// TestWhatAllNeedIsNoRow: where the database or the HSM is gone nothing is deferred, and the batch fails, whatever was
// kept of it; sent again, it is paid once.
func TestWhatAllNeedIsNoRow(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	bad, badTok, badSlots := l.ready()
	batch := []account.Tap{l.ride(badTok, badSlots[0])}
	for i := range 4 {
		batch = append(batch, l.ride(tok, slots[i]))
	}
	mend := l.spoilt(damages["use descriptor"], bad, badTok.Ref)
	f := &failing{Journal: l.flaky.Journal}
	l.flaky.Journal = f
	posted := 0
	for n := range 20 {
		f.left = n
		got, err := l.Upload(t.Context(), gate, "gate-7", batch)
		if err == nil {
			l.want("in the end", got[0], account.Deferred, account.Unreadable)
			posted = n
			break
		}
		if !errors.Is(err, errFlaky) || got != nil {
			t.Fatalf("after %d calls: %+v, %v", n, got, err)
		}
	}
	mend()
	l.invariants()
	if posted < 3 || l.paid(w) != 800 {
		t.Errorf("%d calls, and %d is paid", posted, l.paid(w))
	}
}

// hole is a vault that panics at one number.
type hole struct {
	account.Tokens
	at token.Number
}

func (h *hole) ByNumber(ctx ctx, n token.Number, at time.Time) (token.Token, error) {
	if n == h.at {
		panic("of number " + n.Digits())
	}
	return h.Tokens.ByNumber(ctx, n, at)
}

// TestTapThatPanics: what makes the program panic in the rows of one token holds up no tap of another.
func TestTapThatPanics(t *testing.T) {
	l := newWalletLab(t)
	_, tok, slots := l.ready()
	_, badTok, badSlots := l.ready()
	h := &hole{l.broken.Tokens, badTok.Number}
	l.broken.Tokens = h
	batch := []account.Tap{l.ride(tok, slots[0]), l.ride(badTok, badSlots[0])}
	got := l.upload(batch...)
	l.want("a tap", got[0], account.Posted, "")
	l.want("the other", got[1], account.Deferred, account.Unreadable)
	if said := l.said.String(); !strings.Contains(said, "a panic") || strings.Contains(said, badTok.Number.Digits()) {
		t.Errorf("the log says %q", said)
	}
	l.broken.Tokens = h.Tokens
	got = l.upload(batch...)
	l.want("a tap", got[0], account.Duplicate, "")
	l.want("the other", got[1], account.Posted, "")
}

// TestRangeThatCannotBeOpened: while a token range cannot be opened, a tap of which nobody can say whether its number is
// one of that range is deferred.
func TestRangeThatCannotBeOpened(t *testing.T) {
	l := newLab(t)
	strange := l.tap(0, 5)
	var err error
	if strange.Number, err = token.ParseNumber("9100019999999999"); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"sealed_key = substr(sealed_key, 1, 8)", "kek_version = 77"} {
		storetest.Exec(t, l.db, "INSERT INTO token_ranges SELECT 'other', '91', length, luhn, sealed_key, kek_version, next_serial, created_at FROM token_ranges LIMIT 1")
		storetest.Exec(t, l.db, "UPDATE token_ranges SET "+damage+" WHERE id = 'other'")
		got := l.upload(strange, l.tap(1, 6))
		l.want(damage, got[0], account.Deferred, account.Unreadable)
		if got[1].Outcome == account.Deferred || got[1].Outcome == account.Rejected {
			t.Errorf("%s: another: %+v", damage, got[1])
		}
		storetest.Exec(t, l.db, "DELETE FROM token_ranges WHERE id = 'other'")
	}
	l.want("without it", l.one(strange), account.Rejected, account.UnknownToken)
}
