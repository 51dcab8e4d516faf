package wallet_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

var (
	_ wallet.Tokens = (*vault.Writer)(nil)
	_ wallet.Store  = (*walletdb.DB)(nil)
)

func TestBundle(t *testing.T) {
	r := newRig(t)
	tok := r.token(t, 1)
	d, jwk := phone(t)
	a := access.Attempt{Key: "k", Digest: [32]byte{1}}
	b, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, a)
	if err != nil {
		t.Fatal(err)
	}
	if b.Slots != 3 || b.CtrFirst != 1 || !b.NotAfter.Equal(tok.NotAfter) || b.Ref != tok.Ref {
		t.Errorf("%+v", b)
	}
	if got := r.read(t, tok.Ref); got.State != token.Delivered || got.CtrNext != 4 {
		t.Errorf("%s, next counter %d", got.State, got.CtrNext)
	}
	again, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, a)
	if err != nil || again != b {
		t.Errorf("redelivered bytes differ (%v)", err)
	}
	if got := r.read(t, tok.Ref); got.CtrNext != 4 {
		t.Error("a repeated request took counters")
	}
	a.Digest[0]++
	if _, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, a); fault.KindOf(err) != fault.KeyReused {
		t.Errorf("the same key with another body: %v", err)
	}
	opened, err := d.Open(b.JWE)
	if err != nil || opened.ID != b.ID || opened.Ref != tok.Ref || opened.Slots() != 3 {
		t.Fatalf("%v, %v", opened, err)
	}
	head, _ := base64.RawURLEncoding.DecodeString(strings.Split(b.JWE, ".")[0])
	var h map[string]any
	if err := json.Unmarshal(head, &h); err != nil || h["alg"] != "ECDH-ES+A256KW" || h["enc"] != "A256GCM" || h["bid"] != b.ID ||
		h["ref"] != string(tok.Ref) || h["exp"] != float64(tok.NotAfter.Unix()) || h["v"] != 1.0 {
		t.Errorf("header %s (%v)", head, err)
	}
	if strings.Contains(string(head), tok.Number.Digits()) {
		t.Error("the header shows the token number")
	}
	next, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, access.Attempt{Key: "k2"})
	if err != nil || next.CtrFirst != 4 || next.JWE == b.JWE {
		t.Errorf("a second bundle: %+v, %v", next.CtrFirst, err)
	}
}

func TestAck(t *testing.T) {
	r := newRig(t)
	tok, other := r.token(t, 1), r.token(t, 2)
	d, jwk := phone(t)
	b, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := d.Open(b.JWE)
	if err != nil {
		t.Fatal(err)
	}
	mac := opened.Ack()
	bad := mac
	bad[31] ^= 1
	for name, tc := range map[string]struct {
		ref  token.Ref
		id   string
		mac  []byte
		want error
	}{
		"wrong proof":        {tok.Ref, b.ID, bad[:], wallet.ErrRefused},
		"short proof":        {tok.Ref, b.ID, mac[:16], wallet.ErrRefused},
		"no proof":           {tok.Ref, b.ID, nil, wallet.ErrRefused},
		"of another token":   {other.Ref, b.ID, mac[:], wallet.ErrUnknown},
		"no such bundle":     {tok.Ref, "nothing", mac[:], wallet.ErrUnknown},
		"no such token":      {"nothing", b.ID, mac[:], wallet.ErrUnknown},
		"proof of other ids": {tok.Ref, strings.ToUpper(b.ID), mac[:], wallet.ErrUnknown},
	} {
		if _, err := r.Ack(t.Context(), caller, tc.ref, tc.id, tc.mac); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !r.trail.refused("ack-mac") || !r.trail.refused("foreign-bundle") {
		t.Error("refusals are not recorded")
	}
	if got := r.read(t, tok.Ref); got.State != token.Delivered {
		t.Fatalf("a refused acknowledgement left %s", got.State)
	}
	for range 2 {
		if got, err := r.Ack(t.Context(), caller, tok.Ref, b.ID, mac[:]); err != nil || got.State != token.Active {
			t.Fatalf("%s, %v", got.State, err)
		}
	}
}

func TestTokensThatGetNone(t *testing.T) {
	r := newRig(t)
	_, jwk := phone(t)
	move := func(verbs ...token.Verb) func(token.Token) {
		return func(tok token.Token) {
			for _, v := range verbs {
				var err error
				if tok, err = r.tokens.Move(t.Context(), tok.Ref, tok.State, v, r.vault.Clock.Now()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	later := func(token.Token) { r.vault.Clock.Add(25 * time.Hour) }
	foreign := caller
	foreign.Requestor = "99999999999"
	issuer := access.Caller{ID: "i", Role: access.Issuer, Scopes: access.Actions}
	for i, tc := range []struct {
		name   string
		before func(token.Token)
		c      access.Caller
		want   error
		reason string
	}{
		{"suspended", move(token.Suspend), caller, wallet.ErrSuspended, "suspended"},
		{"waiting for the issuer's decision", move(token.StepUp), caller, wallet.ErrState, "state"},
		{"deleted", move(token.Delete), caller, wallet.ErrState, "state"},
		{"expired by state", move(token.Expire), caller, wallet.ErrExpired, "expired"},
		{"another requestor's", move(), foreign, wallet.ErrUnknown, "foreign"},
		{"not a wallet", move(), issuer, access.ErrDenied, "denied"},
		{"expired by time", later, caller, wallet.ErrExpired, "expired"},
	} {
		tok := r.token(t, i)
		tc.before(tok)
		_, err := r.Bundle(t.Context(), tc.c, tok.Ref, jwk, access.Attempt{})
		if !errors.Is(err, tc.want) || !r.trail.refused(tc.reason) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if got := r.read(t, tok.Ref); got.CtrNext != got.CtrFirst {
			t.Errorf("%s: counters were taken", tc.name)
		}
		if strings.Contains(fmt.Sprint(err), tok.Number.Digits()) {
			t.Errorf("%s: the error shows the token", tc.name)
		}
	}
	if _, err := r.Bundle(t.Context(), caller, "nothing", jwk, access.Attempt{}); !errors.Is(err, wallet.ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
}

// TestSuspendedAfterDelivery: a bundle that was stored is not handed out again
// once its token may not pay.
func TestSuspendedAfterDelivery(t *testing.T) {
	r := newRig(t)
	tok := r.token(t, 1)
	_, jwk := phone(t)
	a := access.Attempt{Key: "k"}
	if _, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, a); err != nil {
		t.Fatal(err)
	}
	if _, err := r.tokens.Move(t.Context(), tok.Ref, token.Delivered, token.Suspend, r.vault.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, a); !errors.Is(err, wallet.ErrSuspended) {
		t.Errorf("%v", err)
	}
}

func TestTomorrowsToken(t *testing.T) {
	r := newRig(t)
	tok := r.token(t, 1)
	r.vault.Clock.Set(tok.NotBefore.Add(-20 * time.Hour))
	_, jwk := phone(t)
	if _, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, access.Attempt{}); err != nil {
		t.Errorf("%v", err)
	}
}

func TestNoRecordNoBundle(t *testing.T) {
	r := newRig(t)
	tok := r.token(t, 1)
	_, jwk := phone(t)
	r.trail.fail = errBroken
	if _, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, access.Attempt{}); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	if got := r.read(t, tok.Ref); got.CtrNext != got.CtrFirst || got.State != token.Requested {
		t.Error("something happened without a record")
	}
}

// TestCrashes: whatever call fails, before or after it took effect, the next
// try of the same attempt succeeds, hands out one bundle, and reuses no counter.
func TestCrashes(t *testing.T) {
	r := newRig(t)
	for i, at := range []string{"TakeCounters", "SlotKeys", "HMAC", "Sign", "Insert", "Move"} {
		for j, after := range []bool{false, true} {
			tok := r.token(t, 10*i+j)
			d, jwk := phone(t)
			a := access.Attempt{Key: fmt.Sprint(at, after)}
			_, err := r.breaking(t, at, after).Bundle(t.Context(), caller, tok.Ref, jwk, a)
			if moved := at == "Move" && after; moved != (err == nil) || err != nil && !errors.Is(err, errBroken) {
				t.Fatalf("%s (%v): %v", at, after, err) // a move that happened is found to have happened
			}
			spent := r.read(t, tok.Ref).CtrNext
			b, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, a)
			if err != nil {
				t.Fatalf("after %s (%v): %v", at, after, err)
			}
			stored := at == "Move" || at == "Insert" && after // then the first try's bundle is the one
			if stored != (b.CtrFirst < spent) {
				t.Errorf("after %s (%v): first counter %d, %d were taken before", at, after, b.CtrFirst, spent)
			}
			if got := r.read(t, tok.Ref); got.State != token.Delivered {
				t.Errorf("after %s (%v): %s", at, after, got.State)
			}
			if _, err := d.Open(b.JWE); err != nil {
				t.Errorf("after %s (%v): %v", at, after, err)
			}
		}
	}
}

func TestAckCrashes(t *testing.T) {
	r := newRig(t)
	for i, at := range []string{"HMAC", "Acknowledge", "Move"} {
		for j, after := range []bool{false, true} {
			tok := r.token(t, 10*i+j)
			d, jwk := phone(t)
			b, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, access.Attempt{})
			if err != nil {
				t.Fatal(err)
			}
			opened, err := d.Open(b.JWE)
			if err != nil {
				t.Fatal(err)
			}
			mac := opened.Ack()
			_, err = r.breaking(t, at, after).Ack(t.Context(), caller, tok.Ref, b.ID, mac[:])
			if moved := at == "Move" && after; moved != (err == nil) || err != nil && !errors.Is(err, errBroken) {
				t.Fatalf("%s (%v): %v", at, after, err)
			}
			if got, err := r.Ack(t.Context(), caller, tok.Ref, b.ID, mac[:]); err != nil || got.State != token.Active {
				t.Errorf("after %s (%v): %s, %v", at, after, got.State, err)
			}
		}
	}
}

// TestRaces: many devices fetch bundles of one new token at once. Each gets its
// own counters, whoever of them moves the token.
func TestRaces(t *testing.T) {
	r := newRig(t)
	tok := r.token(t, 1)
	_, jwk := phone(t)
	var wg sync.WaitGroup
	firsts := make([]uint16, 6)
	for i := range firsts {
		wg.Go(func() {
			b, err := r.Bundle(t.Context(), caller, tok.Ref, jwk, access.Attempt{Key: fmt.Sprint(i)})
			if err != nil {
				t.Errorf("bundle %d: %v", i, err)
			}
			firsts[i] = b.CtrFirst
		})
	}
	wg.Wait()
	slices.Sort(firsts)
	if !slices.Equal(firsts, []uint16{1, 4, 7, 10, 13, 16}) {
		t.Errorf("first counters %v", firsts)
	}
}

func TestConfigRefused(t *testing.T) {
	r := newRig(t)
	for name, edit := range map[string]func(*wallet.Config){
		"one slot":        func(c *wallet.Config) { c.Slots = 1 },
		"too many slots":  func(c *wallet.Config) { c.Slots = 65 },
		"odd cap":         func(c *wallet.Config) { c.Cap = 1005 },
		"caps over limit": func(c *wallet.Config) { c.Cap = 600000 },
		"no key version":  func(c *wallet.Config) { c.KeyVersion = 0 },
		"version nibble":  func(c *wallet.Config) { c.KeyVersion = 0x10 },
		"no realm":        func(c *wallet.Config) { c.Realm = "" },
		"short AID":       func(c *wallet.Config) { c.AID = []byte{1, 2, 3, 4} },
		"no store":        func(c *wallet.Config) { c.Store = nil },
		"no gate":         func(c *wallet.Config) { c.Gate.Recorder = nil },
	} {
		c := r.cfg
		edit(&c)
		if _, err := wallet.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
