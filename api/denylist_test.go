package api

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// denyBackend plays the deny list.
type denyBackend struct{ *backend }

// lastOrder is the last order that arrived.
var lastOrder denylist.Order

func (b denyBackend) document(tag string) (denylist.Document, error) {
	d := denylist.Document{Tag: `"7-1"`, Bytes: []byte{0xD1, 1, 2}}
	if tag == d.Tag {
		d.Bytes = nil
	}
	return d, b.act()
}

func (b denyBackend) Snapshot(_ context.Context, _ access.Caller, tag string) (denylist.Document, error) {
	return b.document(tag)
}

func (b denyBackend) Delta(_ context.Context, _ access.Caller, from uint64, tag string) (denylist.Document, error) {
	if from > 7 {
		return denylist.Document{}, denylist.ErrTooOld
	}
	return b.document(tag)
}

func (b denyBackend) Policy(_ context.Context, _ access.Caller, tag string) (denylist.Document, error) {
	return b.document(tag)
}

func (b denyBackend) Order(_ context.Context, _ access.Caller, o denylist.Order, a access.Attempt) (denylist.Version, error) {
	lastOrder, b.attempt = o, a
	return denylist.Version{Number: 8, At: now}, b.act()
}

func (denyBackend) Version(context.Context) (uint64, error) { return 7, nil }

// TestDocuments: bytes come as they are, with a tag; who holds the tag gets
// nothing, and who is too far behind is told to begin anew.
func TestDocuments(t *testing.T) {
	e := newEdge(t)
	for _, path := range []string{"/v1/denylist/snapshot", "/v1/denylist/delta", "/v1/terminals/policy"} {
		s := find(t, path)
		w := e.do(s, s.request())
		if w.Code != 200 || w.Body.String() != "\xD1\x01\x02" || w.Header().Get("ETag") != `"7-1"` {
			t.Errorf("%s: %d %X, tag %s", path, w.Code, w.Body.Bytes(), w.Header().Get("ETag"))
		}
		r := s.request()
		r.Header.Set("If-None-Match", `"7-1"`)
		again := httptest.NewRecorder()
		e.handler.ServeHTTP(again, r)
		if again.Code != 304 || again.Body.Len() != 0 || again.Header().Get("ETag") != `"7-1"` {
			t.Errorf("%s again: %d with %d bytes", path, again.Code, again.Body.Len())
		}
	}
	behind := find(t, "/v1/denylist/delta")
	behind.path, behind.route = "/v1/denylist/delta?from=9", "/v1/denylist/delta"
	if w := e.do(behind, behind.request()); w.Code != 410 || !strings.Contains(w.Body.String(), "list-too-old") {
		t.Errorf("a version that is not known: %d", w.Code)
	}
	for _, from := range []string{"", "?from=x", "?from=-1", "?from=07", "?from=99999999999999999999"} {
		behind.path = "/v1/denylist/delta" + from
		if w := e.do(behind, behind.request()); w.Code != 400 {
			t.Errorf("%q: %d", from, w.Code)
		}
	}
}

func TestOrdersArrive(t *testing.T) {
	e := newEdge(t)
	until := time.Date(2026, 7, 25, 0, 0, 0, 0, time.UTC)
	s := find(t, "/v1/denylist/entries")
	for body, want := range map[string]denylist.Order{
		`{"entry":{"kind":"KID","key_id":7,"until":"2026-07-25T00:00:00Z"},"reason":"leak"}`: {
			Line: &denylist.Line{ID: denylist.ID{Kind: deny.KeyID, Name: "7"}, Until: until}},
		`{"entry":{"kind":"SAM","terminal":"310000000001","until":"2026-07-25T00:00:00Z"},"reason":"leak"}`: {
			Line: &denylist.Line{ID: denylist.ID{Kind: deny.SAM, Name: "310000000001"}, Until: until}},
		`{"entry":{"kind":"MIN_CTR","token_reference_id":"r1","min_ctr":9,"until":"2026-07-25T00:00:00Z"},"reason":"leak"}`: {
			Line: &denylist.Line{ID: denylist.ID{Kind: deny.MinCtr, Name: "r1"}, Ctr: 9, Until: until}},
		`{"policy":{"profiles":["P"],"classes":["E","X"],"key_versions":[3],"cap_fen":500},"reason":"leak"}`: {
			Switches: &deny.Switches{Profiles: 1, Classes: 1<<credential.Express | 1<<credential.Large, KeyVers: 8, Cap: 500}},
		`{"policy":{},"reason":"over"}`: {Switches: &deny.Switches{}},
	} {
		s.body = body
		if w := e.do(s, s.request()); w.Code != 200 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
			continue
		}
		switch got := lastOrder; {
		case (got.Line == nil) != (want.Line == nil), got.Line != nil && *got.Line != *want.Line,
			got.Switches != nil && *got.Switches != *want.Switches, got.Reason == "":
			t.Errorf("%s arrives as %+v", body, got)
		}
	}
	for _, body := range []string{
		`{"reason":"none"}`,
		`{"entry":{"kind":"KID","key_id":7,"until":"2026-07-25T00:00:00Z"},"policy":{},"reason":"both"}`,
		`{"entry":{"kind":"TOKEN","token_reference_id":"r1","until":"2026-07-25T00:00:00Z"},"reason":"x"}`,
		`{"entry":{"kind":"KID","until":"2026-07-25T00:00:00Z"},"reason":"x"}`,
		`{"entry":{"kind":"KID","key_id":7,"min_ctr":3,"until":"2026-07-25T00:00:00Z"},"reason":"x"}`,
		`{"entry":{"kind":"MIN_CTR","token_reference_id":"r1","until":"2026-07-25T00:00:00Z"},"reason":"x"}`,
		`{"entry":{"kind":"KID","key_id":7},"reason":"x"}`,
		`{"policy":{"key_versions":[16]},"reason":"x"}`,
		`{"policy":{"classes":["Z"]},"reason":"x"}`,
		`{"policy":{}}`,
	} {
		s.body = body
		if w := e.do(s, s.request()); w.Code != 400 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
}

// purse is a wallet behind a tap.
type purse struct{ barred bool }

func (p purse) Standing(context.Context, token.Number, time.Time) (Standing, error) {
	return Standing{State: account.WalletRestricted, Barred: p.barred, Script: []byte{0xAB}}, nil
}

func TestAuthorized(t *testing.T) {
	for name, tc := range map[string]struct {
		r    account.Result
		want string
	}{
		"posted":                {account.Result{Outcome: account.Posted}, "ACCEPTED"},
		"posted, wrong PIN":     {account.Result{Outcome: account.Posted, Reason: account.WrongPIN}, "ACCEPTED"},
		"the same again":        {account.Result{Outcome: account.Duplicate}, "ACCEPTED"},
		"of what is not posted": {account.Result{Outcome: account.Duplicate, Reason: account.Reason(account.Forked)}, "DECLINED"},
		"a fork":                {account.Result{Outcome: account.Forked}, "DECLINED"},
		"a replay":              {account.Result{Outcome: account.Replay}, "DECLINED"},
		"rejected":              {account.Result{Outcome: account.Rejected, Reason: account.TokenSuspended}, "DECLINED"},
	} {
		if got := authorized(tc.r, false); got.Decision != tc.want || got.Outcome != string(tc.r.Outcome) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	e := newEdge(t, func(c *Config) { c.Wallets = purse{} })
	s := find(t, "/v1/terminals/{terminal}/authorize")
	w := e.do(s, s.request())
	if !strings.Contains(w.Body.String(), `"wallet_state":"RESTRICTED","script":"AB"`) || len(e.back.taps) != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(w.Body.String(), `"decision":"ACCEPTED"`) || e.back.taps[0].Failed {
		t.Errorf("a restricted wallet may pay online: %s", w.Body)
	}
	barred := newEdge(t, func(c *Config) { c.Wallets = purse{barred: true} })
	if w := barred.do(s, s.request()); !strings.Contains(w.Body.String(), `"decision":"DECLINED"`) || !barred.back.taps[0].Failed {
		t.Errorf("a suspended wallet: %s", w.Body)
	}
	if got := authorized(account.Result{Outcome: account.Posted}, true); got.Decision != "DECLINED" {
		t.Error("a tap that failed is accepted")
	}
	r := s.request()
	r.Header.Set("Authorization", "Bearer good") // an issuer
	if w := e.do(s, r); w.Code != 403 {
		t.Errorf("an issuer has a tap authorized: %d", w.Code)
	}
	var body wire.Authorize
	if err := wire.Decode([]byte(`{"tap":{}}`), &body); err == nil {
		t.Error("a tap of nothing")
	}
}
