package tapdb_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

// bounded is record k of a slot under controls, for an amount.
func bounded(ref token.Ref, ctr uint16, k byte, amount token.Amount, c token.Controls) account.Evidence {
	e := item(ref, ctr, k)
	e.Tap.Amount = amount
	e.Bounds = &account.Bounds{Controls: c, Use: token.Use{Amount: amount}}
	return e
}

// TestTotalsOnEachDatabase holds both kinds of database to the same.
func TestTotalsOnEachDatabase(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		for name, test := range map[string]func(*testing.T, store.Config){
			"Bounds": bounds, "Slots": slots, "Race": race, "Sums": sums, "Uses": uses, "UsesRace": usesRace,
		} {
			t.Run(name, func(t *testing.T) { test(t, config(t)) })
		}
	})
}

// total reads the stored totals of a token and holds them to what is posted
// and counted.
func total(t *testing.T, db *store.DB, ref token.Ref) (sum, count int64) {
	t.Helper()
	var real struct{ Sum, Uses int64 }
	err := db.Read(t.Context()).Raw("SELECT COALESCE(SUM(amount), 0) AS sum, COUNT(*) AS uses FROM ("+
		"SELECT amount FROM taps WHERE token_ref = ? AND outcome = 'POSTED' UNION ALL "+
		"SELECT amount FROM direct_uses WHERE token_ref = ?) AS paid", string(ref), string(ref)).Scan(&real).Error
	if err != nil {
		t.Fatal(err)
	}
	var kept []struct{ Total, Uses int64 }
	if err := db.Read(t.Context()).Raw("SELECT total, uses FROM token_totals WHERE token_ref = ?", string(ref)).Scan(&kept).Error; err != nil {
		t.Fatal(err)
	}
	if len(kept) == 0 {
		kept = append(kept, struct{ Total, Uses int64 }{})
	}
	if kept[0].Total != real.Sum || kept[0].Uses != real.Uses {
		t.Errorf("the totals say %+v, the records %+v", kept[0], real)
	}
	return kept[0].Total, kept[0].Uses
}

func bounds(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	bySum, byCount := token.Controls{MaxSum: 500}, token.Controls{MaxCount: 2}
	for i, c := range []struct {
		name     string
		ref      token.Ref
		controls token.Controls
		amounts  []token.Amount // one slot each, in one upload
		refused  []string
	}{
		{"to the last fen", "trA", bySum, []token.Amount{200, 300}, []string{"", ""}},
		{"nothing is left", "trA", bySum, []token.Amount{1, 0}, []string{"control-sum", ""}},
		{"one that fits after one that does not", "trB", bySum, []token.Amount{400, 200, 100}, []string{"", "control-sum", ""}},
		{"the second is the last", "trC", byCount, []token.Amount{1, 1, 1}, []string{"", "", "control-count"}},
		{"by the amount alone", "trD", token.Controls{MaxAmount: 5}, []token.Amount{6, 5}, []string{"control-amount", ""}},
	} {
		var batch []account.Evidence
		for k, a := range c.amounts {
			batch = append(batch, bounded(c.ref, uint16(100*i+k), 0, a, c.controls))
		}
		for k, r := range mustRecord(t, d, batch...) {
			want := account.Result{TapID: batch[k].ID(), Outcome: account.Posted}
			if c.refused[k] != "" {
				want = account.Result{Outcome: account.Rejected, Reason: account.NotAllowed, Control: c.refused[k]}
			}
			if r != want {
				t.Errorf("%s, tap %d: %+v, want %+v", c.name, k, r, want)
			}
		}
		total(t, db, c.ref)
	}
	// What was posted stays posted, however often it comes and whatever is left.
	again := mustRecord(t, d, bounded("trA", 0, 0, 200, bySum))
	if again[0].Outcome != account.Duplicate || !again[0].Good() {
		t.Errorf("a known tap of a spent token: %+v", again)
	}
	if sum, n := total(t, db, "trA"); sum != 500 || n != 3 {
		t.Errorf("%d in %d uses", sum, n)
	}
	var reason string
	if err := db.Read(t.Context()).Raw("SELECT reason FROM tap_refusals WHERE token_ref = 'trC'").Scan(&reason).Error; err != nil || reason != "control-count" {
		t.Errorf("the refusal is kept as %q, %v", reason, err)
	}
}

// slots: a slot pays once. A better record takes the place of another, and only
// the difference counts.
func slots(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	c := token.Controls{MaxSum: 500, MaxCount: 1}
	for i, step := range []struct {
		k      byte // odd: a bad TAC; higher: later
		amount token.Amount
		want   account.Result
		sum    int64
	}{
		{5, 400, account.Result{Outcome: account.Posted, Reason: account.WrongPIN}, 400},
		{8, 450, account.Result{Outcome: account.Posted}, 450},   // a good TAC
		{4, 500, account.Result{Outcome: account.Posted}, 500},   // earlier
		{2, 501, account.Result{Outcome: account.Rejected}, 500}, // earlier still, but too much
		{6, 100, account.Result{Outcome: account.Forked}, 500},   // the slot paid already
	} {
		e := bounded("trA", 7, step.k, step.amount, c)
		r := mustRecord(t, d, e)[0]
		if r.Outcome != step.want.Outcome || step.want.Reason != "" && r.Reason != step.want.Reason {
			t.Errorf("step %d: %+v", i, r)
		}
		if sum, n := total(t, db, "trA"); sum != step.sum || n != 1 {
			t.Errorf("step %d: %d in %d uses", i, sum, n)
		}
	}
	if r := mustRecord(t, d, bounded("trA", 8, 0, 0, c))[0]; r.Control != "control-count" {
		t.Errorf("a second slot: %+v", r)
	}
}

// race: processes that post at once never pass a bound, and use it up.
func race(t *testing.T, config store.Config) {
	first := storetest.Open(t, config)
	second, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	var posted, refused atomic.Int64
	var wg sync.WaitGroup
	for p, db := range []*store.DB{first, second} {
		d := tapdb.New(db, now)
		for g := range 4 {
			wg.Go(func() {
				for i := range 10 {
					ctr := uint16(1000*p + 100*g + i)
					r, err := d.Record(t.Context(), []account.Evidence{bounded("trA", ctr, 0, 100, token.Controls{MaxSum: 2500})}, nil)
					switch {
					case err != nil:
						t.Error(err)
					case r[0].Outcome == account.Posted:
						posted.Add(1)
					case r[0].Control == "control-sum":
						refused.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	if sum, n := total(t, first, "trA"); sum != 2500 || n != 25 || posted.Load() != 25 || refused.Load() != 55 {
		t.Errorf("%d in %d uses; %d posted, %d refused", sum, n, posted.Load(), refused.Load())
	}
}

// sums: whatever the order of arrival, the totals are those of what is posted.
func sums(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d, random := tapdb.New(db, now), rand.New(rand.NewPCG(5, 6))
	for round := range 20 {
		ref := token.Ref(fmt.Sprintf("tr%d", round))
		var all []account.Evidence
		for _, i := range random.Perm(24) {
			e := bounded(ref, uint16(i%6), byte(i/6), token.Amount(100+i), token.Controls{})
			if i%2 == 0 {
				e.Bounds = nil
			}
			all = append(all, e)
		}
		for rest := all; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			mustRecord(t, d, rest[:n]...)
			mustRecord(t, d, rest[:n]...)
			rest = rest[n:]
		}
		if _, n := total(t, db, ref); n != 6 {
			t.Errorf("%d uses in 6 slots", n)
		}
	}
}

func spend(t *testing.T, d *tapdb.DB, ref token.Ref, id string, amount token.Amount, c token.Controls) string {
	t.Helper()
	reason, err := d.Spend(t.Context(), ref, id, account.Bounds{Controls: c, Use: token.Use{Amount: amount}})
	if err != nil {
		t.Fatal(err)
	}
	return reason
}

// uses without a tap count once under each name, together with taps.
func uses(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	c := token.Controls{MaxSum: 500, MaxCount: 3}
	mustRecord(t, d, bounded("trA", 1, 0, 200, c))
	for _, step := range []struct {
		id     string
		amount token.Amount
		want   string
	}{
		{"one", 200, ""}, {"one", 200, ""}, {"one", 201, "use-reused"}, {"two", 101, "control-sum"},
		{"two", 100, ""}, {"three", 0, "control-count"}, {"two", 100, ""},
	} {
		if got := spend(t, d, "trA", step.id, step.amount, c); got != step.want {
			t.Errorf("%s over %d: %q, want %q", step.id, step.amount, got, step.want)
		}
	}
	if sum, n := total(t, db, "trA"); sum != 500 || n != 3 {
		t.Errorf("%d in %d uses", sum, n)
	}
	if got := spend(t, d, "trB", "one", 1, token.Controls{MaxCount: 1}); got != "" {
		t.Errorf("another token's use of the same name: %q", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Spend(t.Context(), "trA", "four", account.Bounds{}); fault.KindOf(err) != fault.StoreDown {
		t.Errorf("a closed database: %v", err)
	}
}

// usesRace: of many that spend one name at once, one counts.
func usesRace(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	d := tapdb.New(db, now)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 10 {
				if r := spend(t, d, "trA", fmt.Sprint(i), 10, token.Controls{MaxSum: 100}); r != "" {
					t.Errorf("use %d: %s", i, r)
				}
			}
		})
	}
	wg.Wait()
	if sum, n := total(t, db, "trA"); sum != 100 || n != 10 {
		t.Errorf("%d in %d uses", sum, n)
	}
}
