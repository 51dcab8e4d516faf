//go:build cgo

package hsm_test

import (
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
)

// newPIN gives a token that nobody has open another PIN, as its security officer does.
func newPIN(t *testing.T, holder *hsm.Token, token, pin string) {
	t.Helper()
	defer holder.Inject(func(c hsm.Cryptoki) hsm.Cryptoki {
		slots, err := c.GetSlotList(true)
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range slots {
			if i, err := c.GetTokenInfo(slot); err != nil || i.Label != token {
				continue
			}
			s, err := c.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
			if err == nil {
				err = c.Login(s, pkcs11.CKU_SO, hsmtest.SOPIN)
			}
			if err == nil {
				err = c.InitPIN(s, pin)
			}
			if err == nil {
				err = c.Logout(s)
			}
			if err == nil {
				err = c.CloseSession(s)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return c
	})()
}

// TestPINThatBecameRight: a PIN that was refused, and that the token was given later, is
// tried once more, an hour after the refusal, if the token showed that it counts wrong
// PINs and shows a full counter now. Without any of these it is left alone.
func TestPINThatBecameRight(t *testing.T) {
	if hsmtest.On(t) != "softhsm" { // others take no new PIN from here
		return
	}
	const late = "654321"
	for _, c := range []struct {
		name   string
		atOnce flagged // what the token says when it refuses
		then   flagged // and when it was given the PIN
		after  time.Duration
		opens  bool
	}{
		{"the token shows it", flagged{}, flagged{}, time.Hour, true},
		{"too soon", flagged{}, flagged{}, time.Hour - time.Second, false},
		{"one wrong try stands", flagged{}, flagged{set: pkcs11.CKF_USER_PIN_COUNT_LOW}, 2 * time.Hour, false},
		{"one try is left", flagged{}, flagged{set: pkcs11.CKF_USER_PIN_FINAL_TRY}, 2 * time.Hour, false},
		{"a token that shows nothing", flagged{clear: pkcs11.CKF_USER_PIN_COUNT_LOW}, flagged{}, 1000 * time.Hour, false},
	} {
		cfg, holder := hsmtest.Empty(t), bare(t) // holder keeps the module loaded
		now := time.Unix(1e9, 0)
		defer hsm.PINsAt(func() time.Time { return now })()
		says := func(f flagged) (restore func()) {
			return holder.Inject(func(c hsm.Cryptoki) hsm.Cryptoki { f.Cryptoki = c; return f })
		}
		cfg.PIN = hsm.StaticPIN(late)
		restore := says(c.atOnce)
		_, err := hsm.Open(t.Context(), cfg)
		restore()
		refuses(t, c.name, err, hsm.ErrPIN, "wrong PIN")
		newPIN(t, holder, cfg.Token, late)
		now = now.Add(c.after)
		restore = says(c.then)
		tok, err := hsm.Open(t.Context(), cfg)
		restore()
		if !c.opens {
			refuses(t, c.name, err, hsm.ErrPIN, "wrong PIN")
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err := tok.Close(); err != nil {
			t.Error(err)
		}
	}
}
