package bundle_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

// ask sends one command to a handset.
func ask(t *testing.T, h *bundle.Handset, c apdu.Command) apdu.Response {
	t.Helper()
	out, err := h.Transmit(t.Context(), c.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	r, err := apdu.ParseResponse(out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var application = apdu.Command{INS: 0xA4, P1: 4, Data: []byte{0xA0, 0, 0, 6, 0x32, 1, 1, 5}, Ne: 256}

// pays taps a handset at a reader with the right keys.
func pays(t *testing.T, h *bundle.Handset, issuer *wallettest.Issuer) (n token.Number, seq uint16, answer []byte) {
	t.Helper()
	h.Reset()
	ask(t, h, application)
	p, err := credential.ParsePresentation(ask(t, h, apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0xDF, P2: 1, Ne: 256}).Data)
	if err != nil {
		t.Fatal(err)
	}
	b := ask(t, h, apdu.Command{CLA: 0x80, INS: 0x50, P1: 3, P2: 2, Data: append([]byte{1, 0, 0, 1, 0x2C}, terminal[:]...), Ne: 15}).Data
	pur := cryptogram.Purchase{Rand: [4]byte(b[11:]), Seq: binary.BigEndian.Uint16(b[4:]), Amount: 300, Type: cryptogram.PurchaseCAPP,
		Terminal: terminal, TermSeq: 77, At: cryptogram.DateTimeOf(noon)}
	asn := p.Credential.Number.ASN()
	path, err := wallettest.PurchaseMaster.Path(wallettest.IssuerID, keyref.Factor(asn[2:]), p.UD.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	mac1, _, err := cryptogram.PurchaseMACs(t.Context(), issuer.Keys.Ring, path, pur)
	if err != nil {
		t.Fatal(err)
	}
	data := append(append(binary.BigEndian.AppendUint32(nil, pur.TermSeq), pur.At[:]...), mac1[:]...)
	r := ask(t, h, apdu.Command{CLA: 0x80, INS: 0x54, P1: 1, Data: data, Ne: 8})
	if r.SW != apdu.OK {
		t.Fatalf("purchase %d: %v", pur.Seq, r.SW)
	}
	return p.Credential.Number, pur.Seq, r.Data
}

// TestAnswerOfAnotherToken: a reader that lost the answer to a debit selects once more
// and asks for it. It gets it, also when the token that paid has nothing left to pay
// with, and another one would pay the next tap.
func TestAnswerOfAnotherToken(t *testing.T) {
	h, issuer, _ := enrolled(t, func(*bundle.HandsetConfig) {})
	second, err := token.ParseNumber("3104209999999999999")
	if err != nil {
		t.Fatal(err)
	}
	issuer.Tokens.Put(token.Token{Ref: "tok-2", Number: second, Requestor: "12345678901", State: token.Requested,
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(24 * time.Hour), CtrFirst: 1, CtrNext: 1})
	p, err := mask.ParsePIN([]byte("482915"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []token.Ref{wallettest.Ref, "tok-2"} {
		q, err := h.Sync(ref)
		if err != nil {
			t.Fatal(err)
		}
		a, err := issuer.Sync(t.Context(), h, q, quick(p, mask.Salt(wallettest.WalletID, 1)))
		if err == nil {
			err = h.Apply(ref, a)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := h.EnterPIN("482915"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * wallettest.Slots {
		n, seq, got := pays(t, h, issuer)
		if (n.Digits() == second.Digits()) != (i >= wallettest.Slots) {
			t.Fatalf("tap %d is paid by token %s", i, n.Digits())
		}
		h.Reset() // the answer was lost, and the reader selects the card once more
		ask(t, h, application)
		again := ask(t, h, apdu.Command{CLA: 0x80, INS: 0x5A, P2: byte(cryptogram.PurchaseCAPP), Data: binary.BigEndian.AppendUint16(nil, seq), Ne: 8})
		if want := append(got[4:8:8], got[:4]...); again.SW != apdu.OK || !bytes.Equal(again.Data, want) {
			t.Errorf("tap %d: %v, %X, want %X", i, again.SW, again.Data, want)
		}
	}
	h.PINChanged(2)
	if r := ask(t, h, apdu.Command{CLA: 0x80, INS: 0x5A, P2: byte(cryptogram.PurchaseCAPP), Data: []byte{0, 3}, Ne: 8}); r.SW == apdu.OK {
		t.Error("it answers for a token that is gone")
	}
}
