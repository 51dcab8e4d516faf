package api

import (
	"context"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	phonesync "github.com/tapvault/tapvault/wallet/edge"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/pin"
)

const (
	sampleWallet      = "wlAAAAAAAAAAAAAAAAAAAAAAAAAA"
	sampleDevice      = "dvAAAAAAAAAAAAAAAAAAAAAAAAAA"
	sampleKey         = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`
	sampleAttestation = `{"verdict":"TRUSTED","level":"TEE","at":"2026-07-24T08:00:00Z","patch_level":"2026-06","boot":"VERIFIED","locked":true,` +
		`"leaf":"0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A","hardware_mac":true,"use_count":"ANY","sign_p95_ms":60}`
)

// phones plays the services of phones.
type phones struct{ *backend }

func (p phones) device(id token.DeviceID, a enrol.Attestation) (enrol.Device, error) {
	return enrol.Device{ID: id, Wallet: sampleWallet, Tier: enrol.TierB, Reasons: []enrol.Reason{enrol.PatchOld}, Attestation: a}, p.act()
}

func (p phones) Enrol(_ context.Context, _ access.Caller, q enrol.Request) (enrol.Device, error) {
	return p.device(sampleDevice, q.Attestation)
}

func (p phones) Attest(_ context.Context, _ access.Caller, id token.DeviceID, a enrol.Attestation) (enrol.Device, error) {
	return p.device(id, a)
}

func (phones) Terms(t enrol.Tier) enrol.Terms { return enrol.DefaultTiers()[t] }

func (p phones) Set(context.Context, access.Caller, token.WalletID, pin.Choice) (uint32, error) {
	return 1, p.act()
}

func (p phones) Verify(context.Context, access.Caller, token.WalletID, string) (uint32, error) {
	return 1, p.act()
}

func (p phones) Change(context.Context, access.Caller, token.WalletID, string, pin.Choice) (uint32, error) {
	return 2, p.act()
}

func (p phones) AllowReset(context.Context, access.Caller, token.WalletID) error { return p.act() }

func (p phones) Sync(context.Context, access.Caller, token.DeviceID, string) (phonesync.Answer, error) {
	return phonesync.Answer{SyncID: "s1", Tier: enrol.TierA, At: now, Scripts: [][]byte{{0xD1}},
		Settlement: account.Settlement{Result: account.SyncClean, State: account.WalletActive, Next: account.Thresholds{SlotsLeft: 4, Before: now.Add(time.Hour)},
			Decisions: []account.Result{{TapID: "t1", Outcome: account.Posted}}, Balances: account.Balances{Available: 1, Count: 10}},
		Bundle: &wallet.Bundle{ID: "b1", JWE: "a.b.c.d.e", Slots: 10, NotAfter: now, PINEpoch: 1, Hardware: "a.b.c.d.e"}}, p.act()
}

var instance = regexp.MustCompile(`"instance":"[^"]*"`)

// shape is an answer without the number of its request.
func shape(body string) string { return instance.ReplaceAllString(body, "") }

// TestRule9AtTheEdge: whatever does not hold about a wallet, a PIN, a device or a
// sync has one answer, down to the bytes, but for the number of the request.
func TestRule9AtTheEdge(t *testing.T) {
	e := newEdge(t)
	e.back.err = wallet.ErrRefused
	var want string
	for _, path := range []string{"/v1/devices", "/v1/devices/{device}/attestation", "/v1/wallets/{wallet}/pin", "/v1/wallets/{wallet}/pin/verify",
		"/v1/wallets/{wallet}/pin/change", "/v1/wallets/{wallet}/pin/reset", "/v1/sync",
		"/v1/elements", "/v1/elements/{element}", "/v1/elements/{element}/scripts", "/v1/elements/{element}/courier"} {
		s := find(t, path)
		w := e.do(s, s.request())
		if got := shape(w.Body.String()); w.Code != http.StatusForbidden || want != "" && got != want {
			t.Errorf("%s: %d %s, want %s", path, w.Code, got, want)
		} else {
			want = got
		}
	}
	// A wallet or device that cannot exist is refused before anybody is asked,
	// in the same words.
	for _, s := range []sample{{"POST", "/v1/wallets/none/pin/verify", "/v1/wallets/{wallet}/pin/verify", `{"pin_jwe":"` + sealedCard + `"}`, 403},
		{"POST", "/v1/devices/none/attestation", "/v1/devices/{device}/attestation", sampleAttestation, 403}} {
		w := e.do(s, s.request())
		if got := shape(w.Body.String()); w.Code != http.StatusForbidden || got != want {
			t.Errorf("%s: %d %s", s.path, w.Code, got)
		}
	}
}
