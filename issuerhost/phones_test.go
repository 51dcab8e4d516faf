package issuerhost_test

import (
	"context"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/issuerhost"
)

// phoneTap is a tap of the house's token by a phone whose PIN is 1234.
func (h *house) phoneTap(atc uint16, pin string) issuerhost.Tap {
	h.t.Helper()
	card, err := emv.NewCard(h.tokens.t.Number.Digits(), "01")
	if err != nil {
		h.t.Fatal(err)
	}
	of := func(u keyref.Usage) keyref.Ref { return keyref.Ref{Realm: "bank", Usage: u, Version: 1} }
	phone := emv.Phone{Card: card, Rule: emv.OptionA, Device: of(keyref.DeviceMaster), User: of(keyref.UserMaster)}
	keys, err := phone.Provision(h.t.Context(), h.cards, [2]byte{byte(atc >> 8), byte(atc)}, "1234")
	if err != nil {
		h.t.Fatal(err)
	}
	user, err := emv.Mask(&keys.User, pin)
	if err != nil {
		h.t.Fatal(err)
	}
	msg := []byte("twenty-nine bytes of a CDOL..")
	x := issuerhost.Tap{Token: issuerhost.Payer{Ref: h.tokens.t.Ref}, Profile: "mchip-20", ATC: atc, Message: msg, User: retail(h.t, user, msg)}
	full := retail(h.t, keys.Device, msg)
	copy(x.Device[:], full[:])
	return x
}

// judged has a tap judged and holds the verdict to what it must be.
func (h *house) judged(ctx context.Context, x issuerhost.Tap, key string, want emv.Verdict) {
	h.t.Helper()
	if got, err := h.Judge(ctx, bank, x, access.Attempt{Key: key}); err != nil || got != want {
		h.t.Errorf("counter %d under %q: %v, %v", x.ATC, key, got, err)
	}
}

// TestPhoneAskedAgain: a tap that is sent again because its answer was lost shows no
// other PIN, and none anew. It has its first answer, also when the token is of no more use.
func TestPhoneAskedAgain(t *testing.T) {
	h := newHouse(t)
	good, wrong := h.phoneTap(1, "1234"), h.phoneTap(2, "9999")
	h.judged(t.Context(), good, "k1", emv.Good)
	for range 7 {
		h.judged(t.Context(), wrong, "k2", emv.WrongPIN)
	}
	for n := range uint16(3) {
		h.judged(t.Context(), h.phoneTap(3+n, "9999"), "", emv.WrongPIN)
	}
	h.judged(t.Context(), good, "k1", emv.Good) // and forgets none of the four
	fifth := h.phoneTap(6, "9999")
	for range 2 {
		h.judged(t.Context(), fifth, "k6", emv.WrongPIN)
	}
	h.judged(t.Context(), good, "k1", emv.Good)
	_, err := h.Judge(t.Context(), bank, h.phoneTap(7, "1234"), access.Attempt{Key: "k7"})
	h.refuses(err, fault.Refused, "pin-locked")
}

// TestPhoneWhoseCallerLeaves: a host that does not wait for its answers uses no tries
// up with right PINs, and has no wrong one for nothing.
func TestPhoneWhoseCallerLeaves(t *testing.T) {
	h := newHouse(t)
	var leave context.CancelFunc
	h.cfg.Keys = computing{h.cfg.Keys, func() {
		if leave != nil {
			leave()
		}
	}}
	h.open()
	left := func(x issuerhost.Tap) {
		ctx, cancel := context.WithCancel(t.Context())
		leave = cancel
		_, _ = h.Judge(ctx, bank, x, access.Attempt{}) // nobody hears what it says
		cancel()
		leave = nil
	}
	for n := range uint16(6) {
		left(h.phoneTap(1+n, "1234"))
	}
	h.judged(t.Context(), h.phoneTap(7, "1234"), "", emv.Good)
	for n := range uint16(5) {
		left(h.phoneTap(8+n, "9999"))
	}
	_, err := h.Judge(t.Context(), bank, h.phoneTap(13, "1234"), access.Attempt{})
	h.refuses(err, fault.Refused, "pin-locked")
}
