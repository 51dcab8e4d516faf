package token_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
)

// TestEveryMove: the whole table, written out; "-" refuses.
func TestEveryMove(t *testing.T) {
	const (
		R, L, A = token.Requested, token.Delivered, token.Active
		S, E, D = token.Suspended, token.Expired, token.Deleted
		no      = token.State("-")
	)
	verbs := []token.Verb{token.Deliver, token.Activate, token.Suspend, token.Resume, token.Expire, token.Delete,
		token.Approve, token.StepUp, token.Decline, token.Provision, token.Fail, token.Update, token.Renew, token.Replace}
	table := map[token.State][]token.State{
		//  del act sus res exp del   appr step decl  prov fail  upd ren repl
		R: {L, A, S, no, E, D, R, R, D, A, R, R, R, R},
		L: {L, A, S, no, E, D, no, no, no, A, L, L, L, L},
		A: {A, A, S, no, E, D, no, no, no, A, A, A, A, A},
		S: {no, no, S, A, E, D, S, S, D, S, S, S, no, S},
		E: {no, no, no, no, E, D, no, no, no, no, no, no, E, no},
		D: {no, no, no, no, no, D, no, no, no, no, no, no, no, no},
	}
	if len(table) != len(token.States) || len(verbs) != len(token.Verbs) {
		t.Fatal("the table is not whole")
	}
	for _, from := range token.States {
		for i, v := range verbs {
			next, ok := from.Next(v)
			if want := table[from][i]; ok != (want != no) || ok && next != want {
				t.Errorf("%s %s: %q, %v; want %q", from, v, next, ok, want)
			}
		}
		if _, ok := from.Next("burn"); ok {
			t.Errorf("%s burns", from)
		}
	}
	for _, v := range token.Verbs {
		if _, ok := token.State("LOST").Next(v); ok {
			t.Errorf("an unknown state can %s", v)
		}
	}
}

func TestLive(t *testing.T) {
	from := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)
	to := from.Add(24 * time.Hour)
	const skew = 2 * time.Minute
	usable := map[token.State]bool{token.Requested: true, token.Delivered: true, token.Active: true}
	for _, s := range token.States {
		tok := token.Token{State: s, NotBefore: from, NotAfter: to}
		if s.Usable() != usable[s] {
			t.Errorf("%s: usable %v", s, s.Usable())
		}
		for _, c := range []struct {
			at   time.Time
			skew time.Duration
			in   bool
		}{
			{from, 0, true}, {from.Add(-1), 0, false}, {to.Add(-1), 0, true}, {to, 0, false},
			{from.Add(-skew), skew, true}, {from.Add(-skew - 1), skew, false},
			{to.Add(skew - 1), skew, true}, {to.Add(skew), skew, false},
		} {
			if got := tok.Live(c.at, c.skew); got != (c.in && usable[s]) {
				t.Errorf("%s at %v: %v", s, c.at, got)
			}
		}
	}
}
