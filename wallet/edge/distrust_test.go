package edge_test

import (
	"slices"
	"testing"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// TestDistrust: a sign of fraud takes a device down by one tier, once, and devices
// that nobody knows not at all.
func TestDistrust(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	for range 2 {
		if err := r.devices.Distrust(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		d, err := r.devices.Lower(t.Context(), p.id, enrol.TierA, enrol.Detected) // lowers nothing
		if err != nil || d.Tier != enrol.TierB || !slices.Equal(d.Reasons, []enrol.Reason{enrol.Detected}) {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if err := r.devices.Distrust(t.Context(), token.DeviceID("dvAAAAAAAAAAAAAAAAAAAAAAAAAA")); err != nil {
		t.Error(err)
	}
}
