package token_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/token"
)

func TestAssurance(t *testing.T) {
	for _, a := range []token.Assurance{{}, {Method: "  "}, {Method: "00"}, {Method: "14", Data: "bank, by phone"}, {Method: "99"},
		{Data: strings.Repeat("x", 140)}, {Data: "12345678901"}} {
		if err := a.Check(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for _, a := range []token.Assurance{{Method: "1"}, {Method: "001"}, {Method: " 1"}, {Method: "ab"}, {Data: strings.Repeat("x", 141)},
		{Data: "a\nb"}, {Data: "é"}, {Data: "card " + pan16}} {
		refuses(t, "assurance", a.Method+a.Data, a.Check())
	}
}

func TestFormFactorAndDevice(t *testing.T) {
	for _, f := range token.FormFactors {
		if got, err := token.ParseFormFactor(string(f)); err != nil || got != f {
			t.Errorf("%q: %q, %v", f, got, err)
		}
	}
	for _, s := range []string{"Phone", "ring", " phone"} {
		_, err := token.ParseFormFactor(s)
		refuses(t, "form factor", s, err)
	}
	for _, s := range []string{"", "a", "urn:imei:35-209900", strings.Repeat("z", 64)} {
		if err := token.CheckDevice(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"a b", "a/b", "é", "a\n", strings.Repeat("z", 65)} {
		refuses(t, "device", s, token.CheckDevice(s))
	}
}

func TestNotice(t *testing.T) {
	for _, n := range []token.Notice{{Result: token.Success}, {Result: token.Failure, Reason: "no room on the element"}} {
		if err := n.Check(); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
	for _, n := range []token.Notice{{}, {Result: "success"}, {Result: token.Failure, Reason: strings.Repeat("x", 65)},
		{Result: token.Failure, Reason: "a\x00"}, {Result: token.Failure, Reason: "card " + pan16}} {
		refuses(t, "notice", n.Reason, n.Check())
	}
}

func TestSuspendersAndDecisions(t *testing.T) {
	for _, s := range token.Suspenders {
		if got, err := token.ParseSuspender(string(s)); err != nil || got != s {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "issuer", "EVERYBODY"} {
		if _, err := token.ParseSuspender(s); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, d := range token.Decisions {
		v, ok := d.Verb()
		if ok == (d == token.DecisionPending) {
			t.Errorf("%s is made by %q", d, v)
		}
		if back, is := v.Verdict(); ok && (!is || back != d) {
			t.Errorf("%s makes %s, not %s", v, back, d)
		}
		if d.Allows() != (d == token.DecisionApproved) {
			t.Errorf("%s allows: %v", d, d.Allows())
		}
	}
	if v, ok := token.Decision("MAYBE").Verb(); ok {
		t.Errorf("%q decides MAYBE", v)
	}
}

// TestMay: every verb, in every state, with every decision: what is handed out,
// resumed or renewed has been approved, and a decision that let a token out is
// not taken back by deciding again.
func TestMay(t *testing.T) {
	approved := map[token.Verb]bool{token.Deliver: true, token.Activate: true, token.Provision: true, token.Resume: true, token.Renew: true}
	decides := map[token.Verb]bool{token.Approve: true, token.StepUp: true, token.Decline: true}
	for _, s := range token.States {
		for _, d := range append(token.Decisions, "") {
			tok := token.Token{State: s, Decision: d}
			if tok.Live(tok.NotAfter, 1) != (s.Usable() && d.Allows()) {
				t.Errorf("%s, %s: live", s, d)
			}
			for _, v := range token.Verbs {
				_, want := s.Next(v)
				if approved[v] && !d.Allows() || decides[v] && s != token.Requested && d.Allows() {
					want = false
				}
				if got := tok.May(v); got != want {
					t.Errorf("%s, %s: may %s: %v", s, d, v, got)
				}
			}
			if tok.May("burn") {
				t.Errorf("%s burns", s)
			}
		}
	}
}
