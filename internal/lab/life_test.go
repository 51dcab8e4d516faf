package lab_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/tokenize"
)

// watch is a clock that tests move while the service works in the background.
type watch struct {
	mu sync.Mutex
	at time.Time
}

func (w *watch) now() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.at }

func (w *watch) pass(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.at = w.at.Add(d) }

// lifeLab is a lab with whose first requestor something is agreed. An empty dsn
// leaves the database where labs have it.
func lifeLab(t *testing.T, w *watch, dsn string, agreed assembly.Requestor) *lab.Lab {
	t.Helper()
	agreed.ID = "50110000001"
	return lab.New(t, lab.Options{Now: w.now, Config: func(c *assembly.Config) {
		if dsn != "" {
			c.Store.DSN = dsn
		}
		c.Tokens = assembly.Tokens{Requestors: []assembly.Requestor{agreed}, SweepEvery: 50 * time.Millisecond}
	}})
}

// sealCard seals a card to the key that the service shows.
func sealCard(t *testing.T, l *lab.Lab, pan, expiry string) string {
	t.Helper()
	b, err := l.Client(t, "issuer").IntakeKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: keySet(t, b).Keys[0]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := enc.Encrypt(fmt.Appendf(nil, `{"pan":%q,"expiry":%q}`, pan, expiry))
	if err != nil {
		t.Fatal(err)
	}
	s, err := o.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keySet(t *testing.T, b []byte) (set jose.JSONWebKeySet) {
	t.Helper()
	if err := json.Unmarshal(b, &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("a key set of %d keys: %v", len(set.Keys), err)
	}
	return set
}

func TestLifeOfARequest(t *testing.T) {
	w := &watch{at: noon()}
	l := lifeLab(t, w, "", assembly.Requestor{Duplicates: tokenize.SameToken})
	issuer := l.Client(t, "issuer")
	q := wire.TokenRequest{PANSealed: sealCard(t, l, testPAN, testExpiry), PSN: "01", Location: "03", FormFactor: "watch",
		Device: "watch-7", Assurance: &wire.Assurance{Method: "10", Data: "checked by app"},
		Controls: &wire.Controls{Channels: []string{"contactless"}, MaxAmount: 2000}}
	tok := newToken(t, l, q)
	t.Run("all fields", func(t *testing.T) {
		if tok.PANLast4 != testPAN[12:] || tok.PSN != "01" || tok.FormFactor != "watch" || tok.Device != "watch-7" ||
			tok.Assurance == nil || *tok.Assurance != *q.Assurance || tok.Controls == nil || tok.Controls.MaxAmount != 2000 {
			t.Errorf("the token lacks what was asked for: %+v", tok)
		}
	})
	t.Run("same token", func(t *testing.T) {
		if again := newToken(t, l, q); again.Ref != tok.Ref || again.Number != tok.Number {
			t.Error("a second request gave another token")
		}
		other := q
		other.Device = "watch-8"
		if second := newToken(t, l, other); second.Ref == tok.Ref || second.PAR != tok.PAR {
			t.Error("another device: the same token, or another account reference")
		}
	})
	t.Run("batch with a bad record", func(t *testing.T) {
		bad := cardRequest()
		bad.PAN = wire.NewDigits(panBadLuhn)
		got, err := issuer.RequestTokens(t.Context(), []wire.TokenRequest{q, bad, cardRequest()})
		if err != nil || len(got) != 3 {
			t.Fatalf("%d results: %v", len(got), err)
		}
		if got[0].Token == nil || got[0].Token.Ref != tok.Ref || got[1].Problem == nil || got[1].Token != nil || got[2].Token == nil {
			t.Error("the bad record spoiled others, or was not told")
		}
	})
	t.Run("account reference", func(t *testing.T) {
		par, err := issuer.PAR(t.Context(), wire.PAREnquiry{PANSealed: sealCard(t, l, testPAN, testExpiry)})
		if err != nil || par != tok.PAR {
			t.Errorf("another reference than the token's: %v", err)
		}
	})
	t.Run("search", func(t *testing.T) { searched(t, l, tok) })
	t.Run("events", func(t *testing.T) { listed(t, l) })
	noSecrets(t, l, testPAN, panBadLuhn)
}

// searched pages through the card's tokens, one at a time.
func searched(t *testing.T, l *lab.Lab, tok wire.Token) {
	f := client.TokenFilter{PAR: tok.PAR, Last4: tok.PANLast4, State: tok.State}
	refs, cursor := []string{}, ""
	for {
		page, err := l.Client(t, "issuer").Tokens(t.Context(), f, cursor, 1)
		if err != nil || len(page.Tokens) > 1 {
			t.Fatalf("a page of %d: %v", len(page.Tokens), err)
		}
		for _, x := range page.Tokens {
			refs = append(refs, x.Ref)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(refs) != l.Count(t, "tokens") || !slices.Contains(refs, tok.Ref) || len(slices.Compact(slices.Sorted(slices.Values(refs)))) != len(refs) {
		t.Errorf("found %d tokens", len(refs))
	}
	page, err := l.Client(t, "other-issuer").Tokens(t.Context(), f, "", 0)
	if err != nil || len(page.Tokens) != 0 {
		t.Errorf("another requestor sees %d tokens: %v", len(page.Tokens), err)
	}
}

// listed pages through the events: each token was issued once.
func listed(t *testing.T, l *lab.Lab) {
	seen, cursor := map[string]bool{}, ""
	for {
		page, err := l.Client(t, "issuer").Events(t.Context(), cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			if seen[e.ID] || e.Type != "token.issued" || e.Seq != 1 {
				t.Errorf("event %s, %d of its token", e.Type, e.Seq)
			}
			seen[e.ID] = true
		}
		cursor = page.Next
		if len(page.Events) == 0 {
			break
		}
	}
	if len(seen) != l.Count(t, "tokens") {
		t.Errorf("%d events", len(seen))
	}
	page, err := l.Client(t, "other-issuer").Events(t.Context(), "", 0)
	if err != nil || len(page.Events) != 0 {
		t.Errorf("another requestor sees %d events: %v", len(page.Events), err)
	}
}

func TestLifeOfAToken(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) { lived(t, config(t).DSN) })
}

// lived takes one token from the decision to its successor.
func lived(t *testing.T, dsn string) {
	w := &watch{at: noon()}
	l := lifeLab(t, w, dsn, assembly.Requestor{Decide: true})
	issuer, wallet := l.Client(t, "issuer"), l.Client(t, "wallet")
	tok := newToken(t, l, cardRequest())
	good := func(t *testing.T, got wire.Token, err error) wire.Token {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	t.Run("decision", func(t *testing.T) {
		key := wire.PublicKey{KeyType: "EC", Curve: "P-256", X: "u4y9cmtaMWWimMnifuOoqeuRQ9s9Jcwkw6v55ziJ-FM",
			Y: "b93Mjd44dOj-tXrqnVq79uK1iCV_GnT1aP4TCgtyCak"}
		if _, err := wallet.Bundle(t.Context(), tok.Ref, key); err == nil || tok.Decision != "PENDING" {
			t.Errorf("slots before the decision, which is %s", tok.Decision)
		}
		got, err := issuer.Decide(t.Context(), tok.Ref, "APPROVED")
		if good(t, got, err).Decision != "APPROVED" {
			t.Errorf("decision %s", got.Decision)
		}
		newPhone(t, l, tok.Ref, w.now)
	})
	t.Run("notice", func(t *testing.T) {
		got, err := wallet.Notify(t.Context(), tok.Ref, "SUCCESS", "on the phone")
		if good(t, got, err); got.Provisioned == nil || got.Provisioned.Result != "SUCCESS" || got.State != "ACTIVE" {
			t.Errorf("state %s", got.State)
		}
	})
	t.Run("two suspenders", func(t *testing.T) {
		for _, by := range []string{"HOLDER", "RISK"} {
			got, err := issuer.SuspendAs(t.Context(), tok.Ref, by, "test")
			good(t, got, err)
		}
		got, err := issuer.ResumeAs(t.Context(), tok.Ref, "HOLDER", "test")
		if good(t, got, err); got.State != "SUSPENDED" || !slices.Equal(got.Suspenders, []string{"RISK"}) {
			t.Errorf("after one: %s by %v", got.State, got.Suspenders)
		}
		got, err = issuer.ResumeAs(t.Context(), tok.Ref, "RISK", "test")
		if good(t, got, err); got.State != "ACTIVE" || len(got.Suspenders) != 0 {
			t.Errorf("after both: %s by %v", got.State, got.Suspenders)
		}
	})
	t.Run("attributes", func(t *testing.T) {
		got, err := issuer.UpdateToken(t.Context(), tok.Ref, wire.Attributes{Assurance: &wire.Assurance{Method: "20"},
			Controls: &wire.Controls{MaxCount: 9}})
		if good(t, got, err); got.Assurance == nil || got.Assurance.Method != "20" || got.Controls == nil || got.Controls.MaxCount != 9 {
			t.Errorf("not changed: %+v", got)
		}
	})
	t.Run("renewal", func(t *testing.T) {
		next, err := issuer.Renew(t.Context(), tok.Ref)
		good(t, next, err)
		if next.Renews != tok.Ref || next.PAR != tok.PAR || next.Number == tok.Number ||
			!next.NotBefore.Before(tok.NotAfter) || !next.NotAfter.After(tok.NotAfter) {
			t.Errorf("the next token does not follow: %+v", next)
		}
		if again, err := issuer.Renew(t.Context(), tok.Ref); err != nil || again.Ref != next.Ref {
			t.Errorf("renewing again: %v", err)
		}
	})
	noSecrets(t, l, testPAN)
}
