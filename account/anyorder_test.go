package account_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// world is a wallet with a few slots as the ledger sees it, without a database.
type world struct {
	lots    []*account.Lot
	b       ledger.Balances
	credit  bool
	shared  map[string]int64 // by account, and by party of OPERATOR_PAYABLE
	entries int
	seen    map[string]bool // ids of transfers
}

var accessNone access.Attempt

const theWallet = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")

var dayEnd = time.Date(2026, 3, 3, 4, 0, 0, 0, time.UTC)

// newWorld hands out slots of 1000 fen, each with so much money behind it.
func newWorld(free int64, credit bool, held ...token.Amount) *world {
	w := &world{b: ledger.Balances{Available: free}, credit: credit, shared: make(map[string]int64), seen: make(map[string]bool)}
	for i, h := range held {
		l := &account.Lot{Ref: "trT", Wallet: theWallet, Bundle: "b", Held: h, NotAfter: dayEnd, Issued: dayEnd.Add(-24 * time.Hour),
			UD: credential.UD{HourExp: 54000, Ctr: uint16(i), Cap: 100, Class: credential.Medium, KeyVer: 1}}
		w.b.Available += int64(h)
		w.post(l.Issue())
		w.lots = append(w.lots, l)
	}
	return w
}

// post checks each transfer as the store would.
func (w *world) post(moves []ledger.Transfer) {
	for _, m := range moves {
		if w.seen[m.ID()] {
			panic("a transfer's name is used twice")
		}
		w.seen[m.ID()] = true
		next, err := w.b.Apply(m)
		if err != nil || m.Check() != nil {
			panic(fmt.Sprintf("%+v on %+v: %v", m, w.b, err))
		}
		w.b = next
		w.entries++
		for a, n := range map[ledger.Account]int64{m.From: -int64(m.Amount), m.To: int64(m.Amount)} {
			if !slices.Contains(ledger.OfWallet, a) {
				w.shared[string(a)+m.Party] += n
			}
		}
	}
}

// wallet is whose slots they are.
func (w *world) wallet() account.Wallet {
	return account.Wallet{ID: theWallet, State: account.WalletActive, RealName: w.credit}
}

func (w *world) settle(l *account.Lot) {
	moves, after := l.Settle(w.b, w.wallet())
	w.post(moves)
	if after != w.b {
		panic(fmt.Sprintf("settling said %+v, the transfers come to %+v", after, w.b))
	}
	if again, _ := l.Settle(w.b, w.wallet()); len(again) > 0 {
		panic("settling twice posted twice")
	}
}

// step is one thing that becomes known.
type step struct {
	lot  int
	e    *account.Evidence // or
	says *account.Report
	free bool // the reserve is released
}

func (w *world) take(s step) {
	l := w.lots[s.lot]
	switch {
	case s.e != nil:
		l.Add(*s.e)
	case s.says != nil:
		account.Hear(w.lots, account.Word{Reports: []account.Report{*s.says}, At: dayEnd.Add(-time.Hour), Heard: dayEnd.Add(-time.Hour)})
	case s.free:
		l.Released = true
	}
	w.settle(l)
}

// print is what must not depend on any order: balances, what is owed to whom,
// what each slot came to and how each record stands.
func (w *world) print(all []account.Evidence) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n", w.b)
	for _, k := range []string{"OPERATOR_PAYABLEa", "OPERATOR_PAYABLEb", "OPERATOR_PAYABLE(disputed)", "FRAUD_LOSSa", "FRAUD_LOSSb", "SUSPENSE"} {
		fmt.Fprintln(&b, k, w.shared[k])
	}
	for _, l := range w.lots {
		fmt.Fprintf(&b, "%d %s %+v %v\n", l.Ctr(), l.State(), l.Posted, l.DiscardedAt)
	}
	for _, e := range all {
		entry, ok := w.lots[e.Tap.Seq].Find(e.ID())
		fmt.Fprintln(&b, e.ID(), ok, entry.Outcome, entry.Sources, entry.Reporter, entry.Rival, entry.Owned, entry.Status())
	}
	return b.String()
}

// facts draws evidence for slots: few proofs and few times, so that copies,
// replays, forks and records that two sides tell of are common.
func facts(random *rand.Rand, lots int) (steps []step, all []account.Evidence) {
	for range 2 + random.IntN(6) {
		i := random.IntN(lots)
		e := account.Evidence{Ref: "trT", TACGood: random.IntN(3) > 0, Moment: dayEnd.Add(-time.Duration(1+random.IntN(3)) * time.Hour),
			Reporter: string('a' + rune(random.IntN(2))), Fresh: random.IntN(3) > 0, Received: dayEnd,
			Sources: []account.Sources{account.ByTerminal, account.ByTerminal, account.ByPhone, account.ByFailure, account.BySystem}[random.IntN(5)]}
		e.Tap = account.Tap{UD: credential.UD{HourExp: 54000, Ctr: uint16(i), Cap: 100, Class: credential.Medium, KeyVer: 1}, Seq: uint16(i),
			Rand: [4]byte{byte(random.IntN(2))}, TermSeq: uint32(random.IntN(2)), Amount: token.Amount(100 * (1 + random.IntN(2))),
			Terminal: [6]byte{byte(e.Moment.Hour())}, Failed: e.Sources == account.ByFailure}
		if e.TACGood {
			e.Tap.TAC = [4]byte{1}
		}
		if random.IntN(4) == 0 {
			e.Late = account.Lateness(1 + random.IntN(2))
		}
		all, steps = append(all, e), append(steps, step{lot: i, e: &e})
		if random.IntN(4) == 0 { // so does somebody else, or somebody with a better right
			twin := e
			twin.Reporter = string('a' + rune(random.IntN(3)))
			if random.IntN(3) == 0 && e.Sources == account.ByTerminal {
				twin.Reporter, twin.Owned = "a", true
			}
			all, steps = append(all, twin), append(steps, step{lot: i, e: &twin})
		}
		if random.IntN(3) == 0 { // the other side tells of the same
			twin := e
			twin.Sources, twin.Reporter = account.ByPhone, "phone"
			all, steps = append(all, twin), append(steps, step{lot: i, e: &twin})
		}
	}
	if random.IntN(2) == 0 {
		i := random.IntN(lots)
		steps = append(steps, step{lot: i, says: &account.Report{Ctr: uint16(i), Status: account.ReportDiscarded}})
	}
	return steps, all
}

// TestProof04AnyOrder: every order, repetition and split of what phone, terminals
// and back office tell leads to one ledger and one standing for everything. What
// comes late comes after the reserve was released; all else before.
func TestProof04AnyOrder(t *testing.T) {
	for _, kind := range []struct {
		name   string
		free   int64
		credit bool
		held   []token.Amount
	}{
		{"prepaid", 5000, false, []token.Amount{1000, 1000, 1000}},
		{"in debt", 0, true, []token.Amount{1000, 400, 0}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(7, 8))
			for round := range 600 {
				steps, all := facts(random, len(kind.held))
				want := ""
				for range 25 {
					w := newWorld(kind.free, kind.credit, kind.held...)
					for _, s := range arrange(random, steps, len(kind.held)) {
						w.take(s)
					}
					got := w.print(all)
					if want == "" {
						want = got
					}
					if got != want {
						t.Fatalf("round %d: one order gives\n%sanother\n%s", round, want, got)
					}
				}
			}
		})
	}
	t.Run("every permutation", everyPermutation)
	t.Run("in the database", func(t *testing.T) {
		storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { orderInDatabase(t, db(t)) })
	})
}

// arrange puts steps into an order: each once or more often; releases after what
// came in time and before what came late.
func arrange(random *rand.Rand, steps []step, lots int) (out []step) {
	var early, late []step
	for _, i := range random.Perm(2 * len(steps)) {
		s := steps[i%len(steps)]
		again := i >= len(steps) && random.IntN(2) == 0
		switch {
		case again: // not twice
		case s.e != nil && s.e.Late > account.OnTime:
			late = append(late, s)
		default:
			early = append(early, s)
		}
	}
	out = early
	for i := range lots {
		out = append(out, step{lot: i, free: true})
	}
	for _, s := range early { // and some of it again, much later
		if random.IntN(3) == 0 {
			late = append(late, s)
		}
	}
	random.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	return append(out, late...)
}

// everyPermutation takes one slot with a real record, its altered copy, a second
// use and the phone's word through all orders.
func everyPermutation(t *testing.T) {
	real := account.Evidence{Ref: "trT", TACGood: true, Moment: dayEnd.Add(-2 * time.Hour), Reporter: "a", Fresh: true, Sources: account.ByTerminal,
		Tap: account.Tap{UD: credential.UD{HourExp: 54000, Cap: 100, Class: credential.Medium, KeyVer: 1}, Amount: 300, TAC: [4]byte{1}}}
	copied, second, phones := real, real, real
	copied.TACGood, copied.Tap.Terminal, copied.Reporter = false, [6]byte{9}, "b"
	second.Tap.Rand, second.Moment, second.Reporter = [4]byte{1}, real.Moment.Add(time.Hour), "b"
	phones.Sources, phones.Reporter = account.ByPhone, "phone"
	all := []account.Evidence{real, copied, second, phones}
	want := ""
	for _, order := range permutations(len(all)) {
		for twice := range len(all) {
			w := newWorld(0, false, 1000)
			for _, i := range append(order, twice) {
				w.take(step{e: &all[i]})
			}
			if got := w.print(all); want == "" {
				want = got
			} else if got != want {
				t.Fatalf("%v: one order gives\n%sanother\n%s", order, want, got)
			}
			if l := w.lots[0]; l.State() != account.SlotForked || w.shared["OPERATOR_PAYABLEa"] != 300 || w.shared["OPERATOR_PAYABLEb"] != 300 ||
				w.shared["FRAUD_LOSSb"] != -300 || w.b.Available != 700 {
				t.Fatalf("%v: %s", order, w.print(all))
			}
		}
	}
}

func permutations(n int) (out [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for i := range n {
			out = append(out, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return out
}

// TestSettleFor: what each set of facts about one slot comes to.
func TestSettleFor(t *testing.T) {
	at := func(minutes int, change func(*account.Evidence)) account.Evidence {
		e := account.Evidence{Ref: "trT", TACGood: true, Moment: dayEnd.Add(time.Duration(minutes-600) * time.Minute), Reporter: "a", Fresh: true,
			Sources: account.ByTerminal, Tap: account.Tap{UD: credential.UD{HourExp: 54000, Cap: 100, Class: credential.Medium, KeyVer: 1},
				Amount: 300, Rand: [4]byte{byte(minutes)}, TAC: [4]byte{byte(minutes)}}}
		if change != nil {
			change(&e)
		}
		return e
	}
	stale := func(e *account.Evidence) { e.Fresh = false }
	byPhone := func(e *account.Evidence) { e.Sources, e.Reporter = account.ByPhone, "phone" }
	failed := func(e *account.Evidence) { e.Sources = account.ByFailure }
	late := func(c account.Lateness) func(*account.Evidence) { return func(e *account.Evidence) { e.Late = c } }
	spoiled := func(e *account.Evidence) { e.TACGood, e.Tap.TAC = false, [4]byte{99} }
	for _, tc := range []struct {
		name              string
		facts             []account.Evidence
		released          bool
		operator, suspend int64
		fraud             int64
		b                 ledger.Balances
		state             account.SlotState
	}{
		{"nothing", nil, false, 0, 0, 0, ledger.Balances{Reserve: 1000}, account.SlotIssued},
		{"nothing, released", nil, true, 0, 0, 0, ledger.Balances{Available: 1000}, account.SlotExpired},
		{"a terminal's", []account.Evidence{at(1, nil)}, false, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotUsedTerm},
		{"a wrong PIN rides", []account.Evidence{at(1, func(e *account.Evidence) { e.TACGood = false })}, false, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotUsedTerm},
		{"the phone's frees nothing", []account.Evidence{at(1, byPhone)}, false, 0, 0, 0, ledger.Balances{Reserve: 1000}, account.SlotUsedPhone},
		{"the phone's, released", []account.Evidence{at(1, byPhone)}, true, 0, 300, 0, ledger.Balances{Available: 700}, account.SlotUsedPhone},
		{"both", []account.Evidence{at(1, byPhone), at(1, nil)}, false, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotSettled},
		{"no service", []account.Evidence{at(1, failed)}, false, 0, 0, 0, ledger.Balances{Available: 1000}, account.SlotBurned},
		{"no service, though the phone paid", []account.Evidence{at(1, failed), at(1, byPhone)}, false, 0, 0, 0, ledger.Balances{Available: 1000}, account.SlotBurned},
		{"no service, and then service", []account.Evidence{at(1, failed), at(1, nil)}, false, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotUsedTerm},
		{"twice", []account.Evidence{at(1, nil), at(2, nil)}, false, 600, 0, 300, ledger.Balances{Available: 700}, account.SlotForked},
		{"twice, at a stale list", []account.Evidence{at(1, nil), at(2, stale)}, false, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotForked},
		{"three times: once more is paid", []account.Evidence{at(1, nil), at(2, stale), at(3, nil)}, false, 600, 0, 300, ledger.Balances{Available: 700}, account.SlotForked},
		{"twice, once by the phone's word", []account.Evidence{at(1, byPhone), at(2, nil)}, false, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotForked},
		{"the phone spoils its TAC at the reader", []account.Evidence{at(1, spoiled), at(1, byPhone)}, false, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotUsedTerm},
		{"and is told of late", []account.Evidence{at(1, byPhone), at(1, spoiled)}, true, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotUsedTerm},
		{"a copy of what gave no service", []account.Evidence{at(1, failed), at(1, spoiled)}, false, 0, 0, 0, ledger.Balances{Available: 1000}, account.SlotBurned},
		{"twice, the second time spoiled", []account.Evidence{at(1, nil), at(2, byPhone), at(2, spoiled)}, false, 600, 0, 300, ledger.Balances{Available: 700}, account.SlotForked},
		{"late", []account.Evidence{at(1, late(account.PastDue))}, true, 300, 0, 0, ledger.Balances{Available: 700}, account.SlotUsedTerm},
		{"for the operator to claim", []account.Evidence{at(1, late(account.Manual))}, true, 0, 0, 0, ledger.Balances{Available: 1000}, account.SlotUsedTerm},
	} {
		w := newWorld(0, false, 1000)
		for _, e := range tc.facts {
			w.take(step{e: &e})
		}
		if tc.released {
			w.take(step{free: true})
		}
		operator := w.shared["OPERATOR_PAYABLEa"]
		if operator != tc.operator || w.shared["SUSPENSE"] != tc.suspend || -w.shared["FRAUD_LOSSa"] != tc.fraud || w.b != tc.b || w.lots[0].State() != tc.state {
			t.Errorf("%s: %v %+v %s", tc.name, w.shared, w.b, w.lots[0].State())
		}
	}
}

// TestUnpaid: of a holder without credit, what came too late takes what is there
// and no more; of one with credit, the rest is owed, and paid back first.
func TestUnpaid(t *testing.T) {
	e := account.Evidence{Ref: "trT", TACGood: true, Moment: dayEnd.Add(-time.Hour), Reporter: "a", Fresh: true, Sources: account.ByTerminal, Late: account.PastDue,
		Tap: account.Tap{UD: credential.UD{HourExp: 54000, Cap: 100, Class: credential.Medium, KeyVer: 1}, Amount: 300}}
	for _, tc := range []struct {
		credit bool
		paid   int64
		b      ledger.Balances
	}{{false, 100, ledger.Balances{}}, {true, 300, ledger.Balances{Due: 200}}} {
		w := newWorld(0, tc.credit, 1000)
		w.take(step{free: true})
		w.post([]ledger.Transfer{{Purpose: "web", Key: "w", Wallet: theWallet, From: ledger.Available, To: ledger.ExternalCash, Amount: 900}})
		w.take(step{e: &e})
		for range 2 { // paid in later: nothing is taken for the past of a holder without credit
			w.take(step{e: &e})
		}
		if w.shared["OPERATOR_PAYABLEa"] != tc.paid || w.b != tc.b {
			t.Errorf("credit %v: %v %+v", tc.credit, w.shared, w.b)
		}
	}
}
