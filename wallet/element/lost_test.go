package element_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/applet"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// all is as many rounds as there are scripts for the element.
func (s *stand) all() {
	s.t.Helper()
	for more, n := true, 0; more; n++ {
		var err error
		if more, err = s.round(); err != nil || n > 5 {
			s.t.Fatalf("round %d: %v", n, err)
		}
	}
}

// TestPutBack: an element that obeyed scripts of which a database knows nothing any more,
// as it was put back to an earlier day, keeps what it has for its token's day. From its next
// token on it is served as before.
func TestPutBack(t *testing.T) {
	h := elementKeys(t)
	for _, at := range []string{"issued", "never issued", "erased since"} {
		t.Run(at, func(t *testing.T) { putBack(t, newStand(t, h), at) })
	}
}

func putBack(t *testing.T, s *stand, at string) {
	h, to := s.keys.Token, storetest.New(t)
	back := vaulttest.Saved(t, s.vault)
	if at != "never issued" {
		s.all()
		back = vaulttest.Saved(t, s.vault)
		if _, err := s.Order(t.Context(), server, s.id, element.Order{Verb: message.Unblock, Attempt: access.Attempt{Key: "k"}}); err != nil {
			t.Fatal(err)
		}
	}
	if at == "erased since" {
		if _, err := s.Order(t.Context(), server, s.id, element.Order{Verb: message.Erase, Attempt: access.Attempt{Key: "l"}}); err != nil {
			t.Fatal(err)
		}
	}
	s.all()
	receipt, err := applet.Fetch(t.Context(), s.e, aid)
	if err != nil {
		t.Fatal(err)
	}
	was, err := s.Get(t.Context(), server, s.id)
	if err != nil {
		t.Fatal(err)
	}
	back(to, 10)
	if at == "never issued" { // an export of some moments earlier
		storetest.Exec(t, to, "DELETE FROM element_scripts")
		storetest.Exec(t, to, "UPDATE elements SET seq = 0, token_ref = ''")
	}

	g := over(t, h, to)
	g.vault.Clock.Set(s.vault.Clock.Now().Add(time.Hour))
	g.e, g.id, g.pin = s.e, s.id, s.pin
	if at == "issued" { // two couriers bring the first one
		g.cuts.beside = func() {
			if _, err := g.Carry(t.Context(), server, g.id, receipt); err != nil {
				t.Errorf("the faster courier: %v", err)
			}
		}
	}
	for range 2 { // of before, and the next one
		if c, err := g.Carry(t.Context(), server, g.id, receipt); err != nil || c.Script != nil {
			t.Fatalf("script %d, %v", c.Seq, err)
		}
		if receipt, err = applet.Fetch(t.Context(), s.e, aid); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := g.Get(t.Context(), server, g.id); err != nil || e.Seq != was.Seq || e.Acked != was.Acked || e.Balance != was.Balance || e.State != was.State {
		t.Errorf("%+v, want %+v, %v", e, was, err)
	}
	if at == "erased since" {
		if _, err := g.Order(t.Context(), server, g.id, element.Order{Verb: message.Unblock, Attempt: access.Attempt{Key: "m"}}); !errors.Is(err, wallet.ErrRefused) {
			t.Errorf("an order that an erased element never obeys: %v", err)
		}
	}
	g.vault.Clock.Add(30 * time.Hour) // its token's day is over
	next := g.fresh(was.Wallet, 7)
	if _, err := g.Order(t.Context(), server, g.id, element.Order{Verb: message.Issue, Ref: next, PIN: g.pin}); err != nil {
		t.Fatal(err)
	}
	g.all()
	want := token.Amount(20000)
	if at != "never issued" {
		want = 10000 // of 30000, as the slots of before are held for another day
	}
	if e, err := g.Get(t.Context(), server, g.id); err != nil || e.Ref != next || e.Acked != e.Seq || e.Balance != want {
		t.Errorf("with its next token: %+v, %v", e, err)
	}
}

// TestAheadOfUs: where no database was put back, a receipt that tells of more scripts than
// were made is refused.
func TestAheadOfUs(t *testing.T) {
	h := elementKeys(t)
	s := newStand(t, h)
	to := storetest.New(t)
	back := vaulttest.Saved(t, s.vault)
	s.all()
	receipt, err := applet.Fetch(t.Context(), s.e, aid)
	if err != nil {
		t.Fatal(err)
	}
	back(to, 0)
	if _, err := over(t, h, to).Carry(t.Context(), server, s.id, receipt); !errors.Is(err, wallet.ErrRefused) {
		t.Error(err)
	}
}

// fresh is a token of today that is bound to the element.
func (s *stand) fresh(w token.WalletID, card int) token.Ref {
	s.t.Helper()
	o := s.vault.Order(s.t, card)
	o.NotBefore, o.NotAfter = s.vault.Clock.Now(), s.vault.Clock.Now().Add(20*time.Hour)
	tok, err := s.vault.Writer().Issue(s.t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		s.t.Fatal(err)
	}
	by := issuer
	by.Requestor = string(tok.Requestor)
	if err := s.taps.Bind(s.t.Context(), by, w, tok.Ref, s.id); err != nil {
		s.t.Fatal(err)
	}
	return tok.Ref
}
