package edge_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// TestWhoMayAttest: only the client that enrolled a device attests it anew, by a verdict that
// is newer than the last and not of the future. What is refused changes nothing.
func TestWhoMayAttest(t *testing.T) {
	r := newRig(t)
	p := r.blank(t, walletA)
	first := r.attested()
	was := p.enrol(t, first)
	stranger := caller
	stranger.ID = "w2"
	at := func(d time.Duration) enrol.Attestation {
		a := first
		a.At, a.Locked = a.At.Add(d), false // of a lower tier, which would show
		return a
	}
	for name, c := range map[string]struct {
		caller access.Caller
		device token.DeviceID
		a      enrol.Attestation
		reason string
	}{
		"another client":  {stranger, was.ID, at(time.Second), "foreign-device"},
		"the same moment": {caller, was.ID, at(0), "old-attestation"},
		"an older one":    {caller, was.ID, at(-time.Hour), "old-attestation"},
		"of the future":   {caller, was.ID, at(121 * time.Second), "old-attestation"},
		"no such device":  {caller, "dvZZZZZZZZZZZZZZZZZZZZZZZZZZ", at(time.Second), "unknown-device"},
	} {
		if _, err := r.devices.Attest(t.Context(), c.caller, c.device, c.a); !errors.Is(err, wallet.ErrRefused) || r.trail.last() != c.reason {
			t.Errorf("%s: %v, recorded as %q", name, err, r.trail.last())
		}
	}
	if got, err := r.devices.Device(t.Context(), was.ID); err != nil || got.Tier != enrol.TierA || !got.Attestation.At.Equal(first.At) || got.Judged != 0 {
		t.Errorf("after refusals: %+v, %v", got, err)
	}
	if got, err := r.devices.Attest(t.Context(), caller, was.ID, at(120*time.Second)); err != nil || got.Tier != enrol.TierB || got.Judged != 1 {
		t.Errorf("a newer one: %+v, %v", got, err)
	}
	wrap, sign, err := r.blank(t, walletB).Keys()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sign []byte
		a    enrol.Attestation
		want error
	}{"of the future": {sign, at(121 * time.Second), token.ErrMalformed}, "one key twice": {wrap, first, enrol.ErrKeys}} {
		if _, err := r.devices.Enrol(t.Context(), caller, enrol.Request{Wallet: walletB, WrapKey: wrap, SignKey: c.sign, Attestation: c.a}); !errors.Is(err, c.want) {
			t.Errorf("enrolled, %s: %v", name, err)
		}
	}
}
