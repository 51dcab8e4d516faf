package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/fault"
)

// TestStrangers: every operation that is not open refuses a caller without a
// token, with a bad one, with two, and says nothing about why.
func TestStrangers(t *testing.T) {
	e := newEdge(t)
	for _, s := range samples() {
		if !strings.HasPrefix(s.path, "/v1/") {
			continue
		}
		for _, h := range [][]string{nil, {""}, {"good"}, {"Basic good"}, {"Bearer"}, {"Bearer bad"}, {"Bearer good", "Bearer good"}} {
			r := s.request()
			r.Header["Authorization"] = h
			p := e.problem(s, r, 401, "unauthenticated")
			if strings.Contains(p.Detail, "precise") {
				t.Errorf("the caller is told why: %s", p.Detail)
			}
		}
	}
	if !strings.Contains(e.logs.String(), "precise reason") {
		t.Error("the log does not say why")
	}
}

func TestHostileBodies(t *testing.T) {
	e := newEdge(t)
	for _, s := range samples() {
		if s.method != "POST" || s.path == "/oauth2/token" {
			continue
		}
		set := func(name, value string) *http.Request {
			r := s.request()
			r.Header.Set(name, value)
			return r
		}
		with := func(body string) *http.Request {
			s := s
			s.body = body
			return s.request()
		}
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/json, application/json", "json"} {
			if s.body != "" {
				e.problem(s, set("Content-Type", kind), 415, "media-type")
			}
		}
		if s.body != "" {
			e.problem(s, set("Content-Encoding", "gzip"), 415, "media-type")
			if w := e.do(s, set("Content-Type", "application/json; charset=UTF-8")); w.Code != s.status {
				t.Errorf("%s: charset=UTF-8 answers %d", s.path, w.Code)
			}
		}
		limit := wire.MaxBody
		if strings.HasSuffix(s.path, "/taps") || strings.HasSuffix(s.path, "/batch") || s.path == "/v1/sync" || s.path == "/v1/approvals" {
			limit = wire.MaxBatch
		}
		large := with(strings.Repeat(" ", limit) + s.body + "{}")
		e.problem(s, large, 413, "too-large")
		chunked := with(strings.Repeat(" ", limit) + s.body + "{}")
		chunked.ContentLength = -1
		e.problem(s, chunked, 413, "too-large")
		for _, body := range []string{"null", "[]", "{", `{"x":1}`, "\x00", strings.Repeat("[", 60_000), s.body + "x"} {
			e.problem(s, with(body), 400, "malformed")
		}
		broken := s.request()
		broken.Body, broken.ContentLength = brokenBody{}, -1
		e.problem(s, broken, 400, "malformed")
		e.problem(s, func() *http.Request { r := s.request(); r.URL.RawQuery = "pan=" + cardDigits; return r }(), 400, "malformed")
	}
	if strings.Contains(e.logs.String(), cardDigits) {
		t.Error("the log holds a card number")
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("reset " + cardDigits) }
func (brokenBody) Close() error             { return nil }

func TestFields(t *testing.T) {
	e := newEdge(t)
	for _, c := range []struct{ path, old, now, field string }{
		{"/v1/tokens", cardDigits, "6222021234567890", "pan"},
		{"/v1/tokens", cardDigits, "62220212345", "pan"},
		{"/v1/tokens", `"2912"`, `"2913"`, "pan_expiry"},
		{"/v1/tokens", `"03"`, `"08"`, "token_location"},
		{"/v1/tokens", `2026-07-24`, `2026-13-24`, "service_day"},
		{"/v1/terminals/{terminal}/taps", "00E1F40001006431", "00E1F4000100643", "taps[0].ud"},
		{"/v1/cryptograms/purchase/verify", "584633C9", "584633", "rand"},
		{"/v1/tokens/{ref}/bundles", `"kty":"EC"`, `"kty":"oct"`, "device_key.kty"},
	} {
		s := find(t, c.path)
		s.body = strings.Replace(s.body, c.old, c.now, 1)
		p := e.problem(s, s.request(), 400, "malformed")
		if p.Field != c.field || !strings.HasPrefix(p.Detail, c.field+": ") || strings.Contains(p.Detail, c.now) && len(c.now) > 4 {
			t.Errorf("%s: field %q, detail %q", c.path, p.Field, p.Detail)
		}
	}
	for path, status := range map[string]int{"/v1/tokens/" + cardDigits: 404, "/v1/tokens/" + strings.Repeat("a", 65): 404, "/v1/tokens/a%20b": 404} {
		s := sample{"GET", path, "/v1/tokens/{ref}", "", 200}
		e.problem(s, s.request(), status, "token-unknown")
	}
	s := find(t, "/v1/terminals/{terminal}/taps")
	s.path = "/v1/terminals/" + cardDigits + "/taps"
	if p := e.problem(s, s.request(), 400, "malformed"); p.Field != "terminal" {
		t.Errorf("%+v", p)
	}
}

// A record that no handset can have made is judged with the rest of its batch,
// as one without a number, which the service answers MALFORMED.
func TestOneBadRecord(t *testing.T) {
	for _, c := range []struct{ old, now string }{{tokenDigits, "0235290123456781"}, {"00E1F40001006431", "00E1F40001006430"}} {
		e := newEdge(t)
		s := find(t, "/v1/terminals/{terminal}/taps")
		s.body = strings.Replace(s.body, c.old, c.now, 1)
		if w := e.do(s, s.request()); w.Code != 200 {
			t.Errorf("%s: %d", c.now, w.Code)
		}
		if taps := e.back.taps; len(taps) != 1 || !taps[0].Number.IsZero() {
			t.Errorf("%s: handed on as %+v", c.now, taps)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	e := newEdge(t)
	for _, s := range samples() {
		if s.method != "POST" {
			continue
		}
		op := e.spec.Paths.Find(s.template()).Post
		described := op.Parameters.GetByInAndName("header", "Idempotency-Key")
		r := s.request()
		r.Header.Del("Idempotency-Key")
		if described != nil && described.Required {
			if p := e.problem(s, r, 400, "malformed"); p.Field != "Idempotency-Key" {
				t.Errorf("%s: %+v", s.path, p)
			}
		} else if w := e.do(s, r); w.Code != s.status {
			t.Errorf("%s without a key: %d", s.path, w.Code)
		}
		for _, keys := range [][]string{{""}, {"a b"}, {strings.Repeat("k", 65)}, {"é"}, {"a", "b"}} {
			r := s.request()
			r.Header["Idempotency-Key"] = keys
			if described == nil {
				continue
			}
			e.problem(s, r, 400, "malformed")
		}
	}
}

// TestKeyIsNoCard: what the key holds is stored as it is.
func TestKeyIsNoCard(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/tokens")
	for key, refused := range map[string]bool{cardDigits: true, "card-" + cardDigits + "/1": true,
		cardDigits[:4] + "-" + cardDigits[4:]: true, "1700000000000000000": false, "k-" + cardDigits[:8]: false} {
		r := s.request()
		r.Header.Set("Idempotency-Key", key)
		if w := e.do(s, r); (w.Code == 400) != refused {
			t.Errorf("%s: %d", key, w.Code)
		}
	}
}

func TestRoutesThatAreNot(t *testing.T) {
	e := newEdge(t)
	for path, kind := range map[string]string{"/": "no-such-route", "/v1": "no-such-route", "/v1/tokens/": "no-such-route", "/V1/tokens": "no-such-route",
		"//v1/tokens": "no-such-route", "/v1/tokens/r1/burn": "no-such-route", "/v1/../v1/tokens": "no-such-route", "/" + cardDigits: "no-such-route"} {
		s := sample{"POST", path, "", "", 404}
		e.problem(s, s.request(), 404, kind)
	}
	for _, c := range []sample{{"PUT", "/v1/tokens", "", "", 405}, {"DELETE", "/v1/tokens/r1", "/v1/tokens/{ref}", "", 405}, {"POST", "/healthz", "", "", 405}, {"TRACE", "/v1/keys", "", "", 405}} {
		e.problem(c, c.request(), 405, "method")
	}
}

// TestHead: whoever asks only whether something is there is answered as by GET,
// without the body.
func TestHead(t *testing.T) {
	srv := httptest.NewServer(newEdge(t).handler)
	defer srv.Close()
	for path, want := range map[string]int{"/healthz": 200, "/openapi.json": 200, "/v1/tokens": 401, "/v1/events/stream": 405, "/v1/par": 405, "/nothing": 404} {
		resp, err := srv.Client().Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || len(body) > 0 || resp.StatusCode != want {
			t.Errorf("%s: %d and %d bytes, %v", path, resp.StatusCode, len(body), err)
		}
	}
}

// TestEveryFault: whatever a service fails with becomes its problem, on every
// operation that calls one; and its wrapping text stays inside.
func TestEveryFault(t *testing.T) {
	e := newEdge(t)
	for _, kind := range fault.Kinds {
		e.back.err = errors.Join(errors.New("inside "+cardDigits), fault.New(kind, "the text of "+string(kind)))
		for _, path := range []string{"/v1/tokens", "/v1/tokens/{ref}/suspend", "/v1/tokens/{ref}/bundles"} {
			s := find(t, path)
			want := problems[kind]
			if e.spec.Paths.Find(s.template()).Post.Responses.Status(want.status) == nil {
				continue // 404, 405 and the like do not arise in a service
			}
			p := e.problem(s, s.request(), want.status, string(kind))
			if strings.Contains(p.Detail, "inside") || kind != fault.Internal && kind != fault.Unauthenticated && p.Detail != "the text of "+string(kind) {
				t.Errorf("%s: detail %q", kind, p.Detail)
			}
		}
		s, w := find(t, "/v1/tokens"), httptest.NewRecorder()
		e.handler.ServeHTTP(w, s.request())
		again := w.Header().Get("Retry-After")
		if status := problems[kind].status; (status == 429 || status == 503 || status == 507) != (again != "") {
			t.Errorf("%s: Retry-After is %q", kind, again)
		}
	}
	e.back.err = errors.New("driver: " + cardDigits)
	s := find(t, "/v1/tokens/{ref}")
	if p := e.problem(s, s.request(), 500, "internal"); p.Detail != "" {
		t.Errorf("an unknown error is told: %q", p.Detail)
	}
}

// TestTable: every kind has a row, every row a kind, and no two share a title.
func TestTable(t *testing.T) {
	titles := map[string]fault.Kind{}
	for _, k := range fault.Kinds {
		p, ok := problems[k]
		if !ok || p.status < 400 || p.title == "" || p.next == "" {
			t.Errorf("%s: %+v", k, p)
		}
		if other, ok := titles[p.title]; ok {
			t.Errorf("%s and %s share a title", k, other)
		}
		titles[p.title] = k
	}
	if len(problems) != len(fault.Kinds) {
		t.Errorf("%d rows for %d kinds", len(problems), len(fault.Kinds))
	}
}

func TestPanic(t *testing.T) {
	e := newEdge(t)
	e.back.panics = "card " + cardDigits
	s := find(t, "/v1/tokens")
	p := e.problem(s, s.request(), 500, "internal")
	id := strings.TrimPrefix(p.Instance, "urn:tapvault:request:")
	log := e.logs.String()
	if !strings.Contains(log, id) || !strings.Contains(log, `"type":"string"`) || !strings.Contains(log, "requestToken") {
		t.Errorf("the log does not say where: %s", log)
	}
	if strings.Contains(log, cardDigits) {
		t.Error("the log holds the panic's value")
	}
	e.logs.Reset()
	func() { // what was carried here from a goroutine of a batch
		defer func() { e.back.panics = fault.Carry(recover()) }()
		thereInTheBatch()
	}()
	e.problem(s, s.request(), 500, "internal")
	if log := e.logs.String(); !strings.Contains(log, `"type":"string"`) || !strings.Contains(log, "thereInTheBatch") || strings.Contains(log, cardDigits) {
		t.Errorf("the log does not say where: %s", log)
	}
	e.back.panics = nil
	if w := e.do(s, s.request()); w.Code != 201 {
		t.Errorf("after a panic: %d", w.Code)
	}
}

func thereInTheBatch() { panic("card " + cardDigits) }

func TestAbortIsNotSwallowed(t *testing.T) {
	e := newEdge(t)
	e.back.panics = http.ErrAbortHandler
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
	}()
	s := find(t, "/v1/tokens")
	e.handler.ServeHTTP(httptest.NewRecorder(), s.request())
}

func TestOverload(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MaxInFlight = 1 })
	e.back.wait = make(chan struct{})
	s := find(t, "/v1/tokens")
	done := make(chan int)
	go func() {
		code := 503
		for code == 503 { // a look at /readyz may hold the one place
			w := httptest.NewRecorder()
			e.handler.ServeHTTP(w, s.request())
			code = w.Code
		}
		done <- code
	}()
	ready, health := find(t, "/readyz"), find(t, "/healthz")
	for e.do(ready, ready.request()).Code == 200 { // until the first one is inside
		continue
	}
	if w := e.do(health, health.request()); w.Code != 200 {
		t.Errorf("a busy process looks dead: %d", w.Code)
	}
	e.problem(s, s.request(), 503, "overloaded")
	close(e.back.wait)
	if code := <-done; code != 201 {
		t.Errorf("the first one: %d", code)
	}
	if w := e.do(ready, ready.request()); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

// TestSlowBodies: who sends slowly takes nobody's place.
func TestSlowBodies(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MaxInFlight = 1 })
	slow, sent := io.Pipe()
	login := find(t, loginPath)
	r := login.request()
	r.Body, r.ContentLength = slow, -1
	done := make(chan struct{})
	go func() {
		e.handler.ServeHTTP(httptest.NewRecorder(), r)
		close(done)
	}()
	_, _ = sent.Write([]byte("g")) // it is being read now
	if s := find(t, "/v1/tokens"); e.do(s, s.request()).Code != 201 {
		t.Error("another request is refused")
	}
	_ = sent.Close()
	<-done
}

// TestReadiness: the answer names the parts that are down and no more, and a
// spare one takes nothing with it; the log says why; and the parts are asked once
// a second.
func TestReadiness(t *testing.T) {
	clock := now
	e := newEdge(t, func(c *Config) { c.Now = func() time.Time { return clock } })
	s := find(t, "/readyz")
	if w := e.do(s, s.request()); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	e.down = errors.New("disk is full")
	if w := e.do(s, s.request()); w.Code != 200 {
		t.Errorf("within a second the parts are asked again: %d", w.Code)
	}
	clock = clock.Add(time.Second)
	w := e.do(s, s.request())
	if want := `{"status":"down","parts":{"hsm":"ok","hsm-2":"down","store":"down"}}`; w.Code != 503 || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(e.logs.String(), "disk is full") {
		t.Errorf("the log does not say why: %s", e.logs)
	}
	if h := find(t, "/healthz"); e.do(h, h.request()).Code != 200 {
		t.Error("a part that is down takes the process's health with it")
	}
}

func TestLogin(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/oauth2/token")
	for _, c := range []struct {
		old, now, code string
		status         int
		kind           string
	}{
		{"client_credentials", "password", "unsupported_grant_type", 400, "malformed"},
		{"grant_type=client_credentials&", "", "unsupported_grant_type", 400, "malformed"},
		{"jwt-bearer", "saml2-bearer", "invalid_request", 400, "malformed"},
		{"&client_assertion=x", "", "invalid_request", 400, "malformed"},
		{"&client_assertion=x", "&client_assertion=x&client_assertion=y", "invalid_request", 400, "malformed"},
		{"client_assertion=x", "client_assertion=stranger", "invalid_client", 401, "unauthenticated"},
		{"client_assertion=x", "client_assertion=x&client_id=other", "invalid_client", 401, "unauthenticated"},
		{"client_assertion=x", "client_assertion=x&scope=keys%3Aread", "invalid_scope", 400, "malformed"},
		{"client_assertion=x", "client_assertion=%zz", "invalid_request", 400, "malformed"},
	} {
		s := s
		s.body = strings.Replace(s.body, c.old, c.now, 1)
		if p := e.problem(s, s.request(), c.status, c.kind); p.OAuthError != c.code {
			t.Errorf("%s: error %q, want %q", c.now, p.OAuthError, c.code)
		}
	}
	r := s.request()
	r.Header.Set("Content-Type", "application/json")
	e.problem(s, r, 415, "media-type")
	s.body += strings.Repeat("&x=y", wire.MaxForm)
	e.problem(s, s.request(), 413, "too-large")
}

func TestParametersAreGuarded(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/terminals/parameters")
	e.back.err = fault.New(fault.AuditDown, "the record cannot be written")
	if w := e.do(s, s.request()); w.Code != 200 {
		t.Errorf("reading needs no record, but answers %d", w.Code)
	}
	if len(e.back.entries) != 0 {
		t.Errorf("%+v", e.back.entries)
	}
}

func TestNewNeeds(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an API without services is made")
	}
}

// TestChallenge: an OAuth client that shows a bad token is told to get another, one that
// shows none is told the scheme only (RFC 6750 section 3).
func TestChallenge(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/ranges")
	for bearer, want := range map[string]string{"": `Bearer realm="tapvault"`, "Basic eDp5": `Bearer realm="tapvault"`,
		"Bearer stranger": `Bearer realm="tapvault", error="invalid_token"`} {
		r := s.request()
		r.Header.Set("Authorization", bearer)
		if w := e.do(s, r); w.Code != 401 || w.Header().Get("WWW-Authenticate") != want {
			t.Errorf("%q: %d %q, want %q", bearer, w.Code, w.Header().Get("WWW-Authenticate"), want)
		}
	}
	login := find(t, loginPath)
	login.body = strings.Replace(login.body, "client_assertion=x", "client_assertion=stranger", 1)
	if w := e.do(login, login.request()); w.Code != 401 || w.Header().Get("WWW-Authenticate") != `Bearer realm="tapvault"` {
		t.Errorf("login: %d %q", w.Code, w.Header().Get("WWW-Authenticate"))
	}
}
