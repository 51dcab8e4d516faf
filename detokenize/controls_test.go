package detokenize_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// one is a control of each kind that a purchase may break, and a use that does
// not.
var one = token.Controls{
	Requestors: []token.Requestor{bankID}, Locations: []token.Location{token.LocationDevice}, Merchants: []string{"metro"},
	TerminalGroups: []string{"line-1"}, MCC: []string{"4111"}, Channels: []token.Channel{token.Contactless},
	Countries: []string{"156"}, MaxAmount: 200, MaxSum: 500, MaxCount: 10,
}

var allowed = token.Use{Merchant: "metro", Terminal: "line-1", MCC: "4111", Channel: token.Contactless, Country: "156"}

// breaches change what is allowed, one thing each.
var breaches = map[string]struct {
	use    func(*token.Use)
	reason string
}{
	"another requestor's host": {func(u *token.Use) { u.Requestor = "99999999999" }, "control-requestor"},
	"another merchant":         {func(u *token.Use) { u.Merchant = "shop" }, "control-merchant"},
	"another terminal group":   {func(u *token.Use) { u.Terminal = "line-2" }, "control-terminal"},
	"another category":         {func(u *token.Use) { u.MCC = "5411" }, "control-mcc"},
	"another channel":          {func(u *token.Use) { u.Channel = token.Ecommerce }, "control-channel"},
	"another country":          {func(u *token.Use) { u.Country = "840" }, "control-country"},
}

// TestControlsOfWholeTaps: each control refuses alike, and nothing is posted or
// counted by what is refused.
func TestControlsOfWholeTaps(t *testing.T) {
	l := newLab(t)
	tok := l.issue(3, one)
	l.vault.Clock.Add(time.Hour)
	tap := l.tap(tok, 0, 10)
	q := detokenize.Query{Ref: tok.Ref, Tap: &tap, Where: allowed}
	for name, b := range breaches {
		bad := q
		b.use(&bad.Where)
		l.refused(name, bank, bad, detokenize.Settlement, b.reason)
	}
	silent := q
	silent.Where = token.Use{}
	l.refused("nothing is known of the purchase", bank, silent, detokenize.Settlement, "control-merchant")
	remote := l.issue(4, token.Controls{Locations: []token.Location{token.LocationRemote}})
	l.vault.Clock.Add(time.Minute)
	other := l.tap(remote, 0, 0)
	l.refused("another location", bank, detokenize.Query{Ref: remote.Ref, Tap: &other}, detokenize.Settlement, "control-location")

	if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); err != nil {
		t.Fatalf("what is allowed: %v, recorded %+v", err, l.notes.last())
	}
	for i, want := range []string{"", "control-sum", "control-sum"} {
		tap := l.tap(tok, 1+i, 20+i)
		q.Tap = &tap
		if want != "" {
			l.refused("over the sum", bank, q, detokenize.Settlement, want)
		} else if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); err != nil {
			t.Errorf("within the sum: %v", err)
		}
	}
}

// TestControlsOfAcceptedTaps: what was judged and counted when it was posted is
// not counted again, and what the caller says of it has to fit.
func TestControlsOfAcceptedTaps(t *testing.T) {
	l := newLab(t)
	tok := l.issue(3, one)
	l.vault.Clock.Add(time.Hour)
	tap := l.tap(tok, 0, 10)
	a, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: tok.Ref, Tap: &tap, Where: allowed}, detokenize.Settlement)
	if err != nil {
		t.Fatal(err)
	}
	q := detokenize.Query{Ref: tok.Ref, TapID: a.TapID}
	for range 12 { // more often than the token may be used
		if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); err != nil {
			t.Fatalf("saying nothing: %v", err)
		}
	}
	q.Where = allowed
	if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); err != nil {
		t.Errorf("saying what is allowed: %v", err)
	}
	for name, b := range breaches {
		bad := q
		b.use(&bad.Where)
		l.refused(name, bank, bad, detokenize.Settlement, b.reason)
	}
}

// TestUndecided: a token that the card's issuer has not approved gives nothing.
func TestUndecided(t *testing.T) {
	l := newLab(t)
	for i, d := range []token.Decision{token.DecisionPending, token.DecisionStepUp, token.DecisionDeclined} {
		o := l.vault.Order(t, 20+i)
		o.Decision = d
		tok, err := l.vault.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		l.refusedBy(string(d), access.DetokenizeDirect, l.Direct, bank, detokenize.Query{Ref: tok.Ref}, detokenize.Authorisation, "undecided")
	}
}

// TestDirect gives card numbers without evidence, to those who may ask so.
func TestDirect(t *testing.T) {
	l := newLab(t)
	for name, q := range map[string]detokenize.Query{"by reference": {Ref: l.tok.Ref}, "by number": {Number: l.tok.Number}} {
		for _, purpose := range detokenize.Purposes {
			a, err := l.Direct(t.Context(), bank, q, purpose)
			if err != nil || a.PAN.Reveal() != vaulttest.Card(t, 1).Reveal() || a.Expiry != "2912" || a.Ref != l.tok.Ref || a.PAR != l.tok.PAR || a.TapID != "" {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			if e := l.notes.last(); e.Action != access.DetokenizeDirect || e.Reason != purpose || e.Object != string(l.tok.Ref) {
				t.Errorf("%s: recorded %+v", name, e)
			}
		}
	}
	opened := l.opener.opened
	tap := l.tap(l.tok, 0, 10)
	for name, q := range map[string]detokenize.Query{
		"nothing": {}, "two names": {Ref: l.tok.Ref, Number: l.tok.Number}, "a tap id": {Ref: l.tok.Ref, TapID: "x"},
		"a tap": {Ref: l.tok.Ref, Tap: &tap}, "a signed result": {Ref: l.tok.Ref, Signed: true},
	} {
		if _, err := l.Direct(t.Context(), bank, q, detokenize.Dispute); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Direct(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref}, "fun"); err != detokenize.ErrPurpose {
		t.Errorf("another purpose: %v", err)
	}
	plain := bank
	plain.Scopes = []access.Action{access.Detokenize}
	for name, c := range map[string]access.Caller{"the other right": plain, "a terminal": gate, "nobody": {}} {
		if _, err := l.Direct(t.Context(), c, detokenize.Query{Ref: l.tok.Ref}, detokenize.Dispute); err != access.ErrDenied || l.notes.last().Reason != "denied" {
			t.Errorf("%s: %v", name, err)
		}
	}
	only := bank
	only.Scopes = []access.Action{access.DetokenizeDirect}
	if _, err := l.Detokenize(t.Context(), only, detokenize.Query{Ref: l.tok.Ref, Tap: &tap}, detokenize.Dispute); err != access.ErrDenied {
		t.Errorf("with evidence, by the direct right: %v", err)
	}
	if l.opener.opened != opened {
		t.Error("a card was opened")
	}
	const direct = access.DetokenizeDirect
	q := detokenize.Query{Ref: l.tok.Ref}
	l.refusedBy("another requestor's", direct, l.Direct, rival, q, detokenize.Dispute, "other-requestor")
	l.refusedBy("no such token", direct, l.Direct, bank, detokenize.Query{Ref: "trAAAAAAAAAAAAAAAAAAAAAAAAAA"}, detokenize.Dispute, "unknown")
	l.move(l.tok.Ref, token.Suspend)
	l.refusedBy("suspended", direct, l.Direct, bank, q, detokenize.Dispute, "suspended")
	l.move(l.tok.Ref, token.Resume)
	l.vault.Clock.Set(l.tok.NotAfter)
	l.refusedBy("window closed, to authorise", direct, l.Direct, bank, q, detokenize.Authorisation, "expired")
	if _, err := l.Direct(t.Context(), bank, q, detokenize.Settlement); err != nil {
		t.Errorf("window closed, to settle: %v", err)
	}
}

// TestDirectControls: to authorise, all controls are judged and each purchase
// counts once; for other purposes, what is said has to fit.
func TestDirectControls(t *testing.T) {
	l := newLab(t)
	tok := l.issue(3, one)
	const direct = access.DetokenizeDirect
	q := detokenize.Query{Ref: tok.Ref, Where: allowed, Purchase: "p1"}
	q.Where.Amount = 200
	for name, b := range breaches {
		for _, purpose := range detokenize.Purposes {
			bad := q
			b.use(&bad.Where)
			l.refusedBy(name, direct, l.Direct, bank, bad, purpose, b.reason)
		}
	}
	ask := func(name, id string, amount token.Amount, purpose, reason string) {
		t.Helper()
		q := q
		q.Purchase, q.Where.Amount = id, amount
		if reason != "" {
			l.refusedBy(name, direct, l.Direct, bank, q, purpose, reason)
		} else if _, err := l.Direct(t.Context(), bank, q, purpose); err != nil {
			t.Errorf("%s: %v, recorded %+v", name, err, l.notes.last())
		}
	}
	const a, s = detokenize.Authorisation, detokenize.Settlement
	ask("a purchase", "p1", 200, a, "")
	ask("the same again", "p1", 200, a, "")
	ask("the same for another amount", "p1", 199, a, "use-reused")
	ask("another", "p2", 200, a, "")
	ask("over the amount", "p3", 201, a, "control-amount")
	ask("over the sum", "p3", 101, a, "control-sum")
	ask("one without a name", "", 1, a, "unnamed-purchase")
	ask("one without a name, to settle", "", 200, s, "")
	ask("what is left", "p3", 100, a, "")
	ask("nothing is left", "p4", 1, a, "control-sum")
	ask("to settle, when amounts were judged before", "", 500, s, "")

	// A tap counts against the same bounds.
	tap := l.tap(tok, 0, 10)
	l.vault.Clock.Add(time.Hour)
	l.refused("a tap when nothing is left", bank, detokenize.Query{Ref: tok.Ref, Tap: &tap, Where: allowed}, s, "control-sum")

	// Without a bound on sum or count a purchase needs no name.
	free := l.issue(4, token.Controls{MaxAmount: 10})
	for amount, reason := range map[token.Amount]string{10: "", 11: "control-amount"} {
		q := detokenize.Query{Ref: free.Ref, Where: token.Use{Amount: amount}}
		if reason != "" {
			l.refusedBy("over the amount", direct, l.Direct, bank, q, a, reason)
		} else if _, err := l.Direct(t.Context(), bank, q, a); err != nil {
			t.Error(err)
		}
	}
}

// TestBatches answer each query by itself, in order.
func TestBatches(t *testing.T) {
	l := newLab(t)
	var queries, directs []detokenize.Query
	for i := range 8 {
		tap := l.tap(l.tok, i, 10+i)
		if i == 3 {
			tap.MAC2[0]++
		}
		queries = append(queries, detokenize.Query{Ref: l.tok.Ref, Tap: &tap})
		directs = append(directs, detokenize.Query{Ref: l.tok.Ref})
	}
	queries[5].Ref, directs[5].Ref = "trAAAAAAAAAAAAAAAAAAAAAAAAAA", "trAAAAAAAAAAAAAAAAAAAAAAAAAA"
	queries[6].Ref, directs[6].Ref = "", ""
	check := func(name string, items []detokenize.Item, err error, bad map[int]error) {
		t.Helper()
		if err != nil || len(items) != 8 {
			t.Fatalf("%s: %d answers, %v", name, len(items), err)
		}
		for i, item := range items {
			if item.Err != bad[i] || item.Err == nil && item.Answer.PAN.IsZero() || item.Err != nil && item.Answer != (detokenize.Answer{}) {
				t.Errorf("%s, query %d: %+v", name, i, item)
			}
		}
	}
	items, err := l.Batch(t.Context(), bank, queries, detokenize.Settlement)
	check("with evidence", items, err, map[int]error{3: detokenize.ErrRefused, 5: detokenize.ErrRefused, 6: detokenize.ErrQuery})
	items, err = l.DirectBatch(t.Context(), bank, directs, detokenize.Settlement)
	check("direct", items, err, map[int]error{5: detokenize.ErrRefused, 6: detokenize.ErrDirect})

	opened := l.opener.opened
	for name, n := range map[string]int{"none": 0, "too many": 501} {
		if _, err := l.Batch(t.Context(), bank, make([]detokenize.Query, n), detokenize.Settlement); err != detokenize.ErrBatch {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Batch(t.Context(), gate, queries, detokenize.Settlement); err != access.ErrDenied {
		t.Errorf("a terminal: %v", err)
	}
	if _, err := l.DirectBatch(t.Context(), bank, directs, "fun"); err != detokenize.ErrPurpose {
		t.Errorf("another purpose: %v", err)
	}
	if l.opener.opened != opened {
		t.Error("a card was opened")
	}
	if items, err := l.Batch(t.Context(), bank, make([]detokenize.Query, detokenize.MaxBatch), detokenize.Settlement); err != nil || len(items) != detokenize.MaxBatch {
		t.Errorf("the greatest batch: %d answers, %v", len(items), err)
	}
}

var _ detokenize.Evidence = (*account.Service)(nil)
