package tokenize_test

import (
	"errors"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

func TestReplaceCard(t *testing.T) {
	s := build(t, vaulttest.New(t), nil)
	tok, err := s.Request(t.Context(), bank, tokenize.Request{PAN: vaulttest.Card(t, 1), PANExpiry: "2912", Location: "03"})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(c access.Caller, r tokenize.Replace) (token.Card, error) { return s.ReplaceCard(t.Context(), c, r) }
	r := tokenize.Replace{Old: vaulttest.Card(t, 1), New: vaulttest.Card(t, 2), NewExpiry: "3112",
		Attempt: access.Attempt{Key: "k", Digest: [32]byte{1}}}
	for range 2 { // the second time, the attempt has been made
		card, err := replace(bank, r)
		if err != nil || card.PAR != tok.PAR || card.Last4 != vaulttest.Card(t, 2).Last4() || card.Living != 1 {
			t.Fatalf("%+v, %v", card, err)
		}
	}
	if e := s.notes.last(); e.Action != access.CardReplace || e.Object != "card-"+vaulttest.Card(t, 1).Last4() || e.Outcome != audit.Allowed {
		t.Fatalf("recorded %+v", e)
	}
	if pan, expiry, err := s.Opener().PAN(t.Context(), tok.Ref); err != nil || pan.Reveal() != vaulttest.Card(t, 2).Reveal() || expiry != "3112" {
		t.Fatalf("behind the token: %v until %s, %v", pan, expiry, err)
	}
	// The expiry date alone.
	if _, err := replace(operator, tokenize.Replace{Old: vaulttest.Card(t, 2), NewExpiry: "3305"}); err != nil {
		t.Fatal(err)
	}
	if _, expiry, err := s.Opener().PAN(t.Context(), tok.Ref); err != nil || expiry != "3305" {
		t.Fatalf("until %s, %v", expiry, err)
	}
	for name, x := range map[string]struct {
		caller access.Caller
		r      tokenize.Replace
		want   fault.Kind
	}{
		"by a terminal":       {terminal, r, fault.Denied},
		"no old card":         {bank, tokenize.Replace{New: vaulttest.Card(t, 2), NewExpiry: "3112"}, fault.Malformed},
		"no expiry date":      {bank, tokenize.Replace{Old: vaulttest.Card(t, 2), New: vaulttest.Card(t, 3)}, fault.Malformed},
		"a card of last year": {bank, tokenize.Replace{Old: vaulttest.Card(t, 2), New: vaulttest.Card(t, 3), NewExpiry: "2512"}, fault.CardExpired},
		"a card nobody knows": {bank, tokenize.Replace{Old: vaulttest.Card(t, 8), New: vaulttest.Card(t, 9), NewExpiry: "3112"}, fault.CardUnknown},
		"another body, one key": {bank, tokenize.Replace{Old: vaulttest.Card(t, 2), New: vaulttest.Card(t, 3), NewExpiry: "3112",
			Attempt: access.Attempt{Key: "k", Digest: [32]byte{2}}}, fault.KeyReused},
	} {
		if _, err := replace(x.caller, x.r); err == nil || fault.KindOf(err) != x.want {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
	s.notes.err = errors.New("no room")
	if _, err := replace(bank, tokenize.Replace{Old: vaulttest.Card(t, 2), New: vaulttest.Card(t, 3), NewExpiry: "3112"}); err == nil {
		t.Error("a card was replaced without a record")
	}
	if c, err := s.Reader().Card(t.Context(), vaulttest.Card(t, 2)); err != nil || c.Last4 != vaulttest.Card(t, 2).Last4() {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestPAR(t *testing.T) {
	s := build(t, vaulttest.New(t), nil)
	tok, err := s.Request(t.Context(), bank, tokenize.Request{PAN: vaulttest.Card(t, 1), PANExpiry: "2912", Location: "03"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		// Whoever holds the number may ask, and by the number it had before.
		if par, err := s.PAR(t.Context(), rival, vaulttest.Card(t, 1)); err != nil || par != tok.PAR {
			t.Fatalf("%s, %v", par, err)
		}
		_, err := s.ReplaceCard(t.Context(), bank, tokenize.Replace{Old: vaulttest.Card(t, 1), New: vaulttest.Card(t, 2), NewExpiry: "3112"})
		if err != nil {
			t.Fatal(err)
		}
	}
	if par, err := s.PAR(t.Context(), bank, vaulttest.Card(t, 2)); err != nil || par != tok.PAR {
		t.Fatalf("%s, %v", par, err)
	}
	_, err = s.PAR(t.Context(), bank, vaulttest.Card(t, 5))
	if fault.KindOf(err) != fault.CardUnknown {
		t.Errorf("of an unknown card: %v", err)
	}
	if e := s.notes.last(); e.Outcome != audit.Refused || e.Reason != "card-unknown" {
		t.Errorf("recorded %+v", e)
	}
	if _, err := s.PAR(t.Context(), terminal, vaulttest.Card(t, 1)); fault.KindOf(err) != fault.Denied {
		t.Errorf("for a terminal: %v", err)
	}
	if _, err := s.PAR(t.Context(), bank, token.PAN{}); fault.KindOf(err) != fault.Malformed {
		t.Errorf("of nothing: %v", err)
	}
}
