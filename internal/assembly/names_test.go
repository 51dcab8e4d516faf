package assembly

import (
	"slices"
	"testing"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestNamesOutliveAVersion: another version of par is for new references alone. If cards
// were named under it, too, every counter and count would begin anew.
func TestNamesOutliveAVersion(t *testing.T) {
	var before, after parts
	after.cfg.Vault.KeyVersions.PAR = 2
	_, first := before.names()
	if _, now := after.names(); now != first {
		t.Errorf("cards were named with %v, and with another version of par with %v", first, now)
	}
	// The service does not start without the one or the other.
	for _, v := range []uint8{1, 2} {
		if !slices.Contains(after.cfg.Keys(), keyref.Ref{Usage: keyref.PARKey, Version: v}) {
			t.Errorf("version %d of par is not asked for", v)
		}
	}
	if n := len(after.cfg.Keys()) - len(before.cfg.Keys()); n != 1 {
		t.Errorf("%d more keys are asked for", n)
	}
}
