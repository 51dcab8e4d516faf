package lab_test

import (
	"testing"

	"github.com/tapvault/tapvault/api/wire"
)

// TestBindsToDevicesOfTheWallet: a token is bound for good, so it is bound to no device that
// could never sync it. The token can be bound rightly after that.
func TestBindsToDevicesOfTheWallet(t *testing.T) {
	f := newFob(t, 20000)
	issuer := f.l.Client(t, "issuer")
	other, err := issuer.OpenWallet(t.Context(), wire.WalletRequest{})
	f.must(err)
	tok := newToken(t, f.l, cardRequest())
	for name, c := range map[string]struct{ wallet, device string }{
		"nobody's":         {f.wallet, "dvAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		"another wallet's": {other.ID, f.id},
	} {
		_, err := issuer.BindToken(t.Context(), c.wallet, wire.WalletToken{Ref: tok.Ref, Device: c.device})
		problem(t, name, err, "malformed")
	}
	for range 2 {
		_, err = issuer.BindToken(t.Context(), f.wallet, wire.WalletToken{Ref: tok.Ref, Device: f.id})
		f.must(err)
	}
}
