package credential_test

import (
	"testing"

	"github.com/tapvault/tapvault/wallet/credential"
)

func TestRisk(t *testing.T) {
	for want, c := range map[byte]struct {
		tier    credential.Tier
		offline bool
	}{0: {credential.TierC, false}, 0x40: {credential.TierB, false}, 0x81: {credential.TierA, true}, 0xC1: {credential.TierElement, true}} {
		got := credential.Risk(c.tier, c.offline)
		back := credential.Credential{Risk: got}
		if got != want || back.Tier() != c.tier || back.OfflineOK() != c.offline {
			t.Errorf("%+v: %02X", c, got)
		}
	}
}
