package lab_test

import (
	"testing"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
)

const otherPIN = "739206"

// sealed is a PIN as a phone seals it.
func (w *weeks) sealed(p *sim.Phone, pin string) string {
	w.Helper()
	text, err := p.SealPIN(pin)
	w.must(err)
	return text
}

// ahead gives the phone's token a successor that is bound to nobody.
func (w *weeks) ahead(p *sim.Phone) token.Ref {
	w.Helper()
	t, err := w.issuer.Renew(w.Context(), string(p.Ref))
	w.must(err)
	if t.Ref == string(p.Ref) || t.State != "REQUESTED" {
		w.Fatalf("the next token is %s, %s", t.Ref, t.State)
	}
	return token.Ref(t.Ref)
}

// are demands a state of tokens.
func (w *weeks) are(state string, refs ...token.Ref) {
	w.Helper()
	for _, ref := range refs {
		t, err := w.issuer.Token(w.Context(), string(ref))
		w.must(err)
		if t.State != state {
			w.Errorf("token %s is %s, want %s", ref, t.State, state)
		}
	}
}

// fresh asks for a token after the PIN was changed, and gives it to the phone.
func (w *weeks) fresh(p *sim.Phone, pin wire.PIN) wire.Token {
	w.Helper()
	p.PINChanged(pin.Epoch)
	t, err := w.issuer.RequestToken(w.Context(), cardRequest())
	w.must(err)
	_, err = w.issuer.BindToken(w.Context(), string(p.Wallet), wire.WalletToken{Ref: t.Ref, Device: string(p.Device)})
	w.must(err)
	p.Ref, p.Number = token.Ref(t.Ref), t.Number
	w.must(p.Attest(w.Context()))
	got, err := p.Sync(w.Context())
	w.must(err)
	if got.Slots != 10 {
		w.Fatalf("the token after the change brought %d slots, the wallet is %s", got.Slots, got.State)
	}
	return t
}

// same is an agreement by which who asks again gets the token that lives.
func same(c *assembly.Config) {
	c.Tokens.Requestors = []assembly.Requestor{{ID: "50110000001", Duplicates: tokenize.SameToken}}
}

// TestPINChangedBeforeTheNextToken: what was fetched ahead and not bound goes with
// the PIN that was changed, as what was bound does. The new PIN pays, and the old one
// does not.
func TestPINChangedBeforeTheNextToken(t *testing.T) {
	w := newWeeks(t, "Asia/Shanghai", "2026-12-28 12:00", same)
	p, err := w.people.Phone(w.Context(), sim.Spec{Card: testPAN, PIN: daysPIN, TopUp: daysMoney})
	w.must(err)
	w.must(p.EnterPIN(daysPIN))
	w.pay("before", p, 350)
	w.to("20:00:00")
	first, second := p.Ref, w.ahead(p)
	pin, err := w.people.Wallet.ChangePIN(w.Context(), string(p.Wallet), wire.PINChange{Old: w.sealed(p, daysPIN), PIN: w.sealed(p, otherPIN)})
	w.must(err)
	w.are("DELETED", first, second)
	w.fresh(p, pin)
	third := w.ahead(p)
	w.must(p.EnterPIN(otherPIN))
	w.pay("with the new PIN", p, 350)
	w.upload(2)
	w.settled(p.Holder)

	w.must(p.EnterPIN(daysPIN)) // a phone cannot tell
	w.pay("with the old PIN", p, 350)
	got, err := w.reader.Upload(w.Context())
	w.must(err)
	if len(got) != 1 || got[0].Outcome != "POSTED" || got[0].Reason != "WRONG_PIN" {
		w.Errorf("the old PIN pays: %+v", got)
	}
	w.are("ACTIVE", p.Ref)
	w.are("REQUESTED", third)
}

// TestPINResetAfterSuspension: wrong PINs hold back the token and the one that was
// fetched ahead. With the PIN that the holder sets anew both are gone, so that who
// asks gets a token that is not held back.
func TestPINResetAfterSuspension(t *testing.T) {
	w := newWeeks(t, "Asia/Shanghai", "2026-12-28 12:00", same)
	p, err := w.people.Phone(w.Context(), sim.Spec{Card: testPAN, PIN: daysPIN, TopUp: daysMoney})
	w.must(err)
	w.to("20:00:00")
	first, second := p.Ref, w.ahead(p)
	for range 5 {
		if ok, err := p.VerifyPIN(w.Context(), otherPIN); ok || err != nil {
			w.Fatalf("a wrong PIN: %v, %v", ok, err)
		}
	}
	w.are("SUSPENDED", first, second)
	operator := w.l.Client(w, "operator")
	w.must(operator.ResetPIN(w.Context(), string(p.Wallet)))
	pin, err := w.people.Wallet.SetPIN(w.Context(), string(p.Wallet), wire.PINSet{PIN: w.sealed(p, otherPIN)})
	w.must(err)
	w.are("DELETED", first, second)
	_, err = operator.RestoreWallet(w.Context(), string(p.Wallet), "the holder was there")
	w.must(err)
	if t := w.fresh(p, pin); t.State != "REQUESTED" || t.Ref == string(second) {
		w.Errorf("who asks gets %s, %s", t.Ref, t.State)
	}
	w.must(p.EnterPIN(otherPIN))
	w.pay("after the reset", p, 350)
	w.upload(1)
}
