//go:build linux && cgo

package hsm_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// behindProxy is the configuration of a fresh token of SoftHSM behind p11-kit's proxy,
// which has it as packaged. On other modules there is none.
func behindProxy(t *testing.T) (cfg hsm.Config, ok bool) {
	t.Helper()
	cfg = hsmtest.Empty(t)
	if hsmtest.On(t) != "softhsm" {
		return cfg, false
	}
	cfg.Module = hsmtest.P11Kit(t, hsmtest.P11KitProxy)
	return cfg, true
}

// TestSoftHSMBehindProxy: SoftHSM is recognised by what its token says of itself, and is
// recycled behind the proxy as by itself.
func TestSoftHSMBehindProxy(t *testing.T) {
	cfg, ok := behindProxy(t)
	if !ok {
		return
	}
	said := make(chan error, 1)
	cfg.OnRecycle = func(_ time.Duration, err error) { said <- err }
	tok, err := hsm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	if got := tok.RecycleAfter(50); got != 200_000 {
		t.Fatalf("it is recycled after %d objects", got)
	}
	master := ref(keyref.PurchaseMaster)
	if err := tok.Generate(t.Context(), master); err != nil {
		t.Fatal(err)
	}
	if err := tok.Require(t.Context(), master); err != nil {
		t.Fatal(err)
	}
	path := mustPath(t, master, keyref.Factor{1}, keyref.Factor{2})
	mac := func(n byte) [4]byte {
		t.Helper()
		macs, err := tok.ProcessMAC(t.Context(), path, [8]byte{n}, []byte("m"))
		if err != nil {
			t.Fatal(err)
		}
		return macs[0]
	}
	first := mac(1)
	for tok.Recycled().Times == 0 {
		for n := range byte(100) {
			mac(n)
		}
		select {
		case err := <-said:
			if err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if mac(1) != first {
		t.Error("another MAC than before")
	}
	tok.RecycleAfter(0)
}

// TestProxyWhileOthersLogIn: a token behind the proxy that another process writes just
// now is there.
func TestProxyWhileOthersLogIn(t *testing.T) {
	if cfg, ok := behindProxy(t); ok {
		openRewritten(t, cfg)
	}
}
