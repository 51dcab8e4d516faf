package account_test

import (
	"slices"
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
)

// controlled makes the lab's token one of the nth card under controls.
func (l *lab) controlled(n int, c token.Controls) {
	l.t.Helper()
	o := l.vault.Order(l.t, n)
	o.Controls = c
	l.tok = l.deliver(o)
}

// TestControls: outside, all controls refuse alike; the record says which.
func TestControls(t *testing.T) {
	l := newLab(t)
	for i, tc := range []struct {
		name     string
		controls token.Controls
		control  string // "": posted
	}{
		{"none", token.Controls{}, ""},
		{"all, and all hold", token.Controls{Requestors: []token.Requestor{"12345678901"}, Locations: []token.Location{token.LocationDevice},
			Merchants: []string{"metro"}, TerminalGroups: []string{"gate-7"}, MCC: []string{"4111"}, Channels: []token.Channel{token.Contactless},
			Countries: []string{"156"}, MaxAmount: 200, MaxSum: 200, MaxCount: 1}, ""},
		{"location", token.Controls{Locations: []token.Location{token.LocationRemote}}, "control-location"},
		{"merchant", token.Controls{Merchants: []string{"shop"}}, "control-merchant"},
		{"terminal group", token.Controls{TerminalGroups: []string{"gate-8"}}, "control-terminal"},
		{"category", token.Controls{MCC: []string{"5411"}}, "control-mcc"},
		{"channel", token.Controls{Channels: []token.Channel{token.Ecommerce, token.InApp}}, "control-channel"},
		{"country", token.Controls{Countries: []string{"840"}}, "control-country"},
		{"amount", token.Controls{MaxAmount: 199}, "control-amount"},
		{"sum", token.Controls{MaxSum: 199}, "control-sum"},
	} {
		l.controlled(200+i, tc.controls)
		l.log.reasons()
		r := l.one(l.tap(0, 5))
		told := l.log.reasons()
		if tc.control == "" {
			l.want(tc.name, r, account.Posted, "")
			continue
		}
		l.want(tc.name, r, account.Rejected, account.NotAllowed)
		if r.Control != tc.control || !slices.Equal(told, []string{tc.control}) {
			t.Errorf("%s: %+v, recorded %v", tc.name, r, told)
		}
		if l.state() == token.Active {
			t.Errorf("%s: a refused tap made the token active", tc.name)
		}
	}
}

// TestTotals: what only the totals refuse is refused in the transaction that
// posts the others, and recorded all the same.
func TestTotals(t *testing.T) {
	l := newLab(t)
	l.controlled(201, token.Controls{MaxSum: 500, MaxCount: 4})
	l.log.reasons()
	r := l.upload(l.tap(0, 5), l.tap(1, 6), l.tap(2, 7), l.tap(0, 5))
	l.want("first", r[0], account.Posted, "")
	l.want("second", r[1], account.Posted, "")
	l.want("over the sum", r[2], account.Rejected, account.NotAllowed)
	l.want("first again", r[3], account.Duplicate, "")
	if told := l.log.reasons(); !slices.Equal(told, []string{"control-sum"}) {
		t.Errorf("recorded %v", told)
	}
	small := func(x *account.Tap) { x.Amount = 50 }
	l.want("what is left", l.one(l.tap(3, 8, small)), account.Posted, "")
	l.want("the fourth", l.one(l.tap(4, 9, small)), account.Posted, "")
	l.want("a fifth of nothing", l.one(l.tap(5, 10, func(x *account.Tap) { x.Amount = 0 })), account.Rejected, account.NotAllowed)
	if told := l.log.reasons(); !slices.Equal(told, []string{"control-count"}) {
		t.Errorf("recorded %v", told)
	}
	l.want("the first, still", l.one(l.tap(0, 5)), account.Duplicate, "")
}

// TestUnknownPlace: a control on what is not known of a terminal refuses.
func TestUnknownPlace(t *testing.T) {
	l := newLab(t)
	l.controlled(201, token.Controls{Merchants: []string{"metro"}})
	r, err := l.Upload(t.Context(), gate, "gate-9", []account.Tap{l.tap(0, 5)})
	if err != nil || r[0].Control != "control-merchant" {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestJudgeWhere: a service that knows the purchase says where it was.
func TestJudgeWhere(t *testing.T) {
	l := newLab(t)
	l.controlled(201, token.Controls{Merchants: []string{"shop"}, Channels: []token.Channel{token.Contactless}})
	for _, tc := range []struct {
		where   token.Use
		control string
	}{
		{token.Use{}, "control-merchant"},
		{token.Use{Merchant: "metro"}, "control-merchant"},
		{token.Use{Merchant: "shop", Channel: token.Ecommerce}, "control-channel"},
		{token.Use{Merchant: "shop"}, ""},
		{token.Use{Merchant: "metro"}, ""}, // posted before: it is a duplicate
	} {
		r, _, err := l.Judge(t.Context(), gate, l.tap(0, 5), tc.where)
		if err != nil || r.Control != tc.control || r.Good() != (tc.control == "") {
			t.Errorf("%+v: %+v, %v", tc.where, r, err)
		}
	}
}

// TestSpend counts uses that no tap proves together with taps.
func TestSpend(t *testing.T) {
	l := newLab(t)
	l.controlled(201, token.Controls{MaxCount: 2, Locations: []token.Location{token.LocationDevice}})
	l.want("a tap", l.one(l.tap(0, 5)), account.Posted, "")
	for _, tc := range []struct{ id, want string }{{"a", ""}, {"a", ""}, {"b", "control-count"}} {
		if got, err := l.Spend(t.Context(), l.tok.Standing(), token.Use{Amount: 1}, tc.id); err != nil || got != tc.want {
			t.Errorf("%s: %q, %v", tc.id, got, err)
		}
	}
	l.want("a tap too many", l.one(l.tap(1, 6)), account.Rejected, account.NotAllowed)
	for _, id := range []string{"", "two words", string(make([]byte, 65)), "é"} {
		if _, err := l.Spend(t.Context(), l.tok.Standing(), token.Use{}, id); err == nil {
			t.Errorf("%q names a use", id)
		}
	}
}

// TestSpendElsewhere: the name of a use that was counted opens no other door.
func TestSpendElsewhere(t *testing.T) {
	l := newLab(t)
	l.controlled(201, token.Controls{MaxCount: 2, Merchants: []string{"shop"}})
	for _, tc := range []struct{ merchant, want string }{{"shop", ""}, {"casino", "control-merchant"}, {"shop", ""}} {
		got, err := l.Spend(t.Context(), l.tok.Standing(), token.Use{Amount: 1, Merchant: tc.merchant}, "order-1")
		if err != nil || got != tc.want {
			t.Errorf("%s: %q, %v", tc.merchant, got, err)
		}
	}
}

// TestControlsNeedTheirRecord: a refusal that cannot be recorded is no answer.
func TestControlsNeedTheirRecord(t *testing.T) {
	l := newLab(t)
	l.controlled(201, token.Controls{MaxCount: 1})
	l.want("the one", l.one(l.tap(0, 5)), account.Posted, "")
	l.log.failing = func(reason string) bool { return reason == "control-count" }
	if r, err := l.Upload(t.Context(), gate, "gate-7", []account.Tap{l.tap(1, 6)}); err == nil {
		t.Errorf("answered %+v without a record", r)
	}
}
