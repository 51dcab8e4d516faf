package api

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// TestNewRequestsArrive looks at what the services of a token's life were
// asked.
func TestNewRequestsArrive(t *testing.T) {
	e := newEdge(t)
	for _, s := range samples() {
		if s.path != "/v1/detokenize" && s.template() != "/v1/events/stream" { // asked after the others
			e.do(s, s.request())
		}
	}
	b := e.back
	if len(b.requests) != 2 || b.requests[0].PAN.Reveal() != cardDigits || b.requests[1].PAN.Reveal() != cardDigits || b.requests[1].PANExpiry != "2912" {
		t.Errorf("batch: %+v", b.requests)
	}
	if c := b.set.Controls; c == nil || c.MCC[0] != "4111" || c.MaxSum != 9000 || b.set.Assurance.Method != "11" ||
		!b.set.NotAfter.Equal(time.Date(2026, 7, 25, 19, 0, 0, 0, time.UTC)) {
		t.Errorf("attributes: %+v", b.set)
	}
	if b.decision != token.DecisionStepUp || b.notice.Result != token.Failure || b.notice.Reason != "no lock" || !b.notice.At.Equal(now) {
		t.Errorf("decision %s, notice %+v", b.decision, b.notice)
	}
	if b.filter != (token.Filter{Last4: "7894", State: token.Active}) || b.cursor != "" {
		t.Errorf("search: %+v %q", b.filter, b.cursor)
	}
	if b.events.Requestor != "50120834693" || b.after != 100 || b.limit != 5 {
		t.Errorf("events: %+v behind %d, %d", b.events, b.after, b.limit)
	}
	if r := b.replace; r.Old.Reveal() != cardDigits || r.New.Reveal() != newDigits || r.NewExpiry != "3012" || r.Attempt.Key != "k1" || b.asked.Reveal() != cardDigits {
		t.Errorf("replacement: %+v", r)
	}
	if q := b.query; q.Ref != "r1" || q.Where.Merchant != "shop-1" || q.Where.Channel != token.Ecommerce || q.Where.Amount != 300 || q.Purchase != "order-17" {
		t.Errorf("direct query: %+v", q)
	}
}

// TestSealedCards: what one caller sealed is taken from that caller, wherever a
// card number is.
func TestSealedCards(t *testing.T) {
	e := newEdge(t)
	for path, body := range map[string]string{
		"/v1/tokens":        `{"pan_jwe":"` + sealedCard + `","token_location":"03"}`,
		"/v1/par":           `{"pan_jwe":"` + sealedCard + `"}`,
		"/v1/cards/replace": `{"pan_jwe":"` + sealedCard + `","new_pan_jwe":"` + sealedCard + `"}`,
	} {
		s := find(t, path)
		s.body = body
		if w := e.do(s, s.request()); w.Code != s.status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		s.body = strings.ReplaceAll(body, ".d", ".x")
		e.problem(s, s.request(), 422, "intake")
		r := find(t, path).request()
		r = httptest.NewRequest("POST", r.URL.String(), strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer terminal")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "k1")
		e.problem(s, r, 403, "denied")
	}
	if b := e.back; b.request.PAN.Reveal() != cardDigits || b.request.PANExpiry != "2912" || b.replace.NewExpiry != "2912" || b.asked.Reveal() != cardDigits {
		t.Error("a sealed card did not arrive")
	}
}

// TestBatchRecords: a record that is wrong is answered its problem, in its
// place, and spoils no other.
func TestBatchRecords(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/tokens/batch")
	s.body = strings.Replace(s.body, cardDigits, "6222021234567890", 1)
	var tokens wire.TokenResults
	if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &tokens); err != nil {
		t.Fatal(err)
	}
	if r := tokens.Results; len(r) != 2 || r[0].Problem == nil || r[0].Problem.Field != "pan" || r[0].Token != nil || r[1].Token == nil {
		t.Errorf("%+v", r)
	}
	s = find(t, "/v1/detokenize/batch")
	s.body = strings.Replace(s.body, tokenDigits, "0235290123456781", 2)
	var cards wire.DetokenizeResults
	if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &cards); err == nil && len(cards.Results) == 2 {
		if r := cards.Results; r[0].Card == nil || r[1].Problem == nil || r[1].Problem.Field != "payment_token" {
			t.Errorf("%+v", r)
		}
	} else {
		t.Errorf("%v: %+v", err, cards)
	}
	e.back.err = fault.New(fault.StoreDown, "the database is away")
	s = find(t, "/v1/detokenize/batch")
	e.problem(s, s.request(), 503, "store-unavailable")
	e.back.err = detokenize.ErrFast
	e.problem(s, s.request(), 429, "too-fast")
}

// TestQueries: a query is read as strictly as a body, and never repeated.
func TestQueries(t *testing.T) {
	e := newEdge(t)
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=101": "limit", "limit=01": "limit", "limit=%2B5": "limit", "limit=x": "limit", "limit=": "limit",
		"limit=5&limit=5": "limit", "last4=123": "last4", "last4=" + cardDigits: "last4", "state=LOST": "state", "par=x": "par",
		"ref=" + cardDigits: "ref", "requestor=1": "requestor", "pan=" + cardDigits: "", "%zz": "", "a;b": "",
		"cursor=" + strings.Repeat("a", 1100): "",
	} {
		s := sample{"GET", "/v1/tokens?" + query, "/v1/tokens", "", 200}
		if p := e.problem(s, s.request(), 400, "malformed"); p.Field != field || strings.Contains(p.Detail, cardDigits) {
			t.Errorf("%s: %+v", query, p)
		}
	}
	for _, cursor := range []string{"x", "p", "p-1", "p01", "p2s", "pAAAAAAAAAAAAAAAAAAAAAAAAAA", strings.ToLower(places.format(100))} {
		s := sample{"GET", "/v1/events?cursor=" + cursor, "/v1/events", "", 200}
		if p := e.problem(s, s.request(), 400, "malformed"); p.Field != "cursor" {
			t.Errorf("%s: %+v", cursor, p)
		}
	}
	s := sample{"GET", "/v1/keys?limit=5", "/v1/keys", "", 200}
	e.problem(s, s.request(), 400, "malformed")
	s = sample{"GET", "/v1/tokens?cursor=abc&ref=tr" + strings.Repeat("A", 26) + "&par=" + par + "&requestor=50120834693", "/v1/tokens", "", 200}
	if w := e.do(s, s.request()); w.Code != 200 || e.back.cursor != "abc" || e.back.filter.PAR != par || e.back.limit != wire.MaxPage {
		t.Errorf("%d: %+v", w.Code, e.back.filter)
	}
}

// TestEventsOfOthers: a caller that acts for one requestor is refused
// another's; an operator may look at any.
func TestEventsOfOthers(t *testing.T) {
	e := newEdge(t)
	s := sample{"GET", "/v1/events?requestor=10987654321", "/v1/events", "", 200}
	e.problem(s, s.request(), 403, "denied")
	r := s.request()
	r.Header.Set("Authorization", "Bearer terminal")
	e.problem(s, r, 403, "denied")
	if len(e.back.entries) != 2 || e.back.entries[0].Reason != "other-requestor" || e.back.entries[1].Action != access.EventRead {
		t.Errorf("recorded: %+v", e.back.entries)
	}
}

func TestSuspenders(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/tokens/{ref}/suspend")
	s.body = `{"suspender":"RISK","reason":"seen twice"}`
	if w := e.do(s, s.request()); w.Code != 200 || e.back.reason != "RISK suspend seen twice" {
		t.Errorf("%d %q", w.Code, e.back.reason)
	}
	s = find(t, "/v1/tokens/{ref}/delete")
	s.body = `{"suspender":"RISK"}`
	if p := e.problem(s, s.request(), 400, "malformed"); p.Field != "suspender" {
		t.Errorf("%+v", p)
	}
}
