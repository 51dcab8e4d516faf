package issuerhost_test

import (
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/issuerhost"
)

// TestIssuerOfOneRequestor: an issuer that names its requestors serves those, and
// nobody else.
func TestIssuerOfOneRequestor(t *testing.T) {
	h := newHouse(t)
	number, p := pan(t, "4761739901010119"), emv.Profiles["visa-18"]
	c, err := emv.NewCard(number.Reveal(), "01")
	if err != nil {
		t.Fatal(err)
	}
	ac, err := p.AC(t.Context(), h.cards, keyref.Ref{Realm: "other", Usage: p.Usage(), Version: 1}, c, data(1))
	if err != nil {
		t.Fatal(err)
	}
	tx := issuerhost.Transaction{Payer: issuerhost.Payer{PAN: number, PSN: "01"}, Profile: "visa-18", Version: 1, Data: data(1), AC: ac}
	h.refuses(h.pays(tx, ""), fault.RealmUnknown, "other-issuer")
	theirs := bank
	theirs.ID, theirs.Requestor = "theirs", "11111111111"
	if _, err := h.Authorise(t.Context(), theirs, issuerhost.Request{Transaction: tx, Silent: true}, access.Attempt{}); err != nil {
		t.Errorf("the requestor that the issuer names: %v", err)
	}
}

// TestVersionIsFound: a caller that does not know a card's key version names none, and
// each that the issuer has is tried.
func TestVersionIsFound(t *testing.T) {
	h := newHouse(t)
	for i, version := range []uint8{1, 2} {
		tx := h.made("visa-18", panText, "01", version, data(uint16(i+1)))
		tx.Version = 0
		if err := h.pays(tx, ""); err != nil {
			t.Errorf("a card of version %d: %v", version, err)
		}
	}
}

// TestFirstMomentOfAToken: a token serves from the moment on at which it begins.
func TestFirstMomentOfAToken(t *testing.T) {
	h := newHouse(t)
	h.tokens.t.NotBefore = now
	if err := h.pays(h.ofToken(1), ""); err != nil {
		t.Error(err)
	}
}

// TestSizesOfBatches: a batch holds something, and so many at most.
func TestSizesOfBatches(t *testing.T) {
	h := newHouse(t)
	for n, good := range map[int]bool{0: false, 1: true, issuerhost.MaxBatch: true, issuerhost.MaxBatch + 1: false} {
		items, err := h.AuthoriseBatch(t.Context(), bank, make([]issuerhost.Request, n), access.Attempt{})
		errs, err2 := h.VerifyBatch(t.Context(), bank, make([]issuerhost.Transaction, n))
		for what, err := range map[string]error{"authorise": err, "verify": err2} {
			if good != (err == nil) || !good && fault.KindOf(err) != fault.Malformed {
				t.Errorf("%s %d: %v", what, n, err)
			}
		}
		if good && (len(items) != n || len(errs) != n || items[n-1].Err == nil || errs[n-1] == nil) {
			t.Errorf("%d that name no card: %d and %d answers", n, len(items), len(errs))
		}
	}
}

// TestBatchesWithoutKey: they are no tries of one another.
func TestBatchesWithoutKey(t *testing.T) {
	h := newHouse(t)
	rs := []issuerhost.Request{{Transaction: h.made("visa-18", panText, "01", 1, data(5)), Silent: true}}
	for i, want := range []fault.Kind{"", fault.CounterReplayed} {
		items, err := h.AuthoriseBatch(t.Context(), bank, rs, access.Attempt{})
		if err != nil || len(items) != 1 {
			t.Fatalf("%d answers, %v", len(items), err)
		}
		if err := items[0].Err; (want == "") != (err == nil) || err != nil && fault.KindOf(err) != want {
			t.Errorf("batch %d: %v", i+1, err)
		}
	}
}
