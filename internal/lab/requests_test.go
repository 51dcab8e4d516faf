package lab_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/lab"
)

// One PAN per way to be wrong: none may come back in any answer.
const (
	panBadLuhn  = "6212987654321090"
	panTooShort = "62129876543"
	panTooLong  = "62129876543210987650"
	panLetters  = "62129876543210AB"
	panToken    = "6299000000000007" // passes its check digit, but lies in the token range
)

func body(pan string) string {
	return fmt.Sprintf(`{"pan":%q,"pan_expiry":"3012","token_location":"03"}`, pan)
}

func withKey(h http.Header, key string) http.Header {
	h = h.Clone()
	h.Set("Idempotency-Key", key)
	return h
}

func TestRequestsThatCannotBeRead(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h := withKey(l.Bearer(t, "issuer"), "k")
	whole := body(testPAN)
	for name, c := range map[string]struct {
		body   string
		header http.Header
		status int
		kind   string
	}{
		"no JSON":               {"card " + testPAN, h, 400, "malformed"},
		"empty":                 {"", h, 400, "malformed"},
		"an array":              {"[" + whole + "]", h, 400, "malformed"},
		"truncated":             {whole[:len(whole)-20], h, 400, "malformed"},
		"truncated in a number": {`{"pan":"` + testPAN[:9], h, 400, "malformed"},
		"text behind it":        {whole + whole, h, 400, "malformed"},
		"unknown field":         {strings.Replace(whole, `{`, `{"pin":"1234",`, 1), h, 400, "malformed"},
		"field twice":           {strings.Replace(whole, `{`, `{"pan":"`+testPAN+`",`, 1), h, 400, "malformed"},
		"field missing":         {`{"pan":"` + testPAN + `"}`, h, 400, "malformed"},
		"number for a string":   {strings.Replace(whole, `"`+testPAN+`"`, testPAN, 1), h, 400, "malformed"},
		"not UTF-8":             {strings.Replace(whole, "03", "0\xff", 1), h, 400, "malformed"},
		"fails Luhn":            {body(panBadLuhn), h, 400, "malformed"},
		"too short":             {body(panTooShort), h, 400, "malformed"},
		"too long":              {body(panTooLong), h, 400, "malformed"},
		"letters":               {body(panLetters), h, 400, "malformed"},
		"month 13":              {strings.Replace(whole, "3012", "3013", 1), h, 400, "malformed"},
		"card expired":          {strings.Replace(whole, "3012", "2001", 1), h, 422, "card-expired"},
		"card is a token":       {body(panToken), h, 422, "card-is-token"},
		"no range":              {body("3104000000000000007"), h, 422, "no-range"},
		"day over":              {strings.Replace(whole, `{`, `{"service_day":"2020-01-01",`, 1), h, 422, "day-out-of-reach"},
		"oversized":             {strings.Replace(whole, `{`, `{`+strings.Repeat(" ", 1<<20), 1), h, 413, "too-large"},
		"other type":            {whole, with(h, "Content-Type", "text/plain"), 415, "media-type"},
		"compressed":            {whole, with(h, "Content-Encoding", "gzip"), 415, "media-type"},
		"no key":                {whole, l.Bearer(t, "issuer"), 400, "malformed"},
		"key too long":          {whole, withKey(h, strings.Repeat("k", 65)), 400, "malformed"},
		"no caller":             {whole, http.Header{"Idempotency-Key": {"k"}}, 401, "unauthenticated"},
		"wrong role":            {whole, withKey(l.Bearer(t, "terminal"), "k"), 403, "denied"},
	} {
		t.Run(name, func(t *testing.T) {
			a := l.Send(t, "POST", "/v1/tokens", c.header, []byte(c.body))
			if a.Status != c.status || a.Type != c.kind {
				t.Errorf("answered %d %s, want %d %s", a.Status, a.Type, c.status, c.kind)
			}
			if a.Request == "" {
				t.Error("no request id")
			}
		})
	}
	if n := issued(t, l); n != 0 {
		t.Errorf("%d tokens were issued all the same", n)
	}
	noSecrets(t, l, testPAN, testPAN[:9], panBadLuhn, panTooShort, panTooLong, panLetters, panToken)
}

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h.Set(name, value)
	return h
}

// issued counts tokens by what the audit record cannot: the database itself.
func issued(t *testing.T, l *lab.Lab) (n int) {
	t.Helper()
	return l.Count(t, "tokens")
}

func TestRequestsOfOtherKinds(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h := l.Bearer(t, "issuer")
	for name, c := range map[string]struct {
		method, path string
		status       int
		kind         string
	}{
		"no such path":      {"GET", "/v1/cards/" + testPAN, 404, "no-such-route"},
		"wrong method":      {"DELETE", "/v1/tokens", 405, "method"},
		"a query":           {"GET", "/v1/tokens/x?pan=" + testPAN, 400, "malformed"},
		"unknown token":     {"GET", "/v1/tokens/trAAAAAAAAAAAAAAAAAAAAAAAAAA", 404, "token-unknown"},
		"reference of junk": {"GET", "/v1/tokens/%27%20or%201=1", 404, "token-unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := l.Send(t, c.method, c.path, h, nil); a.Status != c.status || a.Type != c.kind {
				t.Errorf("answered %d %s, want %d %s", a.Status, a.Type, c.status, c.kind)
			}
		})
	}
	noSecrets(t, l, testPAN)
}

func TestRequestsSentTwice(t *testing.T) {
	l := lab.New(t, lab.Options{})
	h := withKey(l.Bearer(t, "issuer"), "once")
	first := l.Send(t, "POST", "/v1/tokens", h, []byte(body(testPAN)))
	second := l.Send(t, "POST", "/v1/tokens", h, []byte(body(testPAN)))
	if first.Status != 201 || second.Status != 201 || !bytes.Equal(first.Body, second.Body) {
		t.Errorf("answered %d and %d, want the same token twice", first.Status, second.Status)
	}
	other := l.Send(t, "POST", "/v1/tokens", h, []byte(strings.Replace(body(testPAN), "3012", "3011", 1)))
	if other.Status != 422 || other.Type != "idempotency-key-reused" {
		t.Errorf("another request under the same key: %d %s", other.Status, other.Type)
	}
	if n := issued(t, l); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	noSecrets(t, l, testPAN)
}

func TestCallersThatCannotBeBelieved(t *testing.T) {
	l := lab.New(t, lab.Options{})
	tok := newToken(t, l, cardRequest())
	bearer := l.Bearer(t, "issuer").Get("Authorization")
	parts := strings.Split(strings.TrimPrefix(bearer, "Bearer "), ".")
	const none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0" // {"alg":"none","typ":"at+jwt"}
	for name, value := range map[string]string{
		"changed signature": bearer[:len(bearer)-6] + "AAAAAA",
		"changed claims":    "Bearer " + parts[0] + "." + parts[1][:len(parts[1])-4] + "AAAA." + parts[2],
		"no algorithm":      "Bearer " + none + "." + parts[1] + ".",
		"no token":          "Bearer ",
		"basic":             "Basic aXNzdWVyOnNlY3JldA==",
		"junk":              "Bearer " + strings.Repeat("x", 4000),
	} {
		t.Run(name, func(t *testing.T) {
			a := l.Send(t, "GET", "/v1/tokens/"+tok.Ref, http.Header{"Authorization": {value}}, nil)
			if a.Status != 401 || a.Type != "unauthenticated" {
				t.Errorf("answered %d %s", a.Status, a.Type)
			}
		})
	}
	if _, err := l.Client(t, "stranger").AccessToken(t.Context()); !client.IsProblem(err, "unauthenticated") {
		t.Errorf("a client that nobody registered: %v", err)
	}
	if _, err := l.ClientAs(t, "issuer", "stranger").AccessToken(t.Context()); !client.IsProblem(err, "unauthenticated") {
		t.Errorf("an assertion signed by another key: %v", err)
	}
	if _, err := l.Client(t, "other-issuer").Token(t.Context(), tok.Ref); !client.IsProblem(err, "token-unknown") {
		t.Errorf("another requestor's token: %v", err)
	}
	noSecrets(t, l, testPAN)
}

func TestAssertionUsedTwice(t *testing.T) {
	l := lab.New(t, lab.Options{})
	form := l.Assertion(t, "issuer")
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if a := l.Send(t, "POST", "/oauth2/token", h, form); a.Status != 200 {
		t.Fatalf("the first time: %d %s", a.Status, a.Type)
	}
	if a := l.Send(t, "POST", "/oauth2/token", h, form); a.Status != 401 || a.Type != "unauthenticated" {
		t.Errorf("the second time: %d %s", a.Status, a.Type)
	}
}

func TestTokensThatMayNotPay(t *testing.T) {
	c := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: c.now})
	issuer, wallet := l.Client(t, "issuer"), l.Client(t, "wallet")
	key := wire.PublicKey{KeyType: "EC", Curve: "P-256", X: "u4y9cmtaMWWimMnifuOoqeuRQ9s9Jcwkw6v55ziJ-FM",
		Y: "b93Mjd44dOj-tXrqnVq79uK1iCV_GnT1aP4TCgtyCak"}

	suspended := newToken(t, l, cardRequest())
	phone, reader := newPhone(t, l, suspended.Ref, c.now), newReader(t, l, c.now)
	c.pass(1e9)
	if _, err := issuer.Suspend(t.Context(), suspended.Ref, "test"); err != nil {
		t.Fatal(err)
	}
	c.pass(200e9)
	if _, err := wallet.Bundle(t.Context(), suspended.Ref, key); !client.IsProblem(err, "token-suspended") {
		t.Errorf("slots for a suspended token: %v", err)
	}
	tap := tapOnce(t, reader, phone) // the reader has not asked for its list since
	if r := upload(t, l, tap); r.Outcome != "REJECTED" || r.Reason != "TOKEN_SUSPENDED" {
		t.Errorf("a tap made while suspended: %s %s", r.Outcome, r.Reason)
	}
	detokenizeRefused(t, l, wire.DetokenizeRequest{Ref: suspended.Ref, Tap: &tap, Purpose: "settlement"}, "a suspended token")

	q := cardRequest()
	q.Day = "2026-05-21"
	future := newToken(t, l, q)
	early := newPhone(t, l, future.Ref, c.now) // tomorrow's slots are fetched ahead
	if _, err := reader.Tap(t.Context(), early, 350); err == nil {
		t.Error("tomorrow's phone paid today")
	}
	moved := tap
	moved.Number = future.Number
	detokenizeRefused(t, l, wire.DetokenizeRequest{Ref: future.Ref, Tap: &moved, Purpose: "settlement"}, "a future token")

	deleted := newToken(t, l, cardRequest())
	if _, err := issuer.Delete(t.Context(), deleted.Ref, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.Resume(t.Context(), deleted.Ref, "test"); !client.IsProblem(err, "token-state") {
		t.Errorf("resuming a deleted token: %v", err)
	}
	if _, err := wallet.Bundle(t.Context(), "trAAAAAAAAAAAAAAAAAAAAAAAAAA", key); !client.IsProblem(err, "token-unknown") {
		t.Errorf("slots for an unknown token: %v", err)
	}

	expired := newToken(t, l, cardRequest())
	c.pass(25 * 3600e9)
	if _, err := wallet.Bundle(t.Context(), expired.Ref, key); !client.IsProblem(err, "token-expired") {
		t.Errorf("slots for an expired token: %v", err)
	}
	moved.Number = expired.Number
	detokenizeRefused(t, l, wire.DetokenizeRequest{Ref: expired.Ref, Tap: &moved, Purpose: "settlement"}, "an expired token")
	noSecrets(t, l, testPAN, hexOf(tap.MAC1), hexOf(tap.MAC2), hexOf(tap.TAC))
}

func hexOf(m wire.Hex4) string { return fmt.Sprintf("%X", m[:]) }

func detokenizeRefused(t *testing.T, l *lab.Lab, q wire.DetokenizeRequest, what string) {
	t.Helper()
	if _, err := l.Client(t, "issuer").Detokenize(t.Context(), q); !client.IsProblem(err, "refused") {
		t.Errorf("the card of %s: %v", what, err)
	}
}

func TestTapsThatWereAltered(t *testing.T) {
	c := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: c.now})
	tok := newToken(t, l, cardRequest())
	phone, reader := newPhone(t, l, tok.Ref, c.now), newReader(t, l, c.now)
	good := tapOnce(t, reader, phone)
	var marked []string
	for name, c := range map[string]struct {
		spoil  func(*wire.Tap)
		reason string
	}{
		"MAC2":          {func(x *wire.Tap) { x.MAC2 = flip(x.MAC2) }, "TAMPER"},
		"MAC2 and TAC":  {func(x *wire.Tap) { x.MAC2, x.TAC = flip(x.MAC2), flip(x.TAC) }, "FORGED"},
		"amount":        {func(x *wire.Tap) { x.Amount++ }, "FORGED"},
		"over the cap":  {func(x *wire.Tap) { x.Amount = 100000 }, "FORGED"},
		"unknown token": {func(x *wire.Tap) { x.Number = "6299000000000007" }, "UNKNOWN_TOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			c.spoil(&bad)
			marked = append(marked, hexOf(bad.MAC2), hexOf(bad.TAC))
			if r := upload(t, l, bad); r.Outcome != "REJECTED" || r.Reason != c.reason || r.TapID != "" {
				t.Errorf("answered %s %s, want REJECTED %s", r.Outcome, r.Reason, c.reason)
			}
			detokenizeRefused(t, l, wire.DetokenizeRequest{Ref: tok.Ref, Tap: &bad, Purpose: "settlement"}, name)
		})
	}
	first := upload(t, l, good)
	if first.Outcome != "POSTED" {
		t.Fatalf("the true tap: %s %s", first.Outcome, first.Reason)
	}
	if r := upload(t, l, good); r.Outcome != "DUPLICATE" || r.TapID != first.TapID {
		t.Errorf("the true tap again: %s", r.Outcome)
	}
	replay := good
	replay.Date, replay.TAC = wire.Date{0x20, 0x26, 0x05, 0x20}, flip(good.TAC)
	replay.Time[2] ^= 1
	if r := upload(t, l, replay); r.Outcome != "REPLAY" {
		t.Errorf("the slot's MAC2 under another time: %s %s", r.Outcome, r.Reason)
	}
	if a := l.Send(t, "POST", "/v1/terminals/310000000001/taps", l.Bearer(t, "terminal"),
		[]byte(`{"taps":[`+strings.TrimSuffix(strings.Repeat("{},", 501), ",")+`]}`)); a.Status != 400 && a.Status != 413 {
		t.Errorf("501 taps: %d %s", a.Status, a.Type)
	}
	noSecrets(t, l, append(marked, testPAN, hexOf(good.MAC1), hexOf(good.TAC))...)
}
