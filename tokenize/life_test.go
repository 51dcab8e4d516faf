package tokenize_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

const day = 24 * time.Hour

// agreed is a shop whose bank has a policy.
func agreed(t testing.TB, f *vaulttest.Fixture, p tokenize.Policy) shop {
	return build(t, f, nil, func(c *tokenize.Config) { c.Policies = map[token.Requestor]tokenize.Policy{bankID: p} })
}

func (s shop) want(t testing.TB, ref token.Ref, state token.State, held ...token.Suspender) token.Token {
	t.Helper()
	got, err := s.Token(t.Context(), bank, ref)
	if err != nil || got.State != state || len(held)+len(got.Suspenders) > 0 && !reflect.DeepEqual(got.Suspenders, held) {
		t.Errorf("%v held by %v, %v; want %s held by %v", got.State, got.Suspenders, err, state, held)
	}
	return got
}

func TestRequestCarriesEverything(t *testing.T) {
	s := open(t)
	r := request(t, 1)
	r.PSN, r.FormFactor, r.Device = "01", token.FormWatch, "watch-7"
	r.Assurance = token.Assurance{Method: "12", Data: "in the app"}
	r.Controls = token.Controls{MCC: []string{"4111"}, MaxAmount: 1000}
	made, err := s.Request(t.Context(), bank, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []token.Token{made, s.want(t, made.Ref, token.Requested)} {
		if got.PSN != r.PSN || got.FormFactor != r.FormFactor || got.Device != r.Device || got.Assurance != r.Assurance ||
			!reflect.DeepEqual(got.Controls, r.Controls) || got.Decision != token.DecisionApproved {
			t.Errorf("%+v", got)
		}
	}
	for name, change := range map[string]func(*tokenize.Request){
		"form factor": func(r *tokenize.Request) { r.FormFactor = "ring" },
		"device":      func(r *tokenize.Request) { r.Device = "a b" },
		"assurance":   func(r *tokenize.Request) { r.Assurance.Method = "x" },
		"controls":    func(r *tokenize.Request) { r.Controls.MCC = []string{"x"} },
	} {
		bad := r
		change(&bad)
		_, err := s.Request(t.Context(), bank, bad)
		kind(t, name, err, fault.Malformed)
	}
	if n := s.tokens(t); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

func TestLifetimes(t *testing.T) {
	s := open(t)
	tomorrow := &token.Day{Year: 2026, Month: time.March, Day: 3}
	for _, c := range []struct {
		form  token.FormFactor
		life  time.Duration
		day   *token.Day
		begin time.Time
		err   fault.Kind
	}{
		{"", time.Hour, nil, vaulttest.Start, ""},
		{"", 7 * day, nil, vaulttest.Start, ""},
		{token.FormPhone, 25 * time.Hour, tomorrow, vaulttest.Start.Add(15 * time.Hour), ""},
		{token.FormCardOnFile, 5 * 365 * day, nil, vaulttest.Start, ""},
		{"", time.Hour - 1, nil, time.Time{}, fault.Malformed},
		{"", -time.Hour, nil, time.Time{}, fault.Malformed},
		{token.FormPhone, 7*day + 1, nil, time.Time{}, fault.Malformed},
		{token.FormCardOnFile, 5*366*day + 1, nil, time.Time{}, fault.Malformed},
		{"", time.Hour, &token.Day{Year: 2026, Month: time.March, Day: 4}, time.Time{}, fault.DayOutOfReach},
	} {
		r := request(t, 1)
		r.FormFactor, r.Lifetime, r.Day = c.form, c.life, c.day
		got, err := s.Request(t.Context(), bank, r)
		if c.err != "" {
			kind(t, fmt.Sprint(c.form, c.life), err, c.err)
			continue
		}
		if err != nil || !got.NotBefore.Equal(c.begin) || got.NotAfter.Sub(got.NotBefore) != c.life || got.Expiry.Before(got.NotAfter) {
			t.Errorf("%s %v: %v to %v, expiry %s, %v", c.form, c.life, got.NotBefore, got.NotAfter, got.Expiry, err)
		}
	}
}

func TestDuplicates(t *testing.T) {
	s := agreed(t, vaulttest.New(t), tokenize.Policy{Duplicates: tokenize.SameToken})
	ask := func(change func(*tokenize.Request)) token.Token {
		t.Helper()
		r := request(t, 1)
		r.Device = "d1"
		change(&r)
		tok, err := s.Request(t.Context(), bank, r)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	first := ask(func(*tokenize.Request) {})
	tomorrow := &token.Day{Year: 2026, Month: time.March, Day: 3}
	same := map[string]func(*tokenize.Request){
		"once more":                 func(*tokenize.Request) {},
		"by name of the day":        func(r *tokenize.Request) { r.Day = &token.Day{Year: 2026, Month: time.March, Day: 2} },
		"another expiry date":       func(r *tokenize.Request) { r.PANExpiry = "3012" },
		"another attempt":           func(r *tokenize.Request) { r.Attempt.Key = "a" },
		"other controls, too late ": func(r *tokenize.Request) { r.Controls.MaxCount = 1 },
	}
	for name, change := range same {
		if got := ask(change); got.Ref != first.Ref {
			t.Errorf("%s: another token", name)
		}
	}
	if e := s.notes.last(); e.Object != string(first.Ref) || e.Reason != "asked-again" {
		t.Errorf("recorded %+v", e)
	}
	for name, change := range map[string]func(*tokenize.Request){
		"another device": func(r *tokenize.Request) { r.Device = "d2" },
		"no device":      func(r *tokenize.Request) { r.Device = "" },
		"tomorrow":       func(r *tokenize.Request) { r.Day = tomorrow },
		"a lifetime":     func(r *tokenize.Request) { r.Lifetime = 2 * day },
		"another card":   func(r *tokenize.Request) { r.PAN = vaulttest.Card(t, 2) },
	} {
		got := ask(change)
		if again := ask(change); got.Ref == first.Ref || again.Ref != got.Ref {
			t.Errorf("%s: %v, then %v", name, got.Ref, again.Ref)
		}
	}
	// One that is held back is still the one; a deleted or expired one is not.
	if _, err := s.Move(t.Context(), bank, tokenize.Move{Ref: first.Ref, Verb: token.Suspend}); err != nil {
		t.Fatal(err)
	}
	if got := ask(same["once more"]); got.Ref != first.Ref || got.State != token.Suspended {
		t.Errorf("a suspended token: %v", got)
	}
	if _, err := s.Move(t.Context(), bank, tokenize.Move{Ref: first.Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	second := ask(same["once more"])
	if second.Ref == first.Ref || ask(same["once more"]).Ref != second.Ref {
		t.Error("after deleting")
	}
	if got := ask(same["another attempt"]); got.Ref != first.Ref || got.State != token.Deleted {
		t.Errorf("an attempt was answered anew: %v", got)
	}
	s.Clock.Set(second.NotAfter)
	if got := ask(func(*tokenize.Request) {}); got.Ref == second.Ref || !got.NotBefore.Equal(second.NotAfter) {
		t.Errorf("the next day: %v", got)
	}
}

// TestDuplicatesRace: two processes, many callers, one token; and without the
// policy, as many tokens as questions.
func TestDuplicatesRace(t *testing.T) {
	for _, c := range []struct {
		policy tokenize.Duplicates
		want   int
	}{{tokenize.SameToken, 1}, {tokenize.NewToken, 16}, {"", 16}} {
		f := vaulttest.New(t)
		shops := []shop{agreed(t, f, tokenize.Policy{Duplicates: c.policy}), agreed(t, f.Again(t), tokenize.Policy{Duplicates: c.policy})}
		var refs sync.Map
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				r := request(t, 1)
				r.Device = "d"
				tok, err := shops[i%2].Request(t.Context(), bank, r)
				if err != nil {
					t.Error(err)
				}
				refs.Store(tok.Ref, true)
			})
		}
		wg.Wait()
		n := 0
		refs.Range(func(any, any) bool { n++; return true })
		if n != c.want || shops[0].tokens(t) != int64(c.want) {
			t.Errorf("%q: %d references, %d tokens, want %d", c.policy, n, shops[0].tokens(t), c.want)
		}
	}
}

// TestLifetimeDuplicates: a renewed token of a lifetime is the one that lives
// when the one before it has ended, and not sooner.
func TestLifetimeDuplicates(t *testing.T) {
	s := agreed(t, vaulttest.New(t), tokenize.Policy{Duplicates: tokenize.SameToken})
	r := request(t, 1)
	r.Lifetime = 2 * time.Hour
	ask := func() token.Token {
		t.Helper()
		tok, err := s.Request(t.Context(), bank, r)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	first := ask()
	next, err := s.Renew(t.Context(), bank, first.Ref, access.Attempt{})
	if err != nil || next.Ref == first.Ref {
		t.Fatal(err)
	}
	if got := ask(); got.Ref != first.Ref {
		t.Error("the next token took the place of the living one")
	}
	s.Clock.Set(first.NotAfter)
	if got := ask(); got.Ref != next.Ref {
		t.Error("the next token was passed over")
	}
	s.Clock.Set(next.NotAfter)
	if got := ask(); got.Ref == next.Ref || got.Ref == first.Ref {
		t.Error("a dead token was given out")
	}
}

func TestSuspenders(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	backend := bank
	backend.Scopes = []access.Action{access.TokenManage, access.TokenRead} // does not speak for the card's issuer
	move := func(c access.Caller, by token.Suspender, v token.Verb) error {
		_, err := s.Move(t.Context(), c, tokenize.Move{Ref: tok.Ref, Verb: v, By: by})
		return err
	}
	for _, c := range []struct {
		caller access.Caller
		by     token.Suspender
		v      token.Verb
		err    fault.Kind
		state  token.State
		held   []token.Suspender
	}{
		{backend, token.ByRequestor, token.Suspend, "", token.Suspended, []token.Suspender{token.ByRequestor}},
		{backend, token.ByIssuer, token.Suspend, fault.Denied, token.Suspended, []token.Suspender{token.ByRequestor}},
		{backend, token.ByRisk, token.Suspend, fault.Denied, token.Suspended, []token.Suspender{token.ByRequestor}},
		{operator, token.ByRequestor, token.Resume, fault.Denied, token.Suspended, []token.Suspender{token.ByRequestor}},
		{operator, token.ByIssuer, token.Suspend, "", token.Suspended, []token.Suspender{token.ByRequestor, token.ByIssuer}},
		{backend, token.ByHolder, token.Suspend, "", token.Suspended, []token.Suspender{token.ByRequestor, token.ByIssuer, token.ByHolder}},
		{backend, token.ByRequestor, token.Resume, "", token.Suspended, []token.Suspender{token.ByIssuer, token.ByHolder}},
		{backend, token.ByRequestor, token.Resume, fault.TokenState, token.Suspended, []token.Suspender{token.ByIssuer, token.ByHolder}},
		{backend, token.ByIssuer, token.Resume, fault.Denied, token.Suspended, []token.Suspender{token.ByIssuer, token.ByHolder}},
		{backend, token.ByHolder, token.Resume, "", token.Suspended, []token.Suspender{token.ByIssuer}},
		{bank, token.ByIssuer, token.Resume, "", token.Active, nil},
		{bank, "SOMEBODY", token.Suspend, fault.Malformed, token.Active, nil},
		{operator, token.ByPINLock, token.Suspend, "", token.Suspended, []token.Suspender{token.ByPINLock}},
	} {
		err := move(c.caller, c.by, c.v)
		if c.err != "" {
			kind(t, fmt.Sprint(c.v, c.by), err, c.err)
		} else if err != nil {
			t.Errorf("%s as %s: %v", c.v, c.by, err)
		}
		s.want(t, tok.Ref, c.state, c.held...)
	}
	// Time ends it, and nobody forgets.
	held := s.want(t, tok.Ref, token.Suspended, token.ByPINLock)
	s.Clock.Set(tok.NotAfter)
	if got := s.want(t, tok.Ref, token.Expired, token.ByPINLock); !got.ChangedAt.Equal(held.ChangedAt) {
		t.Errorf("held back since %v, shown %v", held.ChangedAt, got.ChangedAt)
	}
	if n, err := s.Sweep(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := s.want(t, tok.Ref, token.Expired, token.ByPINLock); !got.ChangedAt.Equal(held.ChangedAt) {
		t.Errorf("held back since %v, stored %v", held.ChangedAt, got.ChangedAt)
	}
	_, err := s.Renew(t.Context(), bank, tok.Ref, access.Attempt{})
	kind(t, "renewing what was held back to its end", err, fault.TokenState)
}

func TestDecide(t *testing.T) {
	s := agreed(t, vaulttest.New(t), tokenize.Policy{Decide: true})
	decide := func(ref token.Ref, d token.Decision) (token.Token, error) {
		return s.Decide(t.Context(), bank, ref, d, access.Attempt{})
	}
	tok := s.issue(t, 1)
	if tok.Decision != token.DecisionPending || tok.Live(s.Clock.Now(), time.Minute) {
		t.Fatalf("%+v", tok)
	}
	_, err := s.Notify(t.Context(), bank, tok.Ref, token.Notice{Result: token.Success}, access.Attempt{})
	kind(t, "provisioned without a decision", err, fault.TokenState)
	_, err = s.Renew(t.Context(), bank, tok.Ref, access.Attempt{})
	kind(t, "renewed without a decision", err, fault.TokenState)
	_, err = decide(tok.Ref, token.DecisionPending)
	kind(t, "deciding nothing", err, fault.Malformed)
	_, err = s.Decide(t.Context(), access.Caller{ID: "w", Role: access.Wallet, Scopes: access.Actions}, tok.Ref, token.DecisionApproved, access.Attempt{})
	kind(t, "a wallet", err, fault.Denied)

	if got, err := decide(tok.Ref, token.DecisionStepUp); err != nil || got.State != token.Requested || got.Decision != token.DecisionStepUp {
		t.Fatalf("%+v, %v", got, err)
	}
	// A suspension cannot be used to slip past the decision.
	for _, v := range []token.Verb{token.Suspend, token.Resume} {
		_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: v})
	}
	kind(t, "resumed without a decision", err, fault.TokenState)
	if got, err := decide(tok.Ref, token.DecisionApproved); err != nil || got.State != token.Suspended || got.Decision != token.DecisionApproved {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = decide(tok.Ref, token.DecisionDeclined)
	kind(t, "declined after it was approved and left", err, fault.TokenState)
	if got, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Resume}); err != nil || !got.Live(s.Clock.Now(), time.Minute) {
		t.Fatalf("%+v, %v", got, err)
	}

	declined := s.issue(t, 2)
	if got, err := decide(declined.Ref, token.DecisionDeclined); err != nil || got.State != token.Deleted || got.Decision != token.DecisionDeclined {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = decide(declined.Ref, token.DecisionApproved)
	kind(t, "approved after all", err, fault.TokenState)
}

func TestNotify(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	got, err := s.Notify(t.Context(), bank, tok.Ref, token.Notice{Result: token.Failure, Reason: "no room"}, access.Attempt{})
	if err != nil || got.State != token.Requested || got.Provisioned == nil || got.Provisioned.Reason != "no room" {
		t.Fatalf("%+v, %v", got, err)
	}
	got, err = s.Notify(t.Context(), bank, tok.Ref, token.Notice{Result: token.Success}, access.Attempt{})
	if err != nil || got.State != token.Active || *got.Provisioned != (token.Notice{Result: token.Success, At: s.Clock.Now()}) {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = s.Notify(t.Context(), bank, tok.Ref, token.Notice{Result: "maybe"}, access.Attempt{})
	kind(t, "a bad result", err, fault.Malformed)
	_, err = s.Notify(t.Context(), rival, tok.Ref, token.Notice{Result: token.Success}, access.Attempt{})
	kind(t, "another requestor", err, fault.TokenUnknown)
	_, err = s.Notify(t.Context(), terminal, tok.Ref, token.Notice{Result: token.Success}, access.Attempt{})
	kind(t, "a terminal", err, fault.Denied)
	s.Clock.Set(tok.NotAfter)
	_, err = s.Notify(t.Context(), bank, tok.Ref, token.Notice{Result: token.Success}, access.Attempt{})
	kind(t, "after its end", err, fault.TokenExpired)
}

func TestUpdate(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	set := func(a token.Attributes) (token.Token, error) {
		return s.Update(t.Context(), bank, tok.Ref, a, access.Attempt{})
	}
	a, c := token.Assurance{Method: "14", Data: "called back"}, token.Controls{MaxCount: 2}
	to := s.Clock.Now().Add(7 * day).Add(time.Millisecond) // cut to the second
	got, err := set(token.Attributes{Assurance: &a, Controls: &c, NotAfter: &to})
	if err != nil || got.Assurance != a || got.Controls.MaxCount != 2 || !got.NotAfter.Equal(to.Truncate(time.Second)) ||
		got.Location != tok.Location || got.State != tok.State || got.Number.Digits() != tok.Number.Digits() {
		t.Fatalf("%+v, %v", got, err)
	}
	if e := s.notes.last(); e.Action != access.TokenManage || e.Reason != "update" || e.Outcome != audit.Allowed {
		t.Errorf("recorded %+v", e)
	}
	if again := s.want(t, tok.Ref, token.Requested); again.Assurance != a || !again.NotAfter.Equal(got.NotAfter) {
		t.Errorf("%+v", again)
	}
	ago, far, soon := s.Clock.Now(), s.Clock.Now().Add(7*day+time.Second), s.Clock.Now().Add(59*time.Minute)
	badC := token.Controls{MCC: []string{"x"}}
	for name, bad := range map[string]token.Attributes{"nothing": {}, "the past": {NotAfter: &ago}, "too far": {NotAfter: &far},
		"less than an hour": {NotAfter: &soon}, "assurance": {Assurance: &token.Assurance{Method: "x"}}, "controls": {Controls: &badC}} {
		_, err := set(bad)
		kind(t, name, err, fault.Malformed)
	}
	s.Clock.Add(time.Hour)
	later := s.Clock.Now().Add(7 * day)
	_, err = set(token.Attributes{NotAfter: &later})
	kind(t, "a longer life by and by", err, fault.Malformed)
	// The expiry date moves with the end, past the card's own.
	r := request(t, 2)
	r.PANExpiry, r.FormFactor, r.Lifetime = "2604", token.FormCardOnFile, 8*day
	file, err := s.Request(t.Context(), bank, r)
	if err != nil {
		t.Fatal(err)
	}
	for month, want := range map[int]token.Expiry{4: "2605", 5: "2605", 6: "2606"} {
		to := time.Date(2026, time.Month(month), 15, 0, 0, 0, 0, time.UTC)
		if got, err := s.Update(t.Context(), bank, file.Ref, token.Attributes{NotAfter: &to}, access.Attempt{}); err != nil || got.Expiry != want || got.Expiry.Before(to) {
			t.Errorf("until %v: %s, %v; want %s", to, got.Expiry, err, want)
		}
	}
	if _, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	_, err = set(token.Attributes{Assurance: &a})
	kind(t, "a deleted token", err, fault.TokenState)
}

func TestSearch(t *testing.T) {
	s := open(t)
	var mine []token.Ref
	for i := range 5 {
		mine = append(mine, s.issue(t, i%2).Ref)
		s.Clock.Add(time.Second)
	}
	other := request(t, 0)
	other.Requestor = ""
	if _, err := s.Request(t.Context(), rival, other); err != nil {
		t.Fatal(err)
	}
	all := func(c access.Caller, f token.Filter, limit int) (refs []token.Ref) {
		t.Helper()
		cursor := ""
		for {
			found, next, err := s.Search(t.Context(), c, f, cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, tok := range found.Tokens {
				refs = append(refs, tok.Ref)
			}
			if next == "" {
				return refs
			}
			if strings.Contains(next, "=") || len(found.Tokens) != limit {
				t.Fatalf("a page of %d, cursor %q", len(found.Tokens), next)
			}
			cursor = next
		}
	}
	newest := []token.Ref{mine[4], mine[3], mine[2], mine[1], mine[0]}
	for _, limit := range []int{1, 2, 5, 100} {
		if got := all(bank, token.Filter{}, limit); !reflect.DeepEqual(got, newest) {
			t.Errorf("by %d: %v", limit, got)
		}
	}
	if got := all(bank, token.Filter{Requestor: bankID}, 100); !reflect.DeepEqual(got, newest) {
		t.Errorf("by its own name: %v", got)
	}
	if got := all(bank, token.Filter{Ref: mine[0]}, 2); len(got) != 1 || s.notes.last().Object != string(mine[0]) {
		t.Errorf("one token: %v, recorded %+v", got, s.notes.last())
	}
	if got := all(operator, token.Filter{}, 4); len(got) != 6 {
		t.Errorf("an operator sees %d", len(got))
	}
	if got := all(rival, token.Filter{Ref: mine[0]}, 4); len(got) != 0 {
		t.Error("a requestor sees another's token")
	}
	first := s.want(t, mine[0], token.Requested)
	if got := all(bank, token.Filter{PAR: first.PAR, Last4: first.PANLast4, State: token.Requested}, 2); len(got) != 3 {
		t.Errorf("%d tokens of the card", len(got))
	}
	_, cursor, err := s.Search(t.Context(), bank, token.Filter{}, "", 2)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(name string, c access.Caller, f token.Filter, cursor string, limit int, want fault.Kind) {
		t.Helper()
		found, next, err := s.Search(t.Context(), c, f, cursor, limit)
		kind(t, name, err, want)
		if len(found.Tokens) > 0 || next != "" {
			t.Errorf("%s: found something", name)
		}
	}
	bad("another filter's cursor", bank, token.Filter{State: token.Active}, cursor, 2, fault.Malformed)
	bad("another caller's cursor", rival, token.Filter{}, cursor, 2, fault.Malformed)
	bad("no cursor", bank, token.Filter{}, "x", 2, fault.Malformed)
	bad("a long page", bank, token.Filter{}, "", 101, fault.Malformed)
	bad("a negative page", bank, token.Filter{}, "", -1, fault.Malformed)
	bad("a card number as reference", bank, token.Filter{Ref: token.Ref(vaulttest.Card(t, 1).Reveal())}, "", 2, fault.Malformed)
	bad("a bad PAR", bank, token.Filter{PAR: "x"}, "", 2, fault.Malformed)
	bad("a bad requestor", bank, token.Filter{Requestor: "1"}, "", 2, fault.Malformed)
	bad("bad last four", bank, token.Filter{Last4: "12345"}, "", 2, fault.Malformed)
	bad("a bad state", bank, token.Filter{State: "LOST"}, "", 2, fault.Malformed)
	bad("another requestor's", bank, token.Filter{Requestor: "99999999999"}, "", 2, fault.Denied)
	bad("nobody", nobody, token.Filter{}, "", 2, fault.Denied)
	bad("a terminal", terminal, token.Filter{}, "", 2, fault.Denied)
	s.Clock.Add(2 * day)
	found, _, err := s.Search(t.Context(), bank, token.Filter{State: token.Expired}, "", 0)
	if err != nil || len(found.Tokens) != 5 || found.Tokens[0].State != token.Expired {
		t.Errorf("expired by time: %d, %v", len(found.Tokens), err)
	}
}

func TestSweep(t *testing.T) {
	s := open(t)
	for range 450 {
		s.issue(t, 1)
	}
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	s.Clock.Add(day)
	if n, err := s.Sweep(t.Context()); n != 450 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatal(n, err)
	}
}

func TestBatch(t *testing.T) {
	s := open(t)
	var rs []tokenize.Request
	for i := range 40 {
		r := request(t, i%7)
		if i%10 == 3 {
			r.Location = "99"
		}
		rs = append(rs, r)
	}
	a := access.Attempt{Key: "batch-1", Digest: [32]byte{7}}
	first, err := s.RequestBatch(t.Context(), bank, rs, a)
	if err != nil || len(first) != len(rs) {
		t.Fatal(len(first), err)
	}
	again, err := s.RequestBatch(t.Context(), bank, rs, a)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, r := range first {
		if i%10 == 3 {
			kind(t, "a bad record", r.Err, fault.Malformed)
			continue
		}
		if r.Err != nil || seen[r.Token.Number.Digits()] || r.Token.PANLast4 != rs[i].PAN.Last4() || again[i].Token.Ref != r.Token.Ref {
			t.Errorf("record %d: %+v", i, r)
		}
		seen[r.Token.Number.Digits()] = true
	}
	if n := s.tokens(t); n != 36 {
		t.Errorf("%d tokens", n)
	}
	other, err := s.RequestBatch(t.Context(), bank, rs[:1], access.Attempt{Key: "batch-1", Digest: [32]byte{8}})
	if err != nil || fault.KindOf(other[0].Err) != fault.KeyReused {
		t.Errorf("another batch under the key: %+v, %v", other, err)
	}
	_, err = s.RequestBatch(t.Context(), bank, nil, a)
	kind(t, "nothing", err, fault.Malformed)
	_, err = s.RequestBatch(t.Context(), bank, make([]tokenize.Request, 501), a)
	kind(t, "too much", err, fault.Malformed)
	_, err = s.RequestBatch(t.Context(), terminal, rs, a)
	kind(t, "a terminal", err, fault.Denied)
}

func TestConfigRefused(t *testing.T) {
	f := vaulttest.New(t)
	good := func() tokenize.Config {
		return tokenize.Config{Vault: f.Writer(), Gate: audit.Gate{Recorder: new(notes)}, Calendar: token.Calendar{Zone: time.UTC}}
	}
	for name, change := range map[string]func(*tokenize.Config){
		"no vault":            func(c *tokenize.Config) { c.Vault = nil },
		"no recorder":         func(c *tokenize.Config) { c.Gate = audit.Gate{} },
		"no zone":             func(c *tokenize.Config) { c.Calendar.Zone = nil },
		"a cut-over":          func(c *tokenize.Config) { c.Calendar.CutOver = day },
		"one before midnight": func(c *tokenize.Config) { c.Calendar.CutOver = -1 },
		"short on file":       func(c *tokenize.Config) { c.OnFile = 7*day - 1 },
		"a long overlap":      func(c *tokenize.Config) { c.Overlap = time.Hour + 1 },
		"a negative one":      func(c *tokenize.Config) { c.Overlap = -1 },
		"a requestor":         func(c *tokenize.Config) { c.Policies = map[token.Requestor]tokenize.Policy{"1": {}} },
		"unknown duplicate": func(c *tokenize.Config) {
			c.Policies = map[token.Requestor]tokenize.Policy{bankID: {Duplicates: "some"}}
		},
	} {
		c := good()
		change(&c)
		if s, err := tokenize.New(c); err == nil || s != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(*tokenize.Config){
		"the last cut-over": func(c *tokenize.Config) { c.Calendar.CutOver = day - 1 },
		"seven days":        func(c *tokenize.Config) { c.OnFile = 7 * day },
		"an hour":           func(c *tokenize.Config) { c.Overlap = time.Hour },
	} {
		c := good()
		change(&c)
		if _, err := tokenize.New(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := good()
	c.Policies = map[token.Requestor]tokenize.Policy{bankID: {Duplicates: tokenize.SameToken, Decide: true}, "99999999999": {}}
	if _, err := tokenize.New(c); err != nil {
		t.Error(err)
	}
}

// TestChangesOncePerAttempt: a change that is sent again, because its answer
// was lost, does not undo what came between.
func TestChangesOncePerAttempt(t *testing.T) {
	s := agreed(t, vaulttest.New(t), tokenize.Policy{Decide: true})
	tok := s.issue(t, 1)
	must := func(got token.Token, err error) token.Token {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	key := func(k string) access.Attempt { return access.Attempt{Key: k, Digest: [32]byte{k[0]}} }
	decide := func(d token.Decision, k string) (token.Token, error) {
		return s.Decide(t.Context(), bank, tok.Ref, d, key(k))
	}
	limit := func(n int, k string) (token.Token, error) {
		return s.Update(t.Context(), bank, tok.Ref, token.Attributes{Controls: &token.Controls{MaxCount: n}}, key(k))
	}
	note := func(r token.Result, k string) (token.Token, error) {
		return s.Notify(t.Context(), bank, tok.Ref, token.Notice{Result: r}, key(k))
	}
	must(decide(token.DecisionStepUp, "a"))
	must(decide(token.DecisionApproved, "b"))
	if got := must(decide(token.DecisionStepUp, "a")); got.Decision != token.DecisionApproved {
		t.Errorf("an old decision came back: %s", got.Decision)
	}
	must(limit(1, "c"))
	must(limit(2, "d"))
	if got := must(limit(1, "c")); got.Controls.MaxCount != 2 {
		t.Errorf("old controls came back: %+v", got.Controls)
	}
	must(note(token.Failure, "e"))
	must(note(token.Success, "f"))
	if got := must(note(token.Failure, "e")); got.Provisioned.Result != token.Success {
		t.Errorf("an old notice came back: %+v", got.Provisioned)
	}
	if _, err := s.Update(t.Context(), bank, tok.Ref, token.Attributes{Controls: &token.Controls{}}, access.Attempt{Key: "c"}); fault.KindOf(err) != fault.KeyReused {
		t.Errorf("a key used for something else: %v", err)
	}
	must(s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Delete, By: token.ByRequestor}))
	if got := must(note(token.Success, "f")); got.State != token.Deleted {
		t.Errorf("asked again after the end: %s", got.State)
	}
}
