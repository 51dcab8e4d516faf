package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/load"
)

const (
	account1 = "wlAAAAAAAAAAAAAAAAAAAAAAAAAA"
	load1    = "ldAAAAAAAAAAAAAAAAAAAAAAAAAA"
	ordered  = card + `,"rand":"C903814D","online_seq":9,"balance":100,"term_id":"001122334455","date":"20161216","time":"105800","mac1":"03976C22"`
)

// loads plays the service of card loads: it remembers what it was asked.
type loads struct{ *backend }

var askedOrder load.Order

func (l loads) answer() (load.Record, error) {
	return load.Record{Order: load.Order{Kind: load.Credit, Account: account1, Amount: 700, At: cryptogram.DateTime{0x20, 0x16, 0x12, 0x16, 0x10, 0x58}},
		ID: load1, State: load.Started, CreatedAt: now, ChangedAt: now}, l.act()
}

func (l loads) Begin(_ context.Context, _ access.Caller, _ cardhost.Card, o load.Order, _ [4]byte, a access.Attempt) (load.Begun, error) {
	askedOrder, l.attempt = o, a
	r, err := l.answer()
	return load.Begun{Record: r, MAC2: [4]byte{1, 2, 3, 4}}, err
}

func (l loads) Order(context.Context, access.Caller, string) (load.Record, error) { return l.answer() }

func (l loads) Orders(_ context.Context, _ access.Caller, f load.Filter) ([]load.Record, error) {
	askedOrder = load.Order{Account: f.Account, Kind: load.Kind(f.State), Amount: uint32(f.Limit)}
	r, err := l.answer()
	return []load.Record{r}, err
}

func (l loads) Confirm(context.Context, access.Caller, string, cardhost.Card, [4]byte) (load.Record, error) {
	return l.answer()
}

func (l loads) Reverse(_ context.Context, _ access.Caller, _ string, _ cardhost.Card, s load.Shown, _ [4]byte) (load.Record, error) {
	askedOrder.Seq = s.Seq
	return l.answer()
}

func (l loads) Matters(_ context.Context, _ access.Caller, q load.Search) ([]load.Matter, error) {
	askedSearch = q
	m, err := l.Decide(context.Background(), access.Caller{}, askedDecision)
	return []load.Matter{m}, err
}

// decided is whether the decision that was asked for is known.
var decided bool

func (l loads) Decided(_ context.Context, _ access.Caller, d load.Decision) (load.Matter, bool, error) {
	m, err := l.Decide(context.Background(), access.Caller{}, d)
	return m, decided, err
}

func (l loads) Decide(_ context.Context, _ access.Caller, d load.Decision) (load.Matter, error) {
	askedDecision = d
	r, err := l.answer()
	d.By, d.At = "desk", now
	return load.Matter{Record: r, Decisions: []load.Decision{d}, Open: true}, err
}

var (
	askedSearch   load.Search
	askedDecision = load.Decision{In: load.Suspense, Verdict: load.Reverse}
)

// TestDecisions: a decision arrives as it was written, and what is asked for of
// the list; nothing that may be a card number does.
func TestDecisions(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/loads/decisions")
	var out wire.LoadMatter
	if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &out); err != nil || out.ID != load1 || len(out.Decisions) != 1 || !out.Waits {
		t.Errorf("%v: %+v", err, out)
	}
	want := load.Decision{Load: load1, In: load.Suspense, Verdict: load.Reverse, Reason: "read at the desk", Evidence: "case-7"}
	if askedDecision != want {
		t.Errorf("asked %+v", askedDecision)
	}
	if d := out.Decisions[0]; d.Client != "desk" || d.Decision != "REVERSE" || d.State != "SUSPENSE" || d.Reason != want.Reason || d.Evidence != want.Evidence {
		t.Errorf("%+v", d)
	}
	good := s.body
	for old, bad := range map[string][2]string{`read at the desk`: {" ", "reason"}, `case-7`: {cardDigits, "evidence"}, `SUSPENSE`: {"SETTLED", "state"},
		`REVERSE`: {"FORGET", "decision"}, load1: {cardDigits, "load"}} {
		s.body = strings.Replace(good, old, bad[0], 1)
		if p := e.problem(s, s.request(), 400, "malformed"); p.Field != bad[1] {
			t.Errorf("%s: %+v", old, p)
		}
	}
	list := sample{"GET", "/v1/loads?load=" + load1 + "&account=" + account1 + "&state=DISPUTED&cursor=" + load1 + "&limit=1", "/v1/loads", "", 200}
	if body := e.do(list, list.request()).Body.String(); !strings.Contains(body, `"next_cursor":"`+load1) ||
		askedSearch != (load.Search{Load: load1, Account: account1, State: load.Disputed, After: load1, Limit: 1}) {
		t.Errorf("%s, asked %+v", body, askedSearch)
	}
	for path, field := range map[string]string{"?state=LOST": "state", "?cursor=" + cardDigits: "cursor", "?limit=0": "limit"} {
		list.path = "/v1/loads" + path
		if p := e.problem(list, list.request(), 400, "malformed"); p.Field != field {
			t.Errorf("%s: %+v", path, p)
		}
	}
	for err, want := range map[error]string{load.ErrDecided: "load-state", load.ErrClosed: "load-state", load.ErrUnknown: "load-unknown", load.ErrDecision: "malformed"} {
		e.back.err = err
		s := find(t, "/v1/loads/decisions")
		e.problem(s, s.request(), map[string]int{"load-state": 409, "load-unknown": 404, "malformed": 400}[want], want)
	}
}

// TestLoads: orders arrive as they were written, and MAC2 is answered once.
func TestLoads(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/accounts/{id}/loads")
	for body, typ := range map[string]cryptogram.Type{s.body: cryptogram.LoadDeposit, strings.Replace(s.body, `,"txn_type":1`, "", 1): cryptogram.LoadPurse} {
		s.body = body
		var out wire.CardLoad
		if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &out); err != nil || out.MAC2 == nil || *out.MAC2 != (wire.Hex4{1, 2, 3, 4}) || out.ID != load1 {
			t.Errorf("%v: %+v", err, out)
		}
		o := askedOrder
		if o.Kind != load.Credit || o.Account != account1 || o.Type != typ || o.Amount != 700 || o.Seq != 9 || o.Balance != 100 || o.At.Clock() != "105800" {
			t.Errorf("%+v", o)
		}
	}
	s = find(t, "/v1/accounts/{id}/overdrafts")
	e.do(s, s.request())
	if o := askedOrder; o.Kind != load.Overdraft || o.NewLimit.Fen() != 500 || o.Amount != 0 {
		t.Errorf("%+v", o)
	}
	s.body = strings.Replace(s.body, "500", "16777216", 1)
	if p := e.problem(s, s.request(), 400, "malformed"); p.Field != "new_limit" {
		t.Errorf("%+v", p)
	}
	for path, field := range map[string]string{"?state=LOST": "state", "?cursor=" + cardDigits: "cursor", "?limit=0": "limit"} {
		s := sample{"GET", "/v1/accounts/" + account1 + "/loads" + path, "/v1/accounts/{id}/loads", "", 200}
		if p := e.problem(s, s.request(), 400, "malformed"); p.Field != field {
			t.Errorf("%s: %+v", path, p)
		}
	}
	list := sample{"GET", "/v1/accounts/" + account1 + "/loads?state=STARTED&limit=1", "/v1/accounts/{id}/loads", "", 200}
	if body := e.do(list, list.request()).Body.String(); !strings.Contains(body, `"next_cursor":"`+load1) || askedOrder.Kind != "STARTED" || askedOrder.Account != account1 {
		t.Errorf("%s, asked %+v", body, askedOrder)
	}
	s = find(t, "/v1/loads/{load}")
	if body := e.do(s, s.request()).Body.String(); strings.Contains(body, "mac2") {
		t.Error("MAC2 is told to whoever reads a load")
	}
	for err, want := range map[error]struct {
		status int
		kind   string
	}{load.ErrCounter: {409, "load-state"}, load.ErrUnknown: {404, "load-unknown"}, load.ErrMisses: {409, "load-state"},
		cryptogram.ErrMismatch: {403, "refused"}, fault.New(fault.FundsShort, "short"): {409, "funds-short"}} {
		e.back.err = err
		s := find(t, "/v1/loads/{load}/confirm")
		e.problem(s, s.request(), want.status, want.kind)
	}
}
