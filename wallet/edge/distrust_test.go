package edge_test

import (
	"slices"
	"testing"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// TestDistrust: a sign of fraud takes a device down by one tier, once, and devices
// that nobody knows not at all. Nor does one of another wallet: whoever may bind tokens to
// wallets of their own may name it.
func TestDistrust(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	if err := r.devices.Distrust(t.Context(), "wlZZZZZZZZZZZZZZZZZZZZZZZZZZ", p.id); err != nil {
		t.Error(err)
	}
	if d, err := r.devices.Device(t.Context(), p.id); err != nil || d.Tier != enrol.TierA {
		t.Errorf("by another's token: %+v, %v", d, err)
	}
	for range 2 {
		if err := r.devices.Distrust(t.Context(), walletA, p.id); err != nil {
			t.Fatal(err)
		}
		d, err := r.devices.Lower(t.Context(), p.id, enrol.TierA, enrol.Detected) // lowers nothing
		if err != nil || d.Tier != enrol.TierB || !slices.Equal(d.Reasons, []enrol.Reason{enrol.Detected}) {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if err := r.devices.Distrust(t.Context(), walletA, token.DeviceID("dvAAAAAAAAAAAAAAAAAAAAAAAAAA")); err != nil {
		t.Error(err)
	}
}
