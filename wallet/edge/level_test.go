package edge_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// TestPhoneIsNoElement: a phone whose keys live in a secure element holds its slots itself all
// the same, and they can be copied: readers are told to demand its proofs, its masks need its
// hardware, and its attestation is worth a day.
func TestPhoneIsNoElement(t *testing.T) {
	r := newRig(t)
	p := r.blank(t, walletA)
	a := r.attested()
	a.Level = enrol.Element
	p.enrol(t, a)
	p.setPIN(t, goodPIN)
	p.bind(t)
	got := p.sync(t)
	if got.Tier != enrol.TierSE || got.Bundle == nil || got.Bundle.Slots != 20 || got.Bundle.Hardware == "" {
		t.Fatalf("%+v", got)
	}
	if err := p.EnterPIN(goodPIN); err != nil {
		t.Fatal(err)
	}
	paid, err := p.pay(t, 300)
	if err != nil || !p.tacGood(t, paid) {
		t.Fatalf("it does not pay: %v", err)
	}
	c := paid.shown.Credential
	if c.Tier() == credential.TierElement || !c.OfflineOK() {
		t.Errorf("readers take tier %d without a proof, or not offline: %t", c.Tier(), c.OfflineOK())
	}
	if err := paid.shown.Proof.Verify(c, paid.ud); err != nil {
		t.Errorf("its proof: %v", err)
	}
	r.vault.Clock.Add(25 * time.Hour)
	p.bind(t)
	if got := p.sync(t); got.Bundle == nil || got.Bundle.Slots != 5 {
		t.Errorf("attested 25 hours ago: %+v", got.Bundle)
	}
}
