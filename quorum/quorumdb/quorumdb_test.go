package quorumdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/quorum"
	"github.com/tapvault/tapvault/quorum/quorumdb"
)

// book is a record in memory.
type book struct {
	mu    sync.Mutex
	lines []string
}

func (b *book) Record(_ context.Context, e audit.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf("%s %s %s %s", e.Caller.ID, e.Action, e.Outcome, e.Reason))
	return nil
}

func (b *book) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines[len(b.lines)-1]
}

// bench is two processes' services over one database.
type bench struct {
	*testing.T
	one, two *quorum.Service
	now      atomic.Int64
	book     *book
	db       *quorumdb.DB
}

var rules = map[quorum.Verb]quorum.Rule{
	quorum.DetokenizeBatch: {Needed: 2, Approvers: []string{"o1", "o2", "o3"}, Valid: time.Hour},
	quorum.VaultExport:     {Needed: 1, Approvers: []string{"o1", "o2"}, Valid: time.Hour},
	quorum.LoadDecision:    {Needed: 1, Approvers: []string{"o1", "o2"}, Valid: time.Hour},
}

var secret = []byte("what no reader of the database has")

func newBench(t *testing.T, db *store.DB) *bench {
	t.Helper()
	b := &bench{T: t, book: &book{}, db: quorumdb.New(db)}
	b.now.Store(1_800_000_000_000)
	b.one, b.two = b.service(rules), b.service(rules)
	return b
}

func (b *bench) service(r map[quorum.Verb]quorum.Rule) *quorum.Service {
	b.Helper()
	s, err := quorum.New(quorum.Config{Store: b.db, Gate: audit.Gate{Recorder: b.book}, Rules: r, Secret: secret, Now: func() time.Time { return time.UnixMilli(b.now.Load()) }})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func who(id string, r access.Role) access.Caller {
	return access.Caller{ID: id, Role: r, Scopes: access.ForRole(r)}
}

func officer(id string) access.Caller { return who(id, access.Officer) }

var bank = access.Caller{ID: "bank", Role: access.Issuer, Scopes: access.ForRole(access.Issuer), Requestor: "50110000001"}

const path, body = "/v1/detokenize/batch", `{"purpose":"settlement","queries":[{"token_reference_id":"r1","tap_id":"t1"}]}`

func (b *bench) asked(text string) quorum.Approval {
	b.Helper()
	a, err := b.one.Request(b.Context(), bank, quorum.Ask{Verb: quorum.DetokenizeBatch, Method: "POST", Path: path, Body: []byte(text), Reason: "why"})
	if err != nil {
		b.Fatal(err)
	}
	return a
}

func (b *bench) approves(s *quorum.Service, id string, a quorum.Approval, want error) quorum.Approval {
	b.Helper()
	got, err := s.Approve(b.Context(), officer(id), a.ID, a.Digest)
	if !errors.Is(err, want) {
		b.Errorf("%s approves: %v, want %v", id, err, want)
	}
	return got
}

// batch is a request of a batch of card numbers.
func batch(body string) quorum.Act {
	return quorum.Act{Verb: quorum.DetokenizeBatch, Method: "POST", Path: path, Body: []byte(body), Right: access.Detokenize}
}

func (b *bench) uses(s *quorum.Service, c access.Caller, text string, want error) {
	b.Helper()
	if err := s.Use(b.Context(), c, batch(text)); !errors.Is(err, want) {
		b.Errorf("%s uses: %v, want %v", c.ID, err, want)
	}
}

func TestEachDatabase(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		for name, test := range map[string]func(*bench){"Story": story, "Once": once, "Spent": spent, "Crowd": crowd, "Sight": sight, "Settings": settings} {
			t.Run(name, func(t *testing.T) { test(newBench(t, db(t))) })
		}
	})
}

// TestRules is what no database makes a difference to.
func TestRules(t *testing.T) {
	for name, test := range map[string]func(*bench){"FourEyes": fourEyes, "Exact": exact, "Expiry": expiry, "Cancel": cancel, "Clocks": clocks, "Changed": changedRules, "People": people, "Unreadable": unreadable, "Keyed": keyed} {
		t.Run(name, func(t *testing.T) { test(newBench(t, storetest.New(t))) })
	}
}

// story: asked, approved by two at two processes, used once, each step recorded.
func story(b *bench) {
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	a := b.asked(body)
	if a.State != quorum.Pending || a.Summary != "1 queries, purpose settlement" || a.Needed != 2 {
		b.Errorf("%+v", a)
	}
	if got := b.approves(b.one, "o1", a, nil); got.State != quorum.Pending || len(got.Votes) != 1 {
		b.Errorf("%+v", got)
	}
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	if got := b.approves(b.two, "o2", a, nil); got.State != quorum.Approved || len(got.Votes) != 2 {
		b.Errorf("%+v", got)
	}
	b.uses(b.two, bank, body, nil)
	if l := b.book.last(); l != fmt.Sprintf("bank detokenize allowed used detokenize-batch %x", a.Digest[:8]) {
		b.Errorf("recorded %q", l)
	}
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	got, err := b.one.Get(b.Context(), bank, a.ID)
	if err != nil || got.State != quorum.Used || got.EndedAt.IsZero() || len(got.Votes) != 2 {
		b.Errorf("%+v, %v", got, err)
	}
	b.approves(b.one, "o3", a, quorum.ErrState)
	if len(b.book.lines) != 9 {
		b.Errorf("%d steps are recorded: %q", len(b.book.lines), b.book.lines)
	}
}

// spent: who lost the answer is told when the request was let through, in the life of
// its approval, and nobody else is; it is let through no second time.
func spent(b *bench) {
	told := func(name string, c access.Caller, want bool) {
		b.Helper()
		err := b.two.Use(b.Context(), c, batch(body))
		var s *quorum.SpentError
		if !errors.Is(err, quorum.ErrNeeded) || errors.As(err, &s) != want {
			b.Errorf("%s: %v", name, err)
		}
		if want && !strings.Contains(fault.Text(err), "at "+time.UnixMilli(b.now.Load()).UTC().Format(time.RFC3339)) {
			b.Errorf("%s is told %q", name, fault.Text(err))
		}
		if fault.KindOf(err) != fault.ApprovalNeeded || b.book.last() != c.ID+" detokenize refused approval" {
			b.Errorf("%s: %s, recorded %q", name, fault.KindOf(err), b.book.last())
		}
	}
	a := b.asked(body)
	told("before", bank, false)
	b.approves(b.one, "o1", a, nil)
	b.approves(b.one, "o2", a, nil)
	b.uses(b.one, bank, body, nil)
	told("again", bank, true)
	other := bank
	other.ID = "other"
	told("another", other, false)
	err := b.two.Use(b.Context(), bank, batch(`{"purpose":"settlement","queries":[{"token_reference_id":"r2","tap_id":"t1"}]}`))
	if s := (*quorum.SpentError)(nil); !errors.Is(err, quorum.ErrNeeded) || errors.As(err, &s) {
		b.Errorf("another request: %v", err)
	}
	b.now.Add(time.Hour.Milliseconds())
	told("after its life", bank, false)
}

// crowd: whatever others, or somebody before, had approved of the same request, and however
// much of it, does not stand before the one approval that is good, and hides no use.
func crowd(b *bench) {
	other := bank
	other.ID = "other"
	many := func(state quorum.State, requester string) {
		b.Helper()
		a := b.asked(body)   // for what names the request
		for i := range 101 { // more than are looked at together
			a.ID, a.State, a.Requester = fmt.Sprintf("ap%s%026d", state[:1], i), state, requester
			a.EndedAt = a.CreatedAt
			if err := b.db.Insert(b.Context(), a); err != nil {
				b.Fatal(err)
			}
		}
		b.now.Add(1)
	}
	many(quorum.Approved, bank.ID) // by a rule that asked for fewer votes
	b.uses(b.two, bank, body, quorum.ErrNeeded)
	a := b.asked(body)
	b.approves(b.one, "o1", a, nil)
	b.approves(b.one, "o2", a, nil)
	b.uses(b.two, bank, body, nil)
	many(quorum.Used, other.ID)
	var spent *quorum.SpentError
	if err := b.two.Use(b.Context(), bank, batch(body)); !errors.As(err, &spent) {
		b.Errorf("of what was let through before is said: %v", err)
	}
}

// fourEyes: who asks never approves, one person counts once, strangers not at
// all.
func fourEyes(b *bench) {
	mine, err := b.one.Request(b.Context(), officer("o1"), quorum.Ask{Verb: quorum.VaultExport, Method: quorum.Run, Path: "export", Body: []byte(`{"file":"x"}`)})
	if err != nil {
		b.Fatal(err)
	}
	b.approves(b.one, "o1", mine, quorum.ErrOwn)
	a := b.asked(body)
	for range 3 {
		if got := b.approves(b.two, "o1", a, nil); got.State != quorum.Pending || len(got.Votes) != 1 {
			b.Errorf("%+v", got)
		}
	}
	b.approves(b.one, "o9", a, quorum.ErrVoter)
	if _, err := b.one.Approve(b.Context(), who("o2", access.Operator), a.ID, a.Digest); !errors.Is(err, access.ErrDenied) {
		b.Errorf("an operator approves: %v", err)
	}
	b.uses(b.one, bank, body, quorum.ErrNeeded)
}

// exact: an approval is of one request and of one caller, however it is written.
func exact(b *bench) {
	a := b.asked(body)
	other := a
	other.Digest[0] ^= 1
	b.approves(b.one, "o1", other, quorum.ErrDigest)
	b.approves(b.one, "o1", a, nil)
	b.approves(b.one, "o2", a, nil)
	for _, text := range []string{`{"purpose":"dispute","queries":[{"token_reference_id":"r1","tap_id":"t1"}]}`,
		`{"purpose":"settlement","queries":[{"token_reference_id":"r2","tap_id":"t1"}]}`,
		`{"purpose":"settlement","queries":[{"token_reference_id":"r1","tap_id":"t1"},{"token_reference_id":"r1","tap_id":"t1"}]}`} {
		b.uses(b.one, bank, text, quorum.ErrNeeded)
	}
	direct := batch(body)
	direct.Path = "/v1/detokenize/direct/batch"
	if err := b.one.Use(b.Context(), bank, direct); !errors.Is(err, quorum.ErrNeeded) {
		b.Errorf("at another path: %v", err)
	}
	thief := bank
	thief.ID = "thief"
	b.uses(b.one, thief, body, quorum.ErrNeeded)
	poor := bank
	poor.Scopes = nil
	b.uses(b.one, poor, body, access.ErrDenied)
	b.uses(b.one, bank, ` { "queries" : [ {"tap_id":"t1", "token_reference_id":"r1"} ],`+"\n"+` "purpose":"settlement" }`, nil)
	for _, bad := range []quorum.Ask{{Verb: quorum.Settings, Method: quorum.Run, Path: "serve", Body: []byte("{}")},
		{Verb: quorum.DetokenizeBatch, Method: "POST", Path: "/v1/detokenize", Body: []byte(body)},
		{Verb: quorum.DetokenizeBatch, Method: "POST", Path: path, Body: []byte("[]")},
		{Verb: quorum.DetokenizeBatch, Method: "POST", Path: path, Body: []byte(body + "{}")},
		{Verb: quorum.DetokenizeBatch, Method: "POST", Path: path, Body: []byte(`{"purpose":"6212345678901232"}`)},
		decision("/v1/loads/x", `"reason":"r","evidence":"e"`), decision("/v1/loads/decisions", `"reason":"r","evidence":"6212 3456-7890.1232"`),
		decision("/v1/loads/decisions", `"reason":"６２１２３４５６７８９０１２３２","evidence":"e"`), decision("/v1/loads/decisions", `"reason":"","evidence":"e"`),
		decision("/v1/loads/decisions", `"reason":"r","evidence":"e","pan":"x"`), decision("/v1/loads/decisions", `"reason":"r","evidence":"e","load":"6212345678901232"`)} {
		if _, err := b.one.Request(b.Context(), bank, bad); !errors.Is(err, quorum.ErrAsk) {
			b.Errorf("%+v: %v", bad, err)
		}
	}
}

// decision asks to decide about an order to a card.
func decision(path, rest string) quorum.Ask {
	return quorum.Ask{Verb: quorum.LoadDecision, Method: "POST", Path: path,
		Body: []byte(`{"load":"ldAAAAAAAAAAAAAAAAAAAAAAAAAA","state":"SUSPENSE","decision":"REVERSE",` + rest + `}`)}
}

// once: of many who use one approval at the same moment, at two processes, one
// gets through; and of votes at the same moment none is lost.
func once(b *bench) {
	a := b.asked(body)
	var voters sync.WaitGroup
	for i, s := range []*quorum.Service{b.one, b.two} {
		voters.Go(func() { b.approves(s, fmt.Sprintf("o%d", i+1), a, nil) })
	}
	voters.Wait()
	var through atomic.Int64
	var users sync.WaitGroup
	for i := range 12 {
		s := b.one
		if i%2 == 1 {
			s = b.two
		}
		users.Go(func() {
			err := s.Use(b.Context(), bank, batch(body))
			if err == nil {
				through.Add(1)
			} else if !errors.Is(err, quorum.ErrNeeded) {
				b.Error(err)
			}
		})
	}
	users.Wait()
	if through.Load() != 1 {
		b.Errorf("one approval let %d requests through", through.Load())
	}
}

func expiry(b *bench) {
	a := b.asked(body)
	b.approves(b.one, "o1", a, nil)
	b.approves(b.one, "o2", a, nil)
	late := b.asked(`{"purpose":"dispute","queries":[]}`)
	b.now.Add(time.Hour.Milliseconds() - 1)
	if got, err := b.one.Get(b.Context(), bank, a.ID); err != nil || got.State != quorum.Approved {
		b.Errorf("%+v, %v", got, err)
	}
	b.now.Add(1)
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	b.approves(b.one, "o1", late, quorum.ErrState)
	if got, err := b.one.Get(b.Context(), bank, a.ID); err != nil || got.State != quorum.Expired {
		b.Errorf("%+v, %v", got, err)
	}
}

func cancel(b *bench) {
	a := b.asked(body)
	b.approves(b.one, "o1", a, nil)
	b.approves(b.one, "o2", a, nil)
	if _, err := b.one.Cancel(b.Context(), who("x", access.Operator), a.ID); !errors.Is(err, quorum.ErrVoter) {
		b.Errorf("a bystander cancels: %v", err)
	}
	when := time.UnixMilli(b.now.Load())
	for _, c := range []access.Caller{bank, officer("o3")} {
		if got, err := b.two.Cancel(b.Context(), c, a.ID); err != nil || got.State != quorum.Cancelled || !got.EndedAt.Equal(when) {
			b.Errorf("%s: %+v, %v", c.ID, got, err)
		}
		b.now.Add(time.Minute.Milliseconds())
	}
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	b.approves(b.one, "o3", a, quorum.ErrState)
}

// changedRules: what was approved by somebody who may not approve any more is
// not approved.
func changedRules(b *bench) {
	a := b.asked(body)
	b.approves(b.one, "o1", a, nil)
	b.approves(b.one, "o2", a, nil)
	strict := b.service(map[quorum.Verb]quorum.Rule{quorum.DetokenizeBatch: {Needed: 2, Approvers: []string{"o1", "o3"}, Valid: time.Hour}})
	b.uses(strict, bank, body, quorum.ErrNeeded)
	full := batch(body)
	full.Fits = func(context.Context) error { return errors.New("the batch is too large") }
	if err := strict.Use(b.Context(), bank, full); !errors.Is(err, quorum.ErrNeeded) {
		b.Errorf("what is not approved is looked at: %v", err)
	}
	b.uses(b.service(nil), bank, body, nil) // no rule, no approval
	b.uses(b.one, bank, body, nil)
	// Whichever of the rule of its time and today's asks for more votes holds.
	lax := b.service(map[quorum.Verb]quorum.Rule{quorum.DetokenizeBatch: {Needed: 1, Approvers: []string{"o1", "o2"}, Valid: time.Hour}})
	few, err := lax.Request(b.Context(), bank, quorum.Ask{Verb: quorum.DetokenizeBatch, Method: "POST", Path: path, Body: []byte(body), Reason: "why"})
	if err != nil {
		b.Fatal(err)
	}
	if got := b.approves(lax, "o1", few, nil); got.State != quorum.Approved {
		b.Errorf("by the rule of its time: %+v", got)
	}
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	if got := b.approves(lax, "o1", b.asked(body), nil); got.State != quorum.Pending {
		b.Errorf("by a rule that asks for fewer than its time's did: %+v", got)
	}
	for name, r := range map[string]quorum.Rule{"none": {Approvers: []string{"a"}, Valid: time.Hour}, "too many": {Needed: 2, Approvers: []string{"a"}, Valid: time.Hour},
		"twice": {Needed: 1, Approvers: []string{"a", "a"}, Valid: time.Hour}, "for ever": {Needed: 1, Approvers: []string{"a"}, Valid: 10000 * time.Hour}} {
		if err := r.Check(); err == nil {
			b.Errorf("%s: a rule", name)
		}
	}
}

// people: two clients with one key are one person, who approves once and nothing
// of its own; a vote of somebody whose client was disabled since counts no more.
func people(b *bench) {
	keys := map[string]string{"o1": "k1", "o2": "k1", "o3": "k3", "bank": "k4"}
	var err error
	b.one, err = quorum.New(quorum.Config{Store: b.db, Gate: audit.Gate{Recorder: b.book}, Rules: rules, Secret: secret, Now: func() time.Time { return time.UnixMilli(b.now.Load()) },
		Key: func(_ context.Context, client string) (string, error) { return keys[client], nil }})
	if err != nil {
		b.Fatal(err)
	}
	a := b.asked(body)
	b.approves(b.one, "o1", a, nil)
	if got := b.approves(b.one, "o2", a, nil); got.State != quorum.Pending {
		b.Errorf("one person approved twice: %+v", got)
	}
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	if got := b.approves(b.one, "o3", a, nil); got.State != quorum.Approved {
		b.Errorf("%+v", got)
	}
	keys["o3"] = "" // disabled
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	keys["o3"] = "k3"
	b.uses(b.one, bank, body, nil)

	mine := b.asked(body)
	keys["o3"] = keys["bank"]
	b.approves(b.one, "o3", mine, quorum.ErrOwn)
	if l := b.book.last(); l != "o3 approvals:decide refused own" {
		b.Errorf("recorded %q", l)
	}
	b.approves(b.two, "o1", mine, nil)
	b.approves(b.two, "o3", mine, nil) // as a process voted that did not know
	b.uses(b.one, bank, body, quorum.ErrNeeded)
	b.approves(b.two, "o2", mine, quorum.ErrState)
	if l := b.book.last(); l != "o2 approvals:decide refused state" {
		b.Errorf("recorded %q", l)
	}
}

// unreadable: an approver whose key cannot be read counts for nothing and is told of; the
// others approve. Nobody approves or uses what somebody asked for of whom it cannot be known
// who that is, and that keeps nothing of others back.
func unreadable(b *bench) {
	keys := map[string]string{"o1": "k1", "o2": "k2", "o3": "k3", "bank": "k4", "local:ann": "k5", "local:bob": "k6"}
	damaged := map[string]bool{}
	var log bytes.Buffer
	var err error
	b.one, err = quorum.New(quorum.Config{Store: b.db, Gate: audit.Gate{Recorder: b.book}, Rules: rules, Secret: secret, Now: func() time.Time { return time.UnixMilli(b.now.Load()) },
		Log: slog.New(slog.NewTextHandler(&log, nil)), Key: func(_ context.Context, client string) (string, error) {
			if damaged[client] {
				return "", fault.Unreadable(errors.New("client " + client + ": its key is not a public JWK"))
			}
			return keys[client], nil
		}})
	if err != nil {
		b.Fatal(err)
	}
	a := b.asked(body)
	b.approves(b.one, "o3", a, nil)
	damaged["o3"] = true
	if got := b.approves(b.one, "o1", a, nil); got.State != quorum.Pending {
		b.Errorf("whose key cannot be read counts: %+v", got)
	}
	if n := b.one.Unreadable(); n == 0 || !strings.Contains(log.String(), "client o3") {
		b.Errorf("%d are told of: %s", n, log.String())
	}
	if _, err := b.one.Approve(b.Context(), officer("o3"), a.ID, a.Digest); !fault.IsUnreadable(err) {
		b.Errorf("who approves is not known: %v", err)
	}
	if got := b.approves(b.one, "o2", a, nil); got.State != quorum.Approved {
		b.Errorf("%+v", got)
	}
	b.uses(b.one, bank, body, nil)

	export := quorum.Act{Verb: quorum.VaultExport, Method: quorum.Run, Path: "export", Body: []byte(`{"to":"f"}`), Right: "vault:export"}
	var last quorum.Approval
	for _, who := range []string{"local:ann", "local:bob"} {
		c := access.Caller{ID: who, Role: access.Operator, Scopes: access.ForRole(access.Operator)}
		last, err = b.one.Request(b.Context(), c, quorum.Ask{Verb: export.Verb, Method: export.Method, Path: export.Path, Body: export.Body})
		if err != nil {
			b.Fatal(err)
		}
		b.approves(b.one, "o1", last, nil)
		b.now.Add(1000)
	}
	damaged["local:ann"] = true
	local := access.Caller{ID: "local:root", Role: access.Operator}
	if err := b.one.Use(b.Context(), local, export); err != nil {
		b.Errorf("behind one that cannot be judged: %v", err)
	}
	if got, err := b.db.Approval(b.Context(), last.ID); err != nil || got.State != quorum.Used {
		b.Errorf("%+v, %v", got, err)
	}
	var spent *quorum.SpentError
	if err := b.one.Use(b.Context(), local, export); !errors.As(err, &spent) || spent.ID != last.ID {
		b.Errorf("once more: %v", err)
	}
	other := export
	other.Body = []byte(`{"to":"g"}`)
	ann := access.Caller{ID: "local:ann", Role: access.Operator, Scopes: access.ForRole(access.Operator)}
	if last, err = b.one.Request(b.Context(), ann, quorum.Ask{Verb: other.Verb, Method: other.Method, Path: other.Path, Body: other.Body}); err != nil {
		b.Fatal(err)
	}
	if _, err := b.one.Approve(b.Context(), officer("o1"), last.ID, last.Digest); !fault.IsUnreadable(err) {
		b.Errorf("of somebody who is not known: %v", err)
	}
	damaged["local:ann"] = false
	b.approves(b.one, "o1", last, nil)
	damaged["local:ann"] = true
	err = b.one.Use(b.Context(), local, other)
	if line := b.book.last(); !fault.IsUnreadable(err) || !strings.Contains(err.Error(), last.ID) || line != "local:root vault:export refused approval" {
		b.Errorf("only one is left, which cannot be judged: %v, recorded %q", err, line)
	}
	damaged["local:ann"] = false
	if err := b.one.Use(b.Context(), local, other); err != nil {
		b.Errorf("mended: %v", err)
	}
}

// clocks: an approval lives as long as its rule says by the one clock, wherever it is asked
// for, given and used, whatever the process's own clock says.
func clocks(b *bench) {
	var silent error
	off := func(by time.Duration) *quorum.Service {
		s, err := quorum.New(quorum.Config{Store: b.db, Gate: audit.Gate{Recorder: b.book}, Rules: rules, Secret: secret,
			Now:   func() time.Time { return time.UnixMilli(b.now.Load()).Add(by) },
			Clock: func(context.Context) (time.Time, error) { return time.UnixMilli(b.now.Load()), silent }})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	ahead, behind := off(24*time.Hour), off(-24*time.Hour)
	b.one = ahead
	a := b.asked(body)
	b.one = behind
	other := b.asked(body)
	for _, x := range []quorum.Approval{a, other} {
		b.approves(behind, "o1", x, nil)
		b.approves(ahead, "o2", x, nil)
	}
	b.uses(ahead, bank, body, nil)
	silent = errors.New("the database is silent")
	b.uses(ahead, bank, body, silent)
	silent = nil
	b.now.Add((2 * time.Hour).Milliseconds())
	b.uses(behind, bank, body, quorum.ErrNeeded)
	b.uses(ahead, bank, body, quorum.ErrNeeded)
	if got, err := behind.Get(b.Context(), bank, other.ID); err != nil || got.State != quorum.Expired && got.State != quorum.Used {
		b.Errorf("%+v, %v", got, err)
	}
}

// sight: who acts for a requestor sees its own; pages go on where they ended.
func sight(b *bench) {
	var ids []string
	for i := range 5 {
		b.now.Add(int64(i % 2))
		ids = append(ids, b.asked(body).ID)
	}
	other := bank
	other.ID, other.Requestor = "other", "50110000002"
	if _, err := b.one.Get(b.Context(), other, ids[0]); !errors.Is(err, quorum.ErrUnknown) {
		b.Errorf("another's: %v", err)
	}
	if _, err := b.one.Get(b.Context(), bank, "apnothing"); !errors.Is(err, quorum.ErrUnknown) {
		b.Errorf("nothing: %v", err)
	}
	if all, err := b.one.List(b.Context(), other, quorum.Page{Limit: 10}); err != nil || len(all) != 0 {
		b.Errorf("%v, %v", all, err)
	}
	seen, p := map[string]bool{}, quorum.Page{Limit: 2}
	for {
		all, err := b.one.List(b.Context(), who("eye", access.Auditor), p)
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range all {
			if seen[a.ID] {
				b.Errorf("%s comes twice", a.ID)
			}
			seen[a.ID], p.Before, p.BeforeID = true, a.CreatedAt, a.ID
		}
		if len(all) < 2 {
			break
		}
	}
	if len(seen) != 5 {
		b.Errorf("%d of 5 are listed", len(seen))
	}
}

// settings: of two processes that note a change of one state, one does.
func settings(b *bench) {
	ctx, now := b.Context(), time.UnixMilli(b.now.Load())
	if _, ok, err := b.db.Setting(ctx, "s"); ok || err != nil {
		b.Errorf("%v, %v", ok, err)
	}
	first, second := [32]byte{1}, [32]byte{2}
	for want := range 2 {
		if ok, err := b.db.Allow(ctx, "s", nil, first, now); err != nil || ok != (want == 0) {
			b.Errorf("first: %v, %v", ok, err)
		}
	}
	for want := range 2 {
		if ok, err := b.db.Allow(ctx, "s", &first, second, now); err != nil || ok != (want == 0) {
			b.Errorf("second: %v, %v", ok, err)
		}
	}
	if _, ok, err := b.db.Setting(ctx, "a"); ok || err != nil {
		b.Errorf("another's: %v, %v", ok, err)
	}
	for _, name := range []string{"a", "z"} {
		if ok, err := b.db.Allow(ctx, name, nil, second, now); err != nil || !ok {
			b.Errorf("another's: %v, %v", ok, err)
		}
	}
	third := [32]byte{3}
	if ok, err := b.db.Allow(ctx, "s", &second, third, now); err != nil || !ok {
		b.Errorf("third: %v, %v", ok, err)
	}
	for name, want := range map[string][32]byte{"a": second, "s": third, "z": second} {
		if got, ok, err := b.db.Setting(ctx, name); err != nil || !ok || got != want {
			b.Errorf("%s: %v, %v, %v", name, got, ok, err)
		}
	}
}

// keyed: what is kept of a request that may hold a token's number cannot be searched for
// without the key; what is shown whole anyway can be compared by everybody.
func keyed(b *bench) {
	const one = `{"purpose":"dispute","queries":[{"payment_token":"6235290123456781"}]}`
	plain, _, err := quorum.Digest(quorum.DetokenizeBatch, "POST", path, []byte(one))
	if err != nil {
		b.Fatal(err)
	}
	if a := b.asked(one); a.Digest == plain {
		b.Error("the number of a token can be found by its digest")
	}
	const why = `{"file":"out.tv"}`
	a, err := b.one.Request(b.Context(), who("op", access.Operator), quorum.Ask{Verb: quorum.VaultExport, Method: quorum.Run, Path: "export", Body: []byte(why), Reason: "why"})
	if err != nil {
		b.Fatal(err)
	}
	if plain, _, err = quorum.Digest(quorum.VaultExport, quorum.Run, "export", []byte(why)); err != nil || a.Digest != plain {
		b.Errorf("%x, %v", a.Digest, err)
	}
	bare, err := quorum.New(quorum.Config{Store: b.db, Gate: audit.Gate{Recorder: b.book}, Rules: rules})
	if err != nil {
		b.Fatal(err)
	}
	if err := bare.Use(b.Context(), bank, batch(one)); err == nil {
		b.Error("without a key a request was let through")
	}
}
