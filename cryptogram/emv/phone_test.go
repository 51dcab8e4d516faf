package emv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// handset computes a cryptogram with a key that it was sent.
func handset(t *testing.T, key [16]byte, data []byte) [8]byte {
	t.Helper()
	r := &softkey.Ring{}
	if err := r.ImportScratch(t.Context(), ref(keyref.SessionKey), key[:]); err != nil {
		t.Fatal(err)
	}
	ac, err := emv.Cryptogram(t.Context(), r, keyref.Chain{Key: ref(keyref.SessionKey)}, emv.PadMarker, data)
	if err != nil {
		t.Fatal(err)
	}
	return ac
}

// TestPhone: the issuer sends two keys, the phone takes the mask off with the
// PIN that was typed, and the issuer tells device, user and strangers apart.
func TestPhone(t *testing.T) {
	k := ring(t, map[keyref.Usage]string{keyref.DeviceMaster: published, keyref.UserMaster: "00112233445566778899AABBCCDDEEFF"})
	p := emv.Phone{Card: card(t, "4111111111111111", ""), Rule: emv.OptionA, Device: ref(keyref.DeviceMaster), User: ref(keyref.UserMaster)}
	atc, data := [2]byte{0x12, 0x34}, []byte("what both cryptograms are over")
	keys, err := p.Provision(t.Context(), k, atc, "1761")
	if err != nil {
		t.Fatal(err)
	}
	device := [emv.DevicePart]byte(func() []byte { ac := handset(t, keys.Device, data); return ac[:emv.DevicePart] }())
	judge := func(atc [2]byte, pin string, device [emv.DevicePart]byte, data []byte) emv.Verdict {
		user, err := emv.Mask(&keys.User, pin)
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.Judge(t.Context(), k, emv.PhoneTap{ATC: atc, Data: data, Padding: emv.PadMarker, User: handset(t, user, data), Device: device})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	stranger := device
	stranger[4] ^= 1
	for name, tc := range map[string]struct {
		got, want emv.Verdict
	}{
		"right PIN":                  {judge(atc, "1761", device, data), emv.Good},
		"wrong PIN":                  {judge(atc, "1762", device, data), emv.WrongPIN},
		"longer PIN":                 {judge(atc, "17610", device, data), emv.WrongPIN},
		"another device":             {judge(atc, "1761", stranger, data), emv.NotOurs},
		"another device, wrong PIN":  {judge(atc, "1762", stranger, data), emv.NotOurs},
		"the keys of another ATC":    {judge([2]byte{0x12, 0x35}, "1761", device, data), emv.NotOurs},
		"cryptogram over other data": {judge(atc, "1761", device, data[1:]), emv.NotOurs},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: verdict %d, want %d", name, tc.got, tc.want)
		}
	}
	keys.Clear()
	if keys != (emv.PhoneKeys{}) {
		t.Error("the keys were not wiped")
	}
}

// refusing reveals nothing, or only the first key.
type refusing struct {
	softkey.Ring
	left int
}

var errRefusing = errors.New("no")

func (r *refusing) Reveal(ctx context.Context, c keyref.Chain) ([]byte, error) {
	if r.left--; r.left < 0 {
		return nil, errRefusing
	}
	return make([]byte, 16-r.left), nil
}

func TestProvisionFails(t *testing.T) {
	p := emv.Phone{Card: card(t, "4111111111111111", ""), Rule: emv.OptionA, Device: ref(keyref.DeviceMaster), User: ref(keyref.UserMaster)}
	for left := range 2 {
		if keys, err := p.Provision(t.Context(), &refusing{left: left}, [2]byte{}, "1234"); err == nil || keys != (emv.PhoneKeys{}) {
			t.Errorf("after %d keys: %v", left, err)
		}
	}
	k := ring(t, map[keyref.Usage]string{keyref.DeviceMaster: published, keyref.UserMaster: published})
	if keys, err := p.Provision(t.Context(), k, [2]byte{}, "12"); !errors.Is(err, emv.ErrMalformed) || keys != (emv.PhoneKeys{}) {
		t.Errorf("a short PIN: %v", err)
	}
	for _, rule := range []emv.MasterRule{emv.OptionC128, ""} {
		p.Rule = rule
		if _, err := p.Provision(t.Context(), k, [2]byte{}, "1234"); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("rule %q: %v", rule, err)
		}
	}
	if v, err := p.Judge(t.Context(), k, emv.PhoneTap{Padding: emv.PadMarker}); err == nil || v != emv.NotOurs {
		t.Errorf("no verdict: %d, %v", v, err)
	}
}

// TestMask: every wrong PIN gives a key with parity as good as the right one.
func TestMask(t *testing.T) {
	key := [16]byte([]byte("\x01\x23\x45\x67\x89\xAB\xCD\xEF\xFE\xDC\xBA\x98\x76\x54\x32\x10"))
	masked, err := emv.Mask(&key, "4083")
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for n := range 10000 {
		back, err := emv.Mask(&masked, fmt.Sprintf("%04d", n))
		if err != nil {
			t.Fatal(err)
		}
		if back == key {
			right++
		}
		for i := range back {
			if back[i]&1 != key[i]&1 {
				t.Fatalf("PIN %04d changes a parity bit", n)
			}
		}
	}
	if right != 1 {
		t.Errorf("%d PINs open the key", right)
	}
}

func TestLUKIndex(t *testing.T) {
	for text, ok := range map[string]bool{"0570201": true, "9878499": true, "0000100": true, "0000000": false, "0878500": false, "057020": false,
		"05702011": false, "05702x1": false, "-570201": false, " 570201": false} {
		i, err := emv.ParseLUKIndex(text)
		if (err == nil) != ok || ok && i.String() != text {
			t.Errorf("%q: %v, %v", text, i, err)
		}
	}
	k := ring(t, map[keyref.Usage]string{keyref.LimitedUseMaster: published})
	c := keyref.Chain{Key: ref(keyref.LimitedUseMaster)}
	step, _ := emv.OptionA.Step(card(t, "4111111111111111", ""))
	one, err := emv.LimitedKey(c.Then(step), "0570201")
	two, err2 := emv.LimitedKey(c.Then(step), "0570202")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	a, err := emv.StripeValue(t.Context(), k, one, [2]byte{0, 1}, [8]byte{})
	b, err2 := emv.Cryptogram(t.Context(), k, one, emv.PadMarker, nil)
	o, err3 := emv.Cryptogram(t.Context(), k, two, emv.PadMarker, nil)
	if err := errors.Join(err, err2, err3); err != nil || len(a) != 3 || b == o {
		t.Errorf("%q, %v", a, err)
	}
	if _, err := emv.LimitedKey(c, "057020"); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("a short index: %v", err)
	}
	p := emv.Profiles["visa-luk"]
	d := transaction()
	delete(d, "LUK")
	if _, err := p.AC(t.Context(), k, ref(keyref.LimitedUseMaster), card(t, "4111111111111111", ""), d); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("no index: %v", err)
	}
}

func TestToken(t *testing.T) {
	k := ring(t, map[keyref.Usage]string{keyref.ACMaster: published, keyref.ACMasterAES: published})
	c := card(t, "4111111111111111", "")
	for _, tc := range []struct {
		p      emv.Profile
		master keyref.Ref
	}{{emv.Profiles["visa-18"], ref(keyref.ACMaster)}, {emv.Profiles["emv-aes-128"], ref(keyref.ACMasterAES)}} {
		d := emv.TokenData{Amount: 1999, Currency: 156, Requestor: [11]byte([]byte("40012345678"))}
		made, err := tc.p.Token(t.Context(), k, tc.master, c, emv.TokenCryptogram{KeyIndex: 1, Flags: 2, ATC: [2]byte{0, 9}, UN: [4]byte{1, 2, 3, 4}}, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := emv.ParseToken(made.String())
		if err != nil || got != made || len(made.String()) != 28 {
			t.Fatalf("%v, %v", got, err)
		}
		if err := tc.p.VerifyToken(t.Context(), k, tc.master, c, got, d); err != nil {
			t.Error(err)
		}
		for i, change := range []func(t *emv.TokenCryptogram, d *emv.TokenData){
			func(t *emv.TokenCryptogram, _ *emv.TokenData) { t.KeyIndex++ }, func(t *emv.TokenCryptogram, _ *emv.TokenData) { t.Flags++ },
			func(t *emv.TokenCryptogram, _ *emv.TokenData) { t.ATC[1]++ }, func(t *emv.TokenCryptogram, _ *emv.TokenData) { t.UN[3]++ },
			func(t *emv.TokenCryptogram, _ *emv.TokenData) { t.AC[7]++ }, func(_ *emv.TokenCryptogram, d *emv.TokenData) { d.Amount++ },
			func(_ *emv.TokenCryptogram, d *emv.TokenData) { d.Currency++ }, func(_ *emv.TokenCryptogram, d *emv.TokenData) { d.Requestor[10]++ },
		} {
			other, data := got, d
			change(&other, &data)
			if err := tc.p.VerifyToken(t.Context(), k, tc.master, c, other, data); !errors.Is(err, emv.ErrMismatch) {
				t.Errorf("change %d: %v", i, err)
			}
		}
		for i, bad := range []emv.TokenData{{Amount: 1e12, Requestor: d.Requestor}, {Currency: 1000, Requestor: d.Requestor}, {}} {
			if err := tc.p.VerifyToken(t.Context(), k, tc.master, c, got, bad); !errors.Is(err, emv.ErrMalformed) {
				t.Errorf("data %d: %v", i, err)
			}
		}
	}
	for _, text := range []string{"", "AQ==", "!" + emv.TokenCryptogram{}.String()[1:], "Ag" + emv.TokenCryptogram{}.String()[2:], emv.TokenCryptogram{}.String() + "\n"} {
		if _, err := emv.ParseToken(text); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
