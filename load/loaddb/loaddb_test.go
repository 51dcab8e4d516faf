package loaddb_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
	"github.com/tapvault/tapvault/token"
)

var _ load.Store = (*loaddb.DB)(nil)

const wallet = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// order is the n-th order, under counter seq of a card.
func order(n byte, card byte, seq uint16, fen uint32) load.Record {
	o := load.Order{Kind: load.Credit, Account: wallet, Rand: [4]byte{0xFF, 0, card, n}, Seq: seq, Balance: 0xFFFF_0000, Amount: fen,
		Type: cryptogram.LoadPurse, Terminal: [6]byte{1, 2, 3, 4, 5, 255}, At: cryptogram.DateTimeOf(now())}
	return load.Record{Order: o, ID: "ld" + strings.Repeat("A", 24) + string(rune('A'+card)) + string(rune('A'+n)), Card: [32]byte{card, 31: 255},
		Requestor: "50110000001", Client: "bank", State: load.Started, Probe: [6]byte{n, 5: 255}, CreatedAt: now(), ChangedAt: now()}
}

// counted counts cases.
type counted struct{ n *int }

func (c counted) OpenCase(*gorm.DB, account.Case) error { *c.n++; return nil }

func open(t *testing.T, db *store.DB, cases *int) *loaddb.DB {
	t.Helper()
	events, err := outbox.New(outbox.Config{DB: db})
	if err != nil {
		t.Fatal(err)
	}
	d, err := loaddb.New(loaddb.Config{Store: db, Events: events, Now: now, Cases: counted{cases}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func fund(t *testing.T, db *store.DB, fen token.Amount) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		if err := ledgerdb.Open(tx, wallet); err != nil {
			return err
		}
		return ledgerdb.Post(tx, now(), ledger.Transfer{Purpose: "top-up", Key: "k", Wallet: wallet, From: ledger.ExternalCash, To: ledger.Available, Amount: fen})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func balances(t *testing.T, db *store.DB) ledger.Balances {
	t.Helper()
	all, err := ledgerdb.Balances(db.Read(t.Context()), wallet)
	if err != nil {
		t.Fatal(err)
	}
	return all[wallet]
}

// TestEachDatabase holds both kinds of database to the same.
func TestEachDatabase(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		for name, test := range map[string]func(*testing.T, store.Config){
			"RoundTrip": roundTrip, "Attempts": attempts, "TwoProcesses": twoProcesses, "Told": told, "ForeignRows": foreignRows, "Stale": stale, "List": listed, "Overdue": overdue, "Unreadable": unreadable, "Closed": closed,
			"Kept": kept, "Decided": decided, "Books": books, "Race": race, "ClosedMeanwhile": closedMeanwhile, "Waiting": waiting, "Held": held, "Astray": astray, "Purses": purses, "Severities": severities, "PhonesHear": phonesHear,
		} {
			t.Run(name, func(t *testing.T) { test(t, config(t)) })
		}
	})
}

func roundTrip(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	r := order(1, 1, 65535, 400)
	r.NewLimit, r.OldLimit = cryptogram.Limit{255, 255, 255}, cryptogram.Limit{1, 2, 3}
	if _, err := d.Begin(t.Context(), r, access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Record(t.Context(), r.ID); err != nil || got != r {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, r)
	}
	if _, err := d.Record(t.Context(), "ldAAAAAAAAAAAAAAAAAAAAAAAAAB"); !errors.Is(err, load.ErrUnknown) {
		t.Error(err)
	}
	if _, err := d.Begin(t.Context(), order(2, 2, 1, 601), access.Attempt{}); !errors.Is(err, ledger.ErrFunds) {
		t.Errorf("more than there is: %v", err)
	}
	if _, err := d.Record(t.Context(), order(2, 2, 1, 601).ID); !errors.Is(err, load.ErrUnknown) {
		t.Errorf("an order without money was kept: %v", err)
	}
	if got := balances(t, db); got.Available != 600 || got.CardLoad != 400 {
		t.Errorf("%+v", got)
	}
}

// attempts: a key answers what it made, and refuses other contents.
func attempts(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	a := access.Attempt{Key: "k", Digest: [32]byte{1}}
	first, err := d.Begin(t.Context(), order(1, 1, 7, 100), a)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.Begin(t.Context(), order(2, 1, 7, 100), a); err != nil || again.ID != first.ID || again.Rand != first.Rand {
		t.Errorf("%+v, %v", again, err)
	}
	a.Digest[0]++
	if _, err := d.Begin(t.Context(), order(3, 3, 7, 100), a); !errors.Is(err, store.ErrKeyReused) {
		t.Error(err)
	}
	if got := balances(t, db); got.CardLoad != 100 {
		t.Errorf("%+v", got)
	}
}

// twoProcesses order the same cards at the same time, each card with
// initialisations of its own: each card's order is paid for once.
func twoProcesses(t *testing.T, config store.Config) {
	first := storetest.Open(t, config)
	second, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	fund(t, first, 100_000)
	cases := 0
	var wg sync.WaitGroup
	for n, db := range []*store.DB{first, second} {
		d := open(t, db, &cases)
		for k := range 2 {
			wg.Go(func() {
				for card := range 8 {
					r := order(byte(2*n+k), byte(card), 7, 100)
					got, err := d.Begin(t.Context(), r, access.Attempt{})
					if errors.Is(err, load.ErrCounter) {
						continue // the other one's is settled
					}
					if err != nil {
						t.Error(err)
						continue
					}
					f := load.Stood
					if card%2 == 0 {
						f = load.Undone
					}
					if _, err := d.Finish(t.Context(), got.ID, got.Revision, f); err != nil && !errors.Is(err, load.ErrChanged) {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	var open, settled int64
	if err := first.Read(t.Context()).Raw("SELECT count(*) FROM card_loads WHERE state = 'SETTLED'").Scan(&settled).Error; err != nil {
		t.Fatal(err)
	}
	if err := first.Read(t.Context()).Raw("SELECT count(*) FROM card_loads WHERE state = 'STARTED'").Scan(&open).Error; err != nil {
		t.Fatal(err)
	}
	if got := balances(t, first); got.Available != 100_000-100*(open+settled) || got.CardLoad != 100*open {
		t.Errorf("%d settled, %d open, %+v", settled, open, got)
	}
}

// kept: what is returned of an order at each step is what is read of it afterwards.
func kept(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	at := now()
	d, err := loaddb.New(loaddb.Config{Store: db, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	first, anew := order(1, 1, 7, 100), order(2, 1, 7, 100)
	anew.Balance, anew.Terminal, anew.At = 5, [6]byte{6, 6}, cryptogram.DateTimeOf(at.Add(time.Minute))
	want := anew
	want.ID, want.Revision = first.ID, 1
	is := func(step string, want load.Record) func(load.Record, error) {
		return func(got load.Record, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Fatalf("%s: returned\n%+v, %v, not\n%+v", step, got, err, want)
			}
			if got, err = d.Record(t.Context(), want.ID); err != nil || got != want {
				t.Errorf("%s: kept\n%+v, %v, not\n%+v", step, got, err, want)
			}
		}
	}
	limit := order(3, 3, 7, 0)
	limit.Kind, limit.Type, limit.Balance, limit.OldLimit, limit.NewLimit = load.Overdraft, 0, 500, cryptogram.Limit{0, 0, 1}, cryptogram.Limit{0, 0, 9}
	again := order(4, 3, 7, 0)
	again.Order = limit.Order
	again.Rand, again.OldLimit = [4]byte{1}, cryptogram.Limit{0, 0, 2}
	is("a limit", limit)(d.Begin(t.Context(), limit, access.Attempt{}))
	anewLimit := again
	anewLimit.ID, anewLimit.Revision = limit.ID, 1
	is("a limit ordered anew", anewLimit)(d.Begin(t.Context(), again, access.Attempt{}))
	is("begun", first)(d.Begin(t.Context(), first, access.Attempt{}))
	is("ordered anew", want)(d.Begin(t.Context(), anew, access.Attempt{}))
	at = at.Add(time.Hour + 345*time.Microsecond)
	want.State, want.ChangedAt, want.Revision = load.Suspense, now().Add(time.Hour), 2
	is("unclear", want)(d.Finish(t.Context(), want.ID, 1, load.Unclear))
	want.State, want.ChangedAt, want.Revision = load.Reversed, now().Add(2*time.Hour), 3
	is("decided", want)(d.Decide(t.Context(), load.Decision{Load: want.ID, In: load.Suspense, Verdict: load.Reverse, Reason: "r", Evidence: "e", By: "op", At: at.Add(time.Hour)}))
}

// told: each step is told once, and what needs a look opens a case.
func told(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	r, err := d.Begin(t.Context(), order(1, 1, 7, 100), access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err = d.Finish(t.Context(), r.ID, r.Revision, load.Unclear); err != nil || r.State != load.Suspense {
			t.Fatalf("%s, %v", r.State, err)
		}
	}
	if err := d.Miss(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if r, err = d.Record(t.Context(), r.ID); err != nil || r.Misses != 1 {
		t.Errorf("%d misses, %v", r.Misses, err)
	}
	events, err := outbox.New(outbox.Config{DB: db})
	if err != nil {
		t.Fatal(err)
	}
	all, err := events.List(t.Context(), event.Filter{Wallet: wallet}, 0, 9)
	if err != nil || len(all) != 2 || all[1].Data["state"] != "SUSPENSE" || all[1].Data["amount"] != "100" || cases != 1 {
		t.Errorf("%+v, %v, %d cases", all, err, cases)
	}
}

// stale: what was learned of an order as it was is not held against the order as
// it is.
func stale(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	r, err := d.Begin(t.Context(), order(1, 1, 7, 100), access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Begin(t.Context(), order(2, 1, 7, 100), access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Finish(t.Context(), r.ID, r.Revision, load.Undone); !errors.Is(err, load.ErrChanged) {
		t.Error(err)
	}
	if got := balances(t, db); got.Available != 900 || got.CardLoad != 100 {
		t.Errorf("%+v", got)
	}
}

// listed: newest first, page by page, and of one account.
func listed(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	for n := range byte(5) {
		r := order(1, n, 7, 10)
		r.CreatedAt = now().Add(time.Duration(n/2) * time.Second) // some at the same moment
		r, err := d.Begin(t.Context(), r, access.Attempt{})
		if err == nil && n == 1 {
			_, err = d.Finish(t.Context(), r.ID, r.Revision, load.Stood)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(f load.Filter) (cards string, last string) {
		all, err := d.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			cards, last = cards+string('0'+r.Card[0]), r.ID
		}
		return cards, last
	}
	first, last := read(load.Filter{Account: wallet, Limit: 3})
	rest, _ := read(load.Filter{Account: wallet, Limit: 3, Before: last})
	if first+rest != "43210" || len(first) != 3 {
		t.Errorf("listed %s, then %s", first, rest)
	}
	if open, _ := read(load.Filter{Account: wallet, State: load.Started, Limit: 9}); open != "4320" {
		t.Errorf("open: %s", open)
	}
	if other, _ := read(load.Filter{Account: "wlBBBBBBBBBBBBBBBBBBBBBBBBBB", Limit: 9}); other != "" {
		t.Errorf("another's: %s", other)
	}
}

// foreignRows: a row that this program did not write is an error, not a load.
func foreignRows(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	r := order(1, 1, 7, 100)
	if _, err := d.Begin(t.Context(), r, access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	for column, value := range map[string]any{"card": []byte{1}, "at": make([]byte, 7), "balance": int64(1) << 32, "old_limit": 1 << 24} {
		d, err := loaddb.New(loaddb.Config{Store: db})
		if err != nil {
			t.Fatal(err)
		}
		storetest.Exec(t, db, "UPDATE card_loads SET "+column+" = ?", value)
		if _, err := d.Record(t.Context(), r.ID); err == nil {
			t.Errorf("%s: no error", column)
		}
	}
	err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO card_loads (id, card, purse, seq, kind, state, account, requestor, client, rand, balance, amount, old_limit, new_limit, txn_type, terminal, at, probe, misses, revision, created_at, changed_at) SELECT 'ldx', card, purse, seq, kind, state, account, requestor, client, rand, balance, amount, old_limit, new_limit, txn_type, terminal, at, probe, misses, revision, created_at, changed_at FROM card_loads").Error
	})
	if !errors.Is(err, gorm.ErrDuplicatedKey) {
		t.Errorf("two orders stand under one counter: %v", err)
	}
}

func TestNewRefusesAnEmptyConfig(t *testing.T) {
	if _, err := loaddb.New(loaddb.Config{}); err == nil {
		t.Error("a store without a database was opened")
	}
}

// overdue: each order of which nothing is heard opens one case, and can still be
// finished.
func overdue(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	var all []load.Record
	for n := range byte(3) {
		r := order(n+1, n, 7, 10)
		r.CreatedAt = now().Add(time.Duration(n) * time.Hour)
		r, err := d.Begin(t.Context(), r, access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if _, err := d.Finish(t.Context(), all[0].ID, all[0].Revision, load.Stood); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} { // the third is young
		n, err := d.Overdue(t.Context(), now().Add(90*time.Minute))
		if err != nil || n != want || cases != 1 {
			t.Errorf("sweep %d: %d orders, %d cases, %v", i, n, cases, err)
		}
	}
	if r, err := d.Finish(t.Context(), all[1].ID, all[1].Revision, load.Undone); err != nil || r.State != load.Reversed {
		t.Errorf("%+v, %v", r, err)
	}
}
