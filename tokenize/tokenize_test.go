package tokenize_test

import (
	"context"
	"fmt"
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

const bankID = "12345678901"

var (
	bank = access.Caller{ID: "bank", Role: access.Issuer, Scopes: access.Actions, Requestor: bankID}
	// rival is another requestor, nobody an issuer without one.
	rival    = access.Caller{ID: "rival", Role: access.Issuer, Scopes: access.Actions, Requestor: "99999999999"}
	nobody   = access.Caller{ID: "nobody", Role: access.Issuer, Scopes: access.Actions}
	operator = access.Caller{ID: "op", Role: access.Operator, Scopes: access.Actions}
	terminal = access.Caller{ID: "gate", Role: access.Terminal, Scopes: access.Actions}
)

// notes is a recorder in memory that can be made to fail.
type notes struct {
	mu      sync.Mutex
	entries []audit.Entry
	err     error
}

func (n *notes) Record(_ context.Context, e audit.Entry) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	n.entries = append(n.entries, e)
	return nil
}

func (n *notes) last() audit.Entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.entries[len(n.entries)-1]
}

// shop is a service and what it stands on.
type shop struct {
	*tokenize.Service
	*vaulttest.Fixture
	notes *notes
}

// build makes a service over f; wrap, if any, goes around its vault, and the
// options change its configuration.
func build(t testing.TB, f *vaulttest.Fixture, wrap func(tokenize.Vault) tokenize.Vault, options ...func(*tokenize.Config)) shop {
	t.Helper()
	sh, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	n := new(notes)
	var v tokenize.Vault = f.Writer()
	if wrap != nil {
		v = wrap(v)
	}
	cfg := tokenize.Config{Vault: v, Gate: audit.Gate{Recorder: n},
		Calendar: token.Calendar{Zone: sh, CutOver: 3 * time.Hour}, Now: f.Clock.Now}
	for _, o := range options {
		o(&cfg)
	}
	s, err := tokenize.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return shop{s, f, n}
}

func open(t testing.TB) shop { return build(t, vaulttest.New(t), nil) }

func request(t testing.TB, n int) tokenize.Request {
	return tokenize.Request{Requestor: bankID, PAN: vaulttest.Card(t, n), PANExpiry: "2912", Location: token.LocationDevice}
}

func (s shop) issue(t testing.TB, n int) token.Token {
	t.Helper()
	tok, err := s.Request(t.Context(), bank, request(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func kind(t testing.TB, name string, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != want {
		t.Errorf("%s: got %v, want an error of kind %s", name, err, want)
	}
}

func (s shop) tokens(t testing.TB) (n int64) {
	t.Helper()
	if err := s.DB.Read(t.Context()).Table("tokens").Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRequest(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	// vaulttest.Start is noon of 2 March in Shanghai.
	if tok.State != token.Requested || !tok.NotBefore.Equal(vaulttest.Start) ||
		!tok.NotAfter.Equal(vaulttest.Start.Add(15*time.Hour)) || tok.Expiry != "2603" || !tok.Ref.Valid() || tok.Requestor != bankID {
		t.Fatalf("issued %+v", tok)
	}
	e := s.notes.last()
	if e.Outcome != audit.Allowed || e.Object != string(tok.Ref) || e.Action != access.TokenRequest || e.Caller.ID != "bank" {
		t.Fatalf("recorded %+v", e)
	}
	for name, e := range map[string]any{"token": tok, "record": e} {
		if strings.Contains(fmt.Sprintf("%+v", e), vaulttest.Card(t, 1).Reveal()) {
			t.Errorf("the %s holds the card number", name)
		}
	}
	r := request(t, 2)
	r.Requestor = ""
	if tok, err := s.Request(t.Context(), bank, r); err != nil || tok.Requestor != bankID {
		t.Fatalf("the caller's own requestor: %v, %v", tok.Requestor, err)
	}
}

func TestRequestRefuses(t *testing.T) {
	s := open(t)
	day := func(y int, m time.Month, d int) *token.Day { return &token.Day{Year: y, Month: m, Day: d} }
	with := func(change func(*tokenize.Request)) tokenize.Request {
		r := request(t, 1)
		change(&r)
		return r
	}
	ok := request(t, 1)
	long, err := token.ParsePAN("6228480000000000006")
	if err != nil {
		long, err = token.ParsePAN("622848000000000000" + string(token.LuhnDigit("622848000000000000")))
	}
	if err != nil {
		t.Fatal(err)
	}
	tokenAsPAN, err := token.ParsePAN(s.issue(t, 9).Number.Digits())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		c    access.Caller
		r    tokenize.Request
		want fault.Kind
	}{
		{"a terminal", terminal, ok, fault.Denied},
		{"no caller", access.Caller{}, ok, fault.Denied},
		{"an operator", operator, ok, fault.Denied},
		{"for another requestor", rival, ok, fault.Denied},
		{"an issuer without a requestor", nobody, ok, fault.Denied},
		{"no requestor at all", nobody, with(func(r *tokenize.Request) { r.Requestor = "" }), fault.Denied},
		{"no card number", bank, with(func(r *tokenize.Request) { r.PAN = token.PAN{} }), fault.Malformed},
		{"month 13", bank, with(func(r *tokenize.Request) { r.PANExpiry = "2913" }), fault.Malformed},
		{"no expiry", bank, with(func(r *tokenize.Request) { r.PANExpiry = "" }), fault.Malformed},
		{"location 08", bank, with(func(r *tokenize.Request) { r.Location = "08" }), fault.Malformed},
		{"sequence number x", bank, with(func(r *tokenize.Request) { r.PSN = "0x" }), fault.Malformed},
		{"an expired card", bank, with(func(r *tokenize.Request) { r.PANExpiry = "2602" }), fault.CardExpired},
		{"yesterday", bank, with(func(r *tokenize.Request) { r.Day = day(2026, 3, 1) }), fault.DayOutOfReach},
		{"in two days", bank, with(func(r *tokenize.Request) { r.Day = day(2026, 3, 4) }), fault.DayOutOfReach},
		{"a length without a range", bank, with(func(r *tokenize.Request) { r.PAN = long }), fault.NoRange},
		{"a token as a card", bank, with(func(r *tokenize.Request) { r.PAN = tokenAsPAN }), fault.CardIsToken},
	} {
		_, err := s.Request(t.Context(), c.c, c.r)
		kind(t, c.name, err, c.want)
		if err != nil && strings.Contains(err.Error(), c.r.PAN.Reveal()) && !c.r.PAN.IsZero() {
			t.Errorf("%s: the error repeats the card number", c.name)
		}
	}
	if n := s.tokens(t); n != 1 {
		t.Fatalf("%d tokens; one was asked for rightly", n)
	}
}

func TestCardGoodThroughItsMonth(t *testing.T) {
	s := open(t)
	s.Clock.Set(time.Date(2026, 3, 31, 4, 0, 0, 0, time.UTC)) // 31 March, noon in Shanghai
	r := request(t, 1)
	r.PANExpiry = "2603"
	tok, err := s.Request(t.Context(), bank, r)
	if err != nil || tok.Expiry != "2604" {
		t.Fatalf("%v, %v", tok.Expiry, err)
	}
	r.Day = &token.Day{Year: 2026, Month: 4, Day: 1}
	_, err = s.Request(t.Context(), bank, r)
	kind(t, "a card that will have expired tomorrow", err, fault.CardExpired)
}

func TestSameAttempt(t *testing.T) {
	s := open(t)
	r := request(t, 1)
	r.Attempt = access.Attempt{Key: "k", Digest: [32]byte{1}}
	refs := make([]token.Ref, 12)
	var wg sync.WaitGroup
	for i := range refs {
		wg.Go(func() {
			tok, err := s.Request(t.Context(), bank, r)
			if err != nil {
				t.Error(err)
			}
			refs[i] = tok.Ref
		})
	}
	wg.Wait()
	for _, ref := range refs {
		if ref != refs[0] || ref == "" {
			t.Fatalf("one attempt made %s and %s", refs[0], ref)
		}
	}
	if n := s.tokens(t); n != 1 {
		t.Fatalf("%d tokens", n)
	}
	// Days later the answer is still the first, though the day is now past.
	r.Day = &token.Day{Year: 2026, Month: 3, Day: 2}
	s.Clock.Add(72 * time.Hour)
	tok, err := s.Request(t.Context(), bank, r)
	if err != nil || tok.Ref != refs[0] || tok.State != token.Expired {
		t.Fatalf("asked again later: %v %v, %v", tok.Ref, tok.State, err)
	}
	if e := s.notes.last(); e.Reason != "asked-again" || e.Object != string(refs[0]) {
		t.Fatalf("recorded %+v", e)
	}
	r.Attempt.Digest[0]++
	_, err = s.Request(t.Context(), bank, r)
	kind(t, "the key with another body", err, fault.KeyReused)
}

func TestParallelRequests(t *testing.T) {
	s := open(t)
	var seen sync.Map
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			tok, err := s.Request(t.Context(), bank, request(t, i%4))
			if err != nil {
				t.Error(err)
				return
			}
			if _, twice := seen.LoadOrStore(tok.Number.Digits(), true); twice {
				t.Error("a number was given out twice")
			}
		})
	}
	wg.Wait()
}

func TestWhoSeesAToken(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	for _, c := range []struct {
		name string
		c    access.Caller
		want fault.Kind // "": seen
	}{
		{"its requestor", bank, ""},
		{"an operator", operator, ""},
		{"an auditor", access.Caller{ID: "a", Role: access.Auditor, Scopes: access.Actions}, ""},
		{"a wallet", access.Caller{ID: "w", Role: access.Wallet, Scopes: access.Actions}, ""},
		{"its requestor's wallet", access.Caller{ID: "w", Role: access.Wallet, Scopes: access.Actions, Requestor: bankID}, ""},
		{"another's wallet", access.Caller{ID: "w", Role: access.Wallet, Scopes: access.Actions, Requestor: "99999999999"}, fault.TokenUnknown},
		{"another requestor", rival, fault.TokenUnknown},
		{"an issuer without a requestor", nobody, fault.TokenUnknown},
		{"a terminal", terminal, fault.Denied},
		{"without the scope", access.Caller{ID: "bank", Role: access.Issuer, Requestor: bankID}, fault.Denied},
	} {
		got, err := s.Token(t.Context(), c.c, tok.Ref)
		if c.want != "" {
			kind(t, c.name, err, c.want)
			if got.Ref != "" {
				t.Errorf("%s: got a token", c.name)
			}
		} else if err != nil || got.Ref != tok.Ref {
			t.Errorf("%s: %v, %v", c.name, got.Ref, err)
		}
	}
	_, others := s.Token(t.Context(), rival, tok.Ref)
	_, none := s.Token(t.Context(), rival, "trAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if others.Error() != none.Error() {
		t.Error("another's token can be told from none")
	}
}

func TestCardNumberInPlaceOfReference(t *testing.T) {
	s := open(t)
	pan := vaulttest.Card(t, 1).Reveal()
	_, err := s.Token(t.Context(), bank, token.Ref(pan))
	kind(t, "reading", err, fault.TokenUnknown)
	_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: token.Ref(pan), Verb: token.Suspend})
	kind(t, "moving", err, fault.TokenUnknown)
	_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: "tr", Verb: token.Suspend, Reason: "card " + pan})
	kind(t, "a reason with a card number", err, fault.Malformed)
	if strings.Contains(fmt.Sprintf("%+v", s.notes.entries), pan) {
		t.Fatal("the record holds a card number")
	}
}

func TestExpiresByTime(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	s.Clock.Set(tok.NotAfter.Add(-time.Millisecond))
	if got, err := s.Token(t.Context(), bank, tok.Ref); err != nil || got.State != token.Requested {
		t.Fatalf("%v, %v", got.State, err)
	}
	s.Clock.Set(tok.NotAfter)
	if got, err := s.Token(t.Context(), bank, tok.Ref); err != nil || got.State != token.Expired || !got.ChangedAt.Equal(tok.NotAfter) {
		t.Fatalf("%v, %v", got.State, err)
	}
	for _, v := range []token.Verb{token.Suspend, token.Resume} {
		_, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: v})
		kind(t, string(v), err, fault.TokenExpired)
	}
	if got, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Delete}); err != nil || got.State != token.Deleted {
		t.Fatalf("%v, %v", got.State, err)
	}
}
