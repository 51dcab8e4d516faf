package load_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/load"
)

var desk = access.Caller{ID: "desk", Role: access.Operator, Scopes: access.ForRole(access.Operator)}

// hung is an order in SUSPENSE: its card obeyed and was spent from before it showed
// what it holds. tac is the proof that its host lost.
func hung(w *world, c *card, o load.Order) (r load.Record, tac [4]byte) {
	w.t.Helper()
	o, mac1 := c.start(o)
	b := must[load.Begun](w.t)(w.begin(c, o, mac1))
	tac, err := c.obey(b.At, b.MAC2)
	if err != nil {
		w.t.Fatal(err)
	}
	c.balance[b.Purse()]--
	r = must[load.Record](w.t)(w.reverse(c, b.Record))
	if r.State != load.Suspense {
		w.t.Fatal(r.State)
	}
	return r, tac
}

func decision(r load.Record, v load.Verdict) load.Decision {
	return load.Decision{Load: r.ID, In: r.State, Verdict: v, Reason: "read at the desk", Evidence: "case-7/2"}
}

func (w *world) decide(d load.Decision) (load.Matter, error) {
	return w.service.Decide(w.t.Context(), desk, d)
}

func (w *world) sums() map[ledger.Account]int64 {
	w.t.Helper()
	return must[map[ledger.Account]int64](w.t)(ledgerdb.Sums(w.db.Read(w.t.Context()), ""))
}

// TestDecisions: what hangs goes where somebody decides, once, and a proof that
// comes afterwards is heard. The service stops at each step on the way.
func TestDecisions(t *testing.T) {
	for name, tc := range map[string]struct {
		order          load.Order
		verdict        load.Verdict
		state, proven  load.State
		account, fraud int64 // what the account and the loss come to after the decision
		lost           int64 // and the loss after the proof
		hangs          int64 // what hangs after the proof
	}{
		"a load, settled":    {credit(800), load.Settle, load.Settled, load.Settled, money - 800, 0, 0, 0},
		"a load, reversed":   {credit(800), load.Reverse, load.Reversed, load.Disputed, money, 0, -800, 0},
		"an unload, settled": {debit(800), load.Settle, load.Settled, load.Settled, money + 800, 0, 0, 0},
		"an unload, reversed": {debit(800), load.Reverse, load.Reversed, load.Disputed, money, 0, 0,
			800}, // the card gave it, and nobody was given it
		"a limit, reversed": {overdraft(900), load.Reverse, load.Reversed, load.Disputed, money, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := newCard(t, 1)
			r, tac := hung(w, c, tc.order)
			d := decision(r, tc.verdict)
			for _, l := range append(losses[1:len(losses):len(losses)], losses[0]) {
				m, err := send(w, l, func() (load.Matter, error) { return w.decide(d) })
				if lost := l != "arrives"; lost != errors.Is(err, errLost) || !lost && m.State != tc.state {
					t.Fatalf("%s: %s, %v", l, m.State, err)
				}
			}
			m := must[load.Matter](t)(w.decide(d))
			if len(m.Decisions) != 1 || m.Decisions[0].By != desk.ID || m.Decisions[0].Evidence != d.Evidence || !m.Decisions[0].At.Equal(noon) {
				t.Errorf("%+v", m.Decisions)
			}
			if got := w.balances(mine); got != (ledger.Balances{Available: tc.account}) || w.sums()[ledger.FraudLoss] != tc.fraud || w.sums()[ledger.Suspense] != 0 {
				t.Errorf("%+v, %v", got, w.sums())
			}
			if got := must[load.Record](t)(w.confirm(c, r.ID, tac)); got.State != tc.proven {
				t.Errorf("proven afterwards: %s", got.State)
			}
			if got := w.balances(mine); got != (ledger.Balances{Available: tc.account}) || w.sums()[ledger.FraudLoss] != tc.lost || w.sums()[ledger.Suspense] != tc.hangs {
				t.Errorf("%+v, %v", got, w.sums())
			}
			// The first decision, asked for again, decides nothing about the dispute.
			if m := must[load.Matter](t)(w.decide(d)); m.State != tc.proven || len(m.Decisions) != 1 || m.Decided {
				t.Errorf("%+v", m)
			}
		})
	}
}

// TestDisputes: of a dispute somebody decides who bears it, and it stays one.
func TestDisputes(t *testing.T) {
	for name, tc := range map[string]struct {
		order          load.Order
		verdict        load.Verdict
		account, fraud int64
	}{
		"a load, the account pays":   {credit(800), load.Settle, money - 800, 0},
		"a load, the loss stays":     {credit(800), load.Reverse, money, -800},
		"an unload, the account has": {debit(800), load.Settle, money + 800, 0},
		"an unload, given otherwise": {debit(800), load.Reverse, money, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := newCard(t, 1)
			r, tac := hung(w, c, tc.order)
			must[load.Matter](t)(w.decide(decision(r, load.Reverse)))
			if r = must[load.Record](t)(w.confirm(c, r.ID, tac)); r.State != load.Disputed {
				t.Fatal(r.State)
			}
			d := decision(r, tc.verdict)
			for range 2 {
				m := must[load.Matter](t)(w.decide(d))
				if m.State != load.Disputed || !m.Decided || len(m.Decisions) != 2 || m.Waits(noon) {
					t.Errorf("%+v", m)
				}
				must[load.Record](t)(w.confirm(c, r.ID, tac)) // nothing new
				if got := w.balances(mine); got.Available != tc.account || w.sums()[ledger.FraudLoss] != tc.fraud || w.sums()[ledger.Suspense] != 0 {
					t.Errorf("%+v, %v", got, w.sums())
				}
			}
		})
	}
}

// TestDisputeWithoutMoney: an account that does not hold what it would have to pay
// pays nothing, and the other verdict is still possible.
func TestDisputeWithoutMoney(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	r, tac := hung(w, c, credit(800))
	must[load.Matter](t)(w.decide(decision(r, load.Reverse)))
	r = must[load.Record](t)(w.confirm(c, r.ID, tac))
	other := newCard(t, 2)
	o, mac1 := other.start(credit(money - 799))
	must[load.Begun](t)(w.begin(other, o, mac1))
	if _, err := w.decide(decision(r, load.Settle)); fault.KindOf(err) != fault.FundsShort {
		t.Errorf("it does not hold enough: %v", err)
	}
	if e := w.log.entries[len(w.log.entries)-1]; e.Outcome != audit.Refused || e.Reason != "funds" || e.Object != r.ID {
		t.Errorf("%+v", e)
	}
	if m := must[load.Matter](t)(w.decide(decision(r, load.Reverse))); m.Waits(noon) {
		t.Error("it still waits")
	}
}

// TestDecisionsAreRefused: nobody decides who may not, without saying why, about
// what does not wait, or otherwise than was decided; and no refusal moves money.
func TestDecisionsAreRefused(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	r, _ := hung(w, c, credit(800))
	before := w.balances(mine)
	good := decision(r, load.Reverse)
	change := func(f func(*load.Decision)) load.Decision { d := good; f(&d); return d }
	refused := func(name string, caller access.Caller, d load.Decision, want error) {
		t.Helper()
		if _, err := w.service.Decide(t.Context(), caller, d); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	other := desk
	other.Requestor = rival.Requestor
	auditor := access.Caller{ID: "auditor", Role: access.Auditor, Scopes: access.ForRole(access.Auditor)}
	refused("an issuer", bank, good, access.ErrDenied)
	refused("an auditor", auditor, good, access.ErrDenied)
	refused("another requestor's", other, good, load.ErrUnknown)
	refused("no such load", desk, change(func(d *load.Decision) { d.Load = "ldAAAAAAAAAAAAAAAAAAAAAAAAAA" }), load.ErrUnknown)
	refused("a card number", desk, change(func(d *load.Decision) { d.Load = "6222021234567894" }), load.ErrUnknown)
	for name, d := range map[string]load.Decision{
		"no reason":       change(func(d *load.Decision) { d.Reason = "  " }),
		"no evidence":     change(func(d *load.Decision) { d.Evidence = "" }),
		"too long":        change(func(d *load.Decision) { d.Reason = strings.Repeat("x", load.MaxReason+1) }),
		"two lines":       change(func(d *load.Decision) { d.Reason = "a\nb" }),
		"no verdict":      change(func(d *load.Decision) { d.Verdict = "" }),
		"a settled order": change(func(d *load.Decision) { d.In = load.Settled }),
	} {
		refused(name, desk, d, load.ErrDecision)
	}
	for name, d := range map[string]load.Decision{
		"a card number": change(func(d *load.Decision) { d.Evidence = "6222-0212 3456.7894" }),
		"one over both": change(func(d *load.Decision) { d.Reason, d.Evidence = "card 6222 0212", "3456-7894" }),
		"wide digits":   change(func(d *load.Decision) { d.Reason = "card ６２２２０２１２３４５６７８９４" }),
	} {
		refused(name, desk, d, load.ErrDigits)
	}
	refused("another state", desk, change(func(d *load.Decision) { d.In = load.Disputed }), load.ErrClosed)
	if got := w.balances(mine); got != before || w.sums()[ledger.Suspense] != 800 {
		t.Errorf("%+v, %v", got, w.sums())
	}
	must[load.Matter](t)(w.decide(good))
	refused("the other way", desk, change(func(d *load.Decision) { d.Verdict = load.Settle }), load.ErrDecided)
	refused("for another reason", desk, change(func(d *load.Decision) { d.Reason = "because" }), load.ErrDecided)
	if got := w.balances(mine); got.Available != money || w.sums()[ledger.Suspense] != 0 {
		t.Errorf("%+v, %v", got, w.sums())
	}
	allowed := 0
	for _, e := range w.log.entries {
		if strings.Contains(e.Object+e.Reason, "6222") {
			t.Errorf("recorded: %+v", e)
		}
		if e.Action == access.LoadDecide && e.Outcome == audit.Allowed && e.Object == r.ID &&
			e.Reason == `REVERSE of SUSPENSE, evidence "case-7/2": read at the desk` && e.Caller.ID == desk.ID {
			allowed++
		}
	}
	if allowed != 1 {
		t.Errorf("the decision stands in the record %d times", allowed)
	}
}

// TestOverdueIsDecided: an order of which nothing was heard for a day can be
// decided, as when its card is lost; a younger one waits for its card.
func TestOverdueIsDecided(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	o, mac1 := c.start(credit(500))
	b := must[load.Begun](t)(w.begin(c, o, mac1))
	d := decision(b.Record, load.Reverse)
	if _, err := w.decide(d); !errors.Is(err, load.ErrClosed) {
		t.Errorf("a young order: %v", err)
	}
	w.now = noon.Add(24 * time.Hour)
	if all, err := w.service.Matters(t.Context(), desk, load.Search{Limit: 9}); err != nil || len(all) != 1 || all[0].ID != b.ID {
		t.Errorf("%+v, %v", all, err)
	}
	if n, err := w.service.Waiting(t.Context()); n != 1 || err != nil {
		t.Errorf("%d wait, %v", n, err)
	}
	if m := must[load.Matter](t)(w.decide(d)); m.State != load.Reversed || w.balances(mine).Available != money || w.balances(mine).CardLoad != 0 {
		t.Errorf("%+v, %+v", m, w.balances(mine))
	}
	if _, err := w.begin(c, o, mac1); !errors.Is(err, load.ErrReversed) {
		t.Errorf("its order is given out again: %v", err)
	}
	if n, err := w.service.Waiting(t.Context()); n != 0 || err != nil {
		t.Errorf("%d wait, %v", n, err)
	}
}

// TestMatters: who may look at what waits, and at whose.
func TestMatters(t *testing.T) {
	w := newWorld(t)
	r, _ := hung(w, newCard(t, 1), credit(800))
	other := desk
	other.Requestor = rival.Requestor
	if all, err := w.service.Matters(t.Context(), other, load.Search{Limit: 9}); err != nil || len(all) != 0 {
		t.Errorf("another requestor's: %+v, %v", all, err)
	}
	if _, err := w.service.Matters(t.Context(), other, load.Search{Load: r.ID, Limit: 9}); !errors.Is(err, load.ErrUnknown) {
		t.Errorf("another requestor's: %v", err)
	}
	if _, err := w.service.Matters(t.Context(), bank, load.Search{Limit: 9}); !errors.Is(err, access.ErrDenied) {
		t.Errorf("an issuer: %v", err)
	}
	if _, err := w.service.Matters(t.Context(), desk, load.Search{Account: "6222021234567894", Limit: 9}); fault.KindOf(err) != fault.WalletUnknown {
		t.Errorf("a card number: %v", err)
	}
	if all, err := w.service.Matters(t.Context(), desk, load.Search{Load: r.ID, Limit: 9}); err != nil || len(all) != 1 || all[0].Record.ID != r.ID {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestDecisionSteps: each kind of order that waits can be decided both ways, and
// no decision creates money.
func TestDecisionSteps(t *testing.T) {
	for _, kind := range []load.Kind{load.Credit, load.Debit, load.Overdraft} {
		for _, s := range load.States {
			for _, v := range load.Verdicts {
				r := load.Record{Order: load.Order{Kind: kind, Account: mine, Amount: 5}, ID: "ldAAAAAAAAAAAAAAAAAAAAAAAAAA", State: s, CreatedAt: noon}
				d := decision(r, v)
				d.At = noon.Add(25 * time.Hour)
				next, moves, err := r.Decide(d)
				if waits := s.Open() || s == load.Started; waits != (err == nil) || waits != (d.Validate() == nil) {
					t.Errorf("%s %s %s: %v", kind, s, v, err)
				}
				if err == nil && (next.Waits(d.At) || kind == load.Overdraft && len(moves) > 0) {
					t.Errorf("%s %s %s: %+v, %v", kind, s, v, next, moves)
				}
				for _, m := range moves {
					if err := m.Check(); err != nil {
						t.Errorf("%s %s %s: %v", kind, s, v, err)
					}
				}
			}
		}
	}
}
