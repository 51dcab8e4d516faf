package loaddb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
	"github.com/tapvault/tapvault/token"
)

func decision(r load.Record, v load.Verdict) load.Decision {
	return load.Decision{Load: r.ID, In: r.State, Verdict: v, Reason: "read at the desk", Evidence: "case-7", By: "desk", At: now().Add(25 * time.Hour)}
}

// decided: a decision is kept as it was made, told, and made once; the dispute
// that follows opens a case of its own.
func decided(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	r, err := d.Begin(t.Context(), order(1, 1, 7, 100), access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err = d.Finish(t.Context(), r.ID, r.Revision, load.Unclear); err != nil {
		t.Fatal(err)
	}
	x := decision(r, load.Reverse)
	for range 2 {
		got, err := d.Decide(t.Context(), x)
		if err != nil || got.State != load.Reversed || got.Revision != r.Revision+1 || !got.ChangedAt.Equal(x.At) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if got := balances(t, db); got.Available != 1000 {
		t.Errorf("%+v", got)
	}
	found, err := d.Search(t.Context(), load.Search{Load: r.ID, Limit: 1})
	if err != nil || len(found) != 1 || len(found[0].Decisions) != 1 || found[0].Decisions[0] != x {
		t.Errorf("%+v, %v", found, err)
	}
	x.Verdict = load.Settle
	if _, err := d.Decide(t.Context(), x); !errors.Is(err, load.ErrDecided) {
		t.Errorf("decided otherwise: %v", err)
	}
	// What was learned of the order before the decision is learned of it anew.
	if _, err := d.Finish(t.Context(), r.ID, r.Revision, load.Proven); !errors.Is(err, load.ErrChanged) {
		t.Errorf("a proof of the order as it was: %v", err)
	}
	if r, err = d.Finish(t.Context(), r.ID, r.Revision+1, load.Proven); err != nil || r.State != load.Disputed || cases != 2 {
		t.Errorf("%+v, %v, %d cases", r, err, cases)
	}
	if _, err := d.Decide(t.Context(), decision(r, load.Reverse)); err != nil {
		t.Error(err)
	}
	if got, err := d.Record(t.Context(), r.ID); err != nil || got.State != load.Disputed || !got.Decided {
		t.Errorf("%+v, %v", got, err)
	}
	events, err := outbox.New(outbox.Config{DB: db})
	if err != nil {
		t.Fatal(err)
	}
	all, err := events.List(t.Context(), event.Filter{Wallet: wallet}, 0, 9)
	if err != nil || len(all) != 5 {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, want := range []string{"STARTED ", "SUSPENSE ", "REVERSED REVERSE", "DISPUTED ", "DISPUTED REVERSE"} {
		if got := all[i].Data["state"] + " " + all[i].Data["decision"]; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// worth is what an order has moved, said once more: by what it came to, not by the
// steps that led there.
func worth(m load.Matter) map[ledger.Account]int64 {
	fen := int64(m.Amount)
	last := load.Verdict("")
	if m.Decided {
		last = m.Decisions[len(m.Decisions)-1].Verdict
	}
	type at = map[ledger.Account]int64
	if m.Kind == load.Credit {
		return map[string]at{
			"STARTED":         {ledger.Available: -fen, ledger.CardLoad: fen},
			"SETTLED":         {ledger.Available: -fen, ledger.ExternalCash: fen},
			"REVERSED":        {},
			"SUSPENSE":        {ledger.Available: -fen, ledger.Suspense: fen},
			"DISPUTED":        {ledger.FraudLoss: -fen, ledger.ExternalCash: fen},
			"DISPUTEDREVERSE": {ledger.FraudLoss: -fen, ledger.ExternalCash: fen},
			"DISPUTEDSETTLE":  {ledger.Available: -fen, ledger.ExternalCash: fen},
		}[string(m.State)+string(last)]
	}
	return map[string]at{
		"STARTED":         {},
		"SETTLED":         {ledger.Available: fen, ledger.ExternalCash: -fen},
		"REVERSED":        {},
		"SUSPENSE":        {},
		"DISPUTED":        {ledger.Suspense: fen, ledger.ExternalCash: -fen},
		"DISPUTEDREVERSE": {},
		"DISPUTEDSETTLE":  {ledger.Available: fen, ledger.ExternalCash: -fen},
	}[string(m.State)+string(last)]
}

// checkBooks holds the ledger to what the orders came to.
func checkBooks(t *testing.T, db *store.DB, d *loaddb.DB, funded int64) {
	t.Helper()
	want := map[ledger.Account]int64{ledger.Available: funded, ledger.ExternalCash: -funded}
	for _, s := range load.States {
		all, err := d.Search(t.Context(), load.Search{State: s, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			w := worth(m)
			if w == nil {
				t.Fatalf("%s in %s with %+v", m.ID, m.State, m.Decisions)
			}
			for a, n := range w {
				want[a] += n
			}
		}
	}
	got, err := ledgerdb.Sums(db.Read(t.Context()), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range append(ledger.OfWallet, ledger.Shared...) {
		if got[a] != want[a] {
			t.Fatalf("%s holds %d, the orders come to %d", a, got[a], want[a])
		}
	}
	if astray, err := d.Astray(t.Context()); err != nil || len(astray) > 0 {
		t.Fatalf("on its way, and of no order: %+v, %v", astray, err)
	}
	held, err := d.Held(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range held {
		if want[ledger.Suspense] -= h.Found; h.Want != h.Found {
			t.Fatalf("%+v is not explained", h)
		}
	}
	if want[ledger.Suspense] != 0 {
		t.Fatalf("%d in SUSPENSE is of no order: %+v", want[ledger.Suspense], held)
	}
	if b := balances(t, db); b.Available != want[ledger.Available] || b.CardLoad != want[ledger.CardLoad] {
		t.Fatalf("%+v, the orders come to %v", b, want)
	}
}

// books: whatever is learned and decided in whatever order, by two processes and
// more than once, the ledger holds what the orders came to.
func books(t *testing.T, config store.Config) {
	first := storetest.Open(t, config)
	second := storetest.Open(t, config)
	fund(t, first, 5000)
	cases := 0
	stores := []*loaddb.DB{open(t, first, &cases), open(t, second, &cases)}
	rng := rand.New(rand.NewPCG(124, 1))
	decidedOnes := 0
	for n := range byte(12) {
		r := order(1, n, 7, uint32(rng.IntN(400)+1))
		if n%2 == 1 {
			r.Kind = load.Debit
		}
		if _, err := stores[0].Begin(t.Context(), r, access.Attempt{}); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			d := stores[rng.IntN(2)]
			at, err := d.Record(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			switch rng.IntN(2) {
			case 0:
				f := load.Findings[rng.IntN(len(load.Findings))]
				if f == load.Stood { // rarely: it leads nowhere else
					f = load.Unclear
				}
				_, err = d.Finish(t.Context(), r.ID, at.Revision-int64(rng.IntN(2)), f)
			default:
				x := decision(at, load.Verdicts[rng.IntN(2)])
				x.In = load.States[rng.IntN(len(load.States))]
				if _, err = d.Decide(t.Context(), x); err == nil {
					decidedOnes++
				}
			}
			switch {
			case err == nil, errors.Is(err, load.ErrChanged), errors.Is(err, load.ErrDecided), errors.Is(err, load.ErrClosed), errors.Is(err, ledger.ErrFunds):
			default:
				t.Fatal(err)
			}
			checkBooks(t, first, stores[0], 5000)
		}
	}
	if decidedOnes < 5 {
		t.Errorf("%d decisions: the walk meets too few", decidedOnes)
	}
}

// race: two operators and the card's proof at the same time. One decision stands,
// the proof is heard before or after it, and the books agree.
func race(t *testing.T, config store.Config) {
	first := storetest.Open(t, config)
	second := storetest.Open(t, config)
	fund(t, first, 10_000)
	cases := 0
	one, two := open(t, first, new(int)), open(t, second, new(int))
	proofs := open(t, first, &cases)
	for n := range byte(6) {
		r := order(1, n, 7, 100)
		if n%2 == 1 {
			r.Kind = load.Debit
		}
		r, err := one.Begin(t.Context(), r, access.Attempt{})
		if err == nil {
			r, err = one.Finish(t.Context(), r.ID, r.Revision, load.Unclear)
		}
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var said [2]error
		for i, d := range []*loaddb.DB{one, two} {
			wg.Go(func() {
				x := decision(r, load.Verdicts[i])
				x.By = fmt.Sprint("operator", i)
				_, said[i] = d.Decide(t.Context(), x)
				for errors.Is(said[i], load.ErrChanged) {
					_, said[i] = d.Decide(t.Context(), x)
				}
			})
		}
		wg.Go(func() {
			for {
				at, err := proofs.Record(t.Context(), r.ID)
				if err == nil {
					_, err = proofs.Finish(t.Context(), r.ID, at.Revision, load.Proven)
				}
				if errors.Is(err, load.ErrChanged) {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
		wg.Wait()
		made := 0
		for i, err := range said {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, load.ErrDecided) && !errors.Is(err, load.ErrClosed):
				t.Errorf("operator %d: %v", i, err)
			}
		}
		found, err := one.Search(t.Context(), load.Search{Load: r.ID, Limit: 1})
		if err != nil || len(found) != 1 || made > 1 || len(found[0].Decisions) != made {
			t.Fatalf("%d decisions, %+v, %v", made, found, err)
		}
		want := load.Settled
		if made == 1 && said[1] == nil {
			want = load.Disputed
		}
		if found[0].State != want {
			t.Errorf("%s after %+v, want %s", found[0].State, found[0].Decisions, want)
		}
		checkBooks(t, first, one, 10_000)
	}
}

// closedMeanwhile: what a decision brings to a wallet that was closed is paid out,
// once, and what it does not hold it is not asked for.
func closedMeanwhile(t *testing.T, config store.Config) {
	db, events, book, d := opened(t, config)
	if _, err := book.Happen(t.Context(), wallet, account.Happening{ID: "top-up", Kind: account.TopUp, Amount: 1000}); err != nil {
		t.Fatal(err)
	}
	load1, unload := order(1, 1, 7, 400), order(2, 2, 7, 30)
	unload.Kind = load.Debit
	all := []load.Record{load1, unload}
	for i, r := range all {
		r, err := d.Begin(t.Context(), r, access.Attempt{})
		if err == nil {
			all[i], err = d.Finish(t.Context(), r.ID, r.Revision, load.Unclear)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if w, err := book.Close(t.Context(), wallet, "test", access.Attempt{}); err != nil || w.State != account.WalletClosed {
		t.Fatalf("%+v, %v", w, err)
	}
	holds := func(suspense, fraud token.Amount) {
		t.Helper()
		f, err := book.Funds(t.Context(), wallet)
		if err != nil || f.Balances != (ledger.Balances{}) || account.Invariants(f) != nil {
			t.Errorf("%+v, %v", f.Balances, err)
		}
		sums, err := ledgerdb.Sums(db.Read(t.Context()), wallet)
		if err != nil || sums[ledger.Suspense] != int64(suspense) || sums[ledger.FraudLoss] != -int64(fraud) {
			t.Errorf("%v, %v", sums, err)
		}
	}
	holds(400, 0)
	for range 2 {
		for i, v := range []load.Verdict{load.Reverse, load.Settle} {
			if _, err := d.Decide(t.Context(), decision(all[i], v)); err != nil {
				t.Fatal(err)
			}
			holds(0, 0)
		}
	}
	told, err := events.List(t.Context(), event.Filter{Wallet: wallet}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	paid := map[string]int{}
	for _, e := range told {
		if e.Type == event.PaidOut {
			paid[e.Data["amount"]]++
		}
	}
	if len(paid) != 3 || paid["600"] != 1 || paid["400"] != 1 || paid["30"] != 1 {
		t.Errorf("told to pay out %v", paid)
	}
	r, err := d.Record(t.Context(), load1.ID)
	if err == nil {
		r, err = d.Finish(t.Context(), r.ID, r.Revision, load.Proven)
	}
	if err != nil || r.State != load.Disputed {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := d.Decide(t.Context(), decision(r, load.Settle)); !errors.Is(err, ledger.ErrFunds) {
		t.Errorf("a closed wallet pays: %v", err)
	}
	if _, err := d.Decide(t.Context(), decision(r, load.Reverse)); err != nil {
		t.Error(err)
	}
	holds(0, 400)
	if told, err = events.List(t.Context(), event.Filter{Wallet: wallet}, 0, 100); err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, e := range told {
		if e.Type == event.CaseOpened {
			cases++
		}
	}
	if cases != 3 { // of two orders that hung, and of a dispute after its order had been decided
		t.Errorf("%d cases, want 3", cases)
	}
}

// waiting: what waits, the oldest first, page by page.
func waiting(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	finds := map[byte][]load.Finding{1: {load.Unclear}, 2: {load.Stood}, 3: {load.Undone, load.Proven}, 4: {load.Undone}, 5: {load.Unclear}}
	var last load.Record
	for n := range byte(7) {
		r := order(1, n, 7, 10)
		r.CreatedAt = now().Add(-time.Duration(n/2) * time.Second) // some at the same moment
		if n == 6 {
			r.Requestor, r.CreatedAt = "50110000002", now().Add(-time.Hour)
		}
		r, err := d.Begin(t.Context(), r, access.Attempt{})
		for _, f := range finds[n] {
			if err == nil {
				r, err = d.Finish(t.Context(), r.ID, r.Revision, f)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 3 {
			last = r
		}
	}
	read := func(q load.Search) (cards, last string) {
		t.Helper()
		all, err := d.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			cards, last = cards+string('0'+m.Card[0]), m.ID
		}
		return cards, last
	}
	waits := func(overdue time.Time, want string) {
		t.Helper()
		got, after := "", ""
		for page := "-"; page != ""; got += page {
			if page, after = read(load.Search{Overdue: overdue, After: after, Limit: 2}); page == "" {
				break
			}
		}
		n, err := d.Waiting(t.Context(), overdue)
		if got != want || n != len(want) || err != nil {
			t.Errorf("%s wait, %d, %v; want %s", got, n, err, want)
		}
	}
	waits(now().Add(-2*time.Hour), "531")
	waits(now().Add(-time.Hour), "6531")
	waits(now(), "65301")
	if got, _ := read(load.Search{Requestor: "50110000002", Overdue: now(), Limit: 9}); got != "6" {
		t.Errorf("of one requestor: %s", got)
	}
	if got, _ := read(load.Search{Account: "wlBBBBBBBBBBBBBBBBBBBBBBBBBB", Overdue: now(), Limit: 9}); got != "" {
		t.Errorf("of another account: %s", got)
	}
	if _, err := d.Decide(t.Context(), decision(last, load.Reverse)); err != nil {
		t.Fatal(err)
	}
	waits(now().Add(-time.Hour), "651")
	if got, _ := read(load.Search{State: load.Disputed, Account: wallet, Limit: 9}); got != "3" {
		t.Errorf("disputed: %s", got)
	}
}
