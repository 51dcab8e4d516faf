package detokenize_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// book is the keys of some clients.
type book map[string]*ecdsa.PublicKey

func (b book) EncryptionKey(_ context.Context, client string) (*ecdsa.PublicKey, string, error) {
	if b[client] == nil {
		return nil, "", detokenize.ErrNoKey
	}
	return b[client], client + "-key", nil
}

// sealing gives the bank a key.
func (l *lab) sealing() *ecdsa.PrivateKey {
	l.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	l.with(func(c *detokenize.Config) { c.Recipients = book{"bank": &key.PublicKey} })
	return key
}

// signing gives the service the HSM's own key for results.
func (l *lab) signing() {
	l.t.Helper()
	ref := keyref.Ref{Usage: keyref.ResultSign, Version: 1}
	public, err := l.hsm.PublicKey(l.t.Context(), ref)
	if err != nil {
		l.t.Fatal(err)
	}
	l.with(func(c *detokenize.Config) {
		c.Signer = &detokenize.Signer{Public: public, Issuer: "https://tapvault.example",
			Sign: func(ctx context.Context, d [32]byte) ([64]byte, error) { return l.hsm.Sign(ctx, ref, d) }}
	})
}

// opened is what the holder of a key reads.
func opened(t *testing.T, key *ecdsa.PrivateKey, sealed string) (card struct{ PAN, Expiry string }) {
	t.Helper()
	obj, err := jose.ParseEncryptedCompact(sealed, []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	if obj.Header.KeyID != "bank-key" {
		t.Errorf("sealed to %q", obj.Header.KeyID)
	}
	b, err := obj.Decrypt(key)
	if err == nil {
		err = json.Unmarshal(b, &card)
	}
	if err != nil {
		t.Fatal(err)
	}
	return card
}

func TestSealed(t *testing.T) {
	l := newLab(t)
	key := l.sealing()
	tap := l.tap(l.tok, 0, 10)
	for name, ask := range map[string]func() (detokenize.Answer, error){
		"with evidence": func() (detokenize.Answer, error) {
			return l.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Tap: &tap, Sealed: true}, detokenize.Settlement)
		},
		"direct": func() (detokenize.Answer, error) {
			return l.Direct(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Sealed: true}, detokenize.Settlement)
		},
	} {
		a, err := ask()
		if err != nil || !a.PAN.IsZero() || a.Expiry != "" || a.Ref != l.tok.Ref {
			t.Fatalf("%s: %+v, %v", name, a, err)
		}
		if card := opened(t, key, a.Sealed); card.PAN != vaulttest.Card(t, 1).Reveal() || card.Expiry != "2912" {
			t.Errorf("%s: opened %+v", name, card)
		}
	}
	before := l.opener.opened
	q := detokenize.Query{Ref: l.tok.Ref, Tap: &tap, Sealed: true}
	own := rival
	own.Requestor = bankID
	if _, err := l.Detokenize(t.Context(), own, q, detokenize.Settlement); fault.KindOf(err) != fault.NoClientKey {
		t.Errorf("a caller without a key: %v", err)
	}
	l.with(func(c *detokenize.Config) { c.Recipients = nil })
	if _, err := l.Direct(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Sealed: true}, detokenize.Settlement); fault.KindOf(err) != fault.NoClientKey {
		t.Errorf("a service without keys: %v", err)
	}
	if l.opener.opened != before {
		t.Error("a card was opened")
	}
}

// result checks a signed result as an authorisation host does.
func (l *lab) result(jws string) (r detokenize.Result) {
	l.t.Helper()
	served, err := l.KeySet()
	if err != nil {
		l.t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(served, &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() || set.Keys[0].Use != "sig" {
		l.t.Fatalf("%s, %v", served, err)
	}
	sig, err := jose.ParseSignedCompact(jws, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		l.t.Fatal(err)
	}
	h := sig.Signatures[0].Header
	if h.KeyID != set.Keys[0].KeyID || fmt.Sprint(h.ExtraHeaders["typ"]) != "tapvault-result+jwt" {
		l.t.Errorf("header %+v", h)
	}
	b, err := sig.Verify(set.Keys[0])
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func TestSignedResult(t *testing.T) {
	l := newLab(t)
	key := l.sealing()
	l.signing()
	tap := l.tap(l.tok, 0, 10)
	seen := map[string]bool{}
	for name, q := range map[string]detokenize.Query{
		"clear":  {Ref: l.tok.Ref, Tap: &tap, Signed: true},
		"sealed": {Ref: l.tok.Ref, Tap: &tap, Signed: true, Sealed: true},
	} {
		a, err := l.Detokenize(t.Context(), bank, q, detokenize.Authorisation)
		if err != nil {
			t.Fatal(err)
		}
		r := l.result(a.Result)
		want := detokenize.Result{
			ID: r.ID, Issuer: "https://tapvault.example", Audience: "bank", IssuedAt: l.vault.Clock.Now().Unix(), Verdict: "VERIFIED",
			Purpose: "authorisation", Ref: string(l.tok.Ref), PAR: string(l.tok.PAR), PAN: vaulttest.Card(t, 1).Reveal(), PANExpiry: "2912",
			Amount: 200, Counter: l.tok.CtrFirst, TapID: a.TapID, TapAt: l.tok.NotBefore.Add(10 * time.Minute).In(shanghai).Format(time.RFC3339),
		}
		if q.Sealed {
			want.PAN, want.PANExpiry, want.PANSealed = "", "", a.Sealed
			if card := opened(t, key, r.PANSealed); card.PAN != vaulttest.Card(t, 1).Reveal() {
				t.Errorf("%s: opened %+v", name, card)
			}
		}
		if r != want || len(r.ID) != 22 || seen[r.ID] {
			t.Errorf("%s:\n%+v\n%+v", name, r, want)
		}
		seen[r.ID] = true
	}
	// A tap named by its id says the same.
	id := l.upload(tap)
	a, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, TapID: id, Signed: true}, detokenize.Settlement)
	if r := l.result(a.Result); err != nil || r.Amount != 200 || r.Counter != l.tok.CtrFirst || r.TapID != id || r.Purpose != "settlement" {
		t.Errorf("by its id: %+v, %v", r, err)
	}
	// What does not hold has no result, and one that cannot be signed no answer.
	bad := l.tap(l.tok, 1, 20)
	bad.MAC2[0]++
	l.refused("a bad tap", bank, detokenize.Query{Ref: l.tok.Ref, Tap: &bad, Signed: true}, detokenize.Settlement, "tap-rejected-tamper")
	broken := errors.New("no signature")
	l.with(func(c *detokenize.Config) {
		s := *c.Signer
		s.Sign = func(context.Context, [32]byte) ([64]byte, error) { return [64]byte{}, broken }
		c.Signer = &s
	})
	if a, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, TapID: id, Signed: true}, detokenize.Settlement); !errors.Is(err, broken) || a != (detokenize.Answer{}) {
		t.Errorf("%+v, %v", a, err)
	}
	l.with(func(c *detokenize.Config) { c.Signer = nil })
	if _, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, TapID: id, Signed: true}, detokenize.Settlement); err != detokenize.ErrUnsigned {
		t.Errorf("a service that signs nothing: %v", err)
	}
	if set, err := l.KeySet(); err != nil || string(set) != `{"keys":[]}` {
		t.Errorf("its keys: %s, %v", set, err)
	}
}

func TestSignerConfig(t *testing.T) {
	l := newLab(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(context.Context, [32]byte) ([64]byte, error) { return [64]byte{}, nil }
	for name, s := range map[string]detokenize.Signer{"nothing": {}, "another curve": {Public: &p384.PublicKey, Sign: sign, Issuer: "x"},
		"no key": {Sign: sign, Issuer: "x"}, "no private half": {Public: &p256.PublicKey, Issuer: "x"}, "no name": {Public: &p256.PublicKey, Sign: sign}} {
		cfg := l.cfg
		cfg.Signer = &s
		if _, err := detokenize.New(cfg); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// quota gives each caller so many card numbers.
type quota struct {
	left  int
	err   error
	never bool
}

func (q *quota) Would(ctx context.Context, caller string, n int) (time.Duration, error) {
	left := q.left
	defer func() { q.left = left }()
	return q.Take(ctx, caller, n)
}

func (q *quota) Take(_ context.Context, caller string, n int) (time.Duration, error) {
	if q.never && q.err == nil {
		return -1, nil
	}
	if q.err != nil || q.left < n {
		return time.Second, q.err
	}
	q.left -= n
	return 0, nil
}

// TestVelocity: whoever asks too fast is told so, and nothing is opened.
func TestVelocity(t *testing.T) {
	l := newLab(t)
	limit := &quota{left: 12}
	l.with(func(c *detokenize.Config) { c.Limiter = limit })
	q := detokenize.Query{Ref: l.tok.Ref}
	if _, err := l.Direct(t.Context(), bank, q, detokenize.Settlement); err != nil || limit.left != 11 {
		t.Errorf("%d left, %v", limit.left, err)
	}
	if _, err := l.DirectBatch(t.Context(), bank, make([]detokenize.Query, 10), detokenize.Settlement); err != nil || limit.left != 1 {
		t.Errorf("a batch takes as many as it asks for: %d left, %v", limit.left, err)
	}
	if _, err := l.Direct(t.Context(), gate, q, detokenize.Settlement); err != access.ErrDenied || limit.left != 1 {
		t.Errorf("a caller without the right uses up the limit: %d left, %v", limit.left, err)
	}
	limit.left = 0
	opened := l.opener.opened
	tap := l.tap(l.tok, 0, 10)
	for name, ask := range map[string]func() error{
		"direct": func() error { _, err := l.Direct(t.Context(), bank, q, detokenize.Settlement); return err },
		"with evidence": func() error {
			_, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Tap: &tap}, detokenize.Settlement)
			return err
		},
		"a batch": func() error {
			_, err := l.Batch(t.Context(), bank, []detokenize.Query{q}, detokenize.Settlement)
			return err
		},
		"a direct batch": func() error {
			_, err := l.DirectBatch(t.Context(), bank, []detokenize.Query{q}, detokenize.Settlement)
			return err
		},
	} {
		if err := ask(); !errors.Is(err, detokenize.ErrFast) || fault.KindOf(err) != fault.TooFast || l.notes.last().Reason != "velocity" {
			t.Errorf("%s: %v, recorded %+v", name, err, l.notes.last())
		}
	}
	limit.never = true
	if _, err := l.Batch(t.Context(), bank, []detokenize.Query{q}, detokenize.Settlement); err != detokenize.ErrBurst || l.notes.last().Reason != "velocity" {
		t.Errorf("more than it may ever have at once: %v", err)
	}
	limit.err = errors.New("no database")
	if _, err := l.Direct(t.Context(), bank, q, detokenize.Settlement); !errors.Is(err, limit.err) {
		t.Errorf("a limit that cannot be read: %v", err)
	}
	if l.opener.opened != opened {
		t.Error("a card was opened")
	}
	if s := fmt.Sprintf("%+v", l.notes.entries); strings.Contains(s, vaulttest.Card(t, 1).Reveal()) {
		t.Error("the record holds a card number")
	}
}
