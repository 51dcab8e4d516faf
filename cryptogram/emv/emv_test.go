package emv_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Both sides of the interface meet here: the vectors run on both.
var (
	_ emv.Keys     = (*hsm.Token)(nil)
	_ emv.Keys     = (*softkey.Ring)(nil)
	_ emv.Revealer = (*hsm.Token)(nil)
	_ emv.Revealer = (*softkey.Ring)(nil)
)

func unhex(s string) []byte { b, _ := hex.DecodeString(s); return b }

func ref(u keyref.Usage) keyref.Ref { return keyref.Ref{Realm: "visa", Usage: u, Version: 1} }

// ring holds keys of a realm, each in hex.
func ring(t testing.TB, keys map[keyref.Usage]string) *softkey.Ring {
	t.Helper()
	r := &softkey.Ring{}
	for u, k := range keys {
		if err := r.ImportScratch(context.Background(), ref(u), unhex(k)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func card(t testing.TB, pan, psn string) emv.Card {
	t.Helper()
	c, err := emv.NewCard(pan, psn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const published = "0123456789ABCDEFFEDCBA9876543210"

// transaction has every field that the profiles take.
func transaction() emv.Data {
	return emv.Data{"9F02": unhex("000000001700"), "9F03": unhex("000000000000"), "9F1A": unhex("0840"), "95": unhex("0080008000"),
		"5F2A": unhex("0840"), "9A": unhex("160517"), "9C": unhex("00"), "9F37": unhex("00000009"), "82": unhex("3800"), "9F36": unhex("000B"),
		"CVR": unhex("03011203"), "9F10": unhex("06011203000000"), "LUK": []byte("0570201")}
}

// TestPublished is the example of a cloud provider's guide, end to end.
func TestPublished(t *testing.T) {
	k := ring(t, map[keyref.Usage]string{keyref.ACMaster: published})
	c, p := card(t, "9137631040001422", "01"), emv.Profiles["visa-10"]
	d := transaction()
	d["CVR"] = unhex("03011203")
	ac, err := p.AC(t.Context(), k, ref(keyref.ACMaster), c, d)
	if err != nil || hex.EncodeToString(ac[:]) != "d791093c8a921769" {
		t.Fatalf("%x, %v", ac, err)
	}
	if err := p.Verify(t.Context(), k, ref(keyref.ACMaster), emv.Transaction{Card: c, Data: d, AC: ac}); err != nil {
		t.Error(err)
	}
	for i := range 64 {
		bad := ac
		bad[i/8] ^= 1 << (i % 8)
		if err := p.Verify(t.Context(), k, ref(keyref.ACMaster), emv.Transaction{Card: c, Data: d, AC: bad}); !errors.Is(err, emv.ErrMismatch) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for name := range d {
		if !slices.ContainsFunc(p.Fields, func(f emv.Field) bool { return f.Name == name }) {
			continue
		}
		other := maps.Clone(d)
		other[name] = bytes.Clone(d[name])
		other[name][0] ^= 1
		if err := p.Verify(t.Context(), k, ref(keyref.ACMaster), emv.Transaction{Card: c, Data: other, AC: ac}); !errors.Is(err, emv.ErrMismatch) {
			t.Errorf("another %s: %v", name, err)
		}
		for _, n := range []int{0, len(d[name]) - 1, len(d[name]) + 1} {
			other[name] = make([]byte, n)
			if err := p.Verify(t.Context(), k, ref(keyref.ACMaster), emv.Transaction{Card: c, Data: other, AC: ac}); !errors.Is(err, emv.ErrMalformed) {
				t.Errorf("%s of %d bytes: %v", name, n, err)
			}
		}
	}
	for _, other := range []emv.Card{card(t, "9137631040001422", "02"), card(t, "9137631040001423", "01"), card(t, "9137631040001422", "")} {
		if err := p.Verify(t.Context(), k, ref(keyref.ACMaster), emv.Transaction{Card: other, Data: d, AC: ac}); !errors.Is(err, emv.ErrMismatch) {
			t.Errorf("another card: %v", err)
		}
	}
	if err := p.Verify(t.Context(), k, ref(keyref.ACMaster), emv.Transaction{Card: emv.Card{}, Data: d, AC: ac}); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("no card: %v", err)
	}
}

// TestProfiles takes every profile through a transaction, and its JSON form
// through a round trip: a scheme is data.
func TestProfiles(t *testing.T) {
	k := ring(t, map[keyref.Usage]string{keyref.ACMaster: published, keyref.ACMasterAES: published})
	for name, p := range emv.Profiles {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		same, err := emv.ParseProfile(text)
		if again, _ := json.Marshal(same); err != nil || name != p.Name || !bytes.Equal(again, text) {
			t.Errorf("%s: %s, %v", name, again, err)
		}
		if p.Master == emv.OptionC192 || p.Master == emv.OptionC256 {
			continue // the ring's key is of 128 bits
		}
		master, d := ref(keyref.ACMaster), transaction()
		if p.Master.AES() {
			master = ref(keyref.ACMasterAES)
		}
		for _, f := range p.Fields {
			if len(d[f.Name]) < f.Least || len(d[f.Name]) > f.Most {
				d[f.Name] = make([]byte, f.Most)
			}
		}
		c := card(t, "4111111111111111111", "00")
		ac, err := p.AC(t.Context(), k, master, c, d)
		if err != nil || same.Verify(t.Context(), k, master, emv.Transaction{Card: c, Data: d, AC: ac}) != nil {
			t.Errorf("%s: %v", name, err)
		}
		d["9F36"] = unhex("000C")
		if err := p.Verify(t.Context(), k, master, emv.Transaction{Card: c, Data: d, AC: ac}); !errors.Is(err, emv.ErrMismatch) {
			t.Errorf("%s with another counter: %v", name, err)
		}
		tag, err := p.Issuer(t.Context(), k, master, emv.Transaction{Card: c, Data: d, AC: ac}, emv.Answer{Code: [2]byte{'0', '0'}, Status: [4]byte{1}, Proprietary: []byte{2}})
		if want := map[int]int{1: 10, 2: 9}[p.Response.Method]; err != nil || len(tag) != want {
			t.Errorf("%s: an answer of %d bytes, %v", name, len(tag), err)
		}
		if p.Response.Method == 2 {
			if _, err := p.Issuer(t.Context(), k, master, emv.Transaction{Card: c, Data: d, AC: ac}, emv.Answer{Proprietary: make([]byte, 9)}); !errors.Is(err, emv.ErrMalformed) {
				t.Errorf("%s: nine bytes of proprietary data: %v", name, err)
			}
		}
	}
}

func TestProfileRefusals(t *testing.T) {
	good := `{"name":"x","master":"a","session":"csk","fields":["9F02:6","CVR:4-6"],"padding":2,"response":{"method":1,"master":true}}`
	if _, err := emv.ParseProfile([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"a"`, `"z"`}, {`"csk"`, `"magic"`}, {`"9F02:6"`, `"9F02"`}, {`"9F02:6"`, `"9F02:0"`}, {`"9F02:6"`, `"9F02:06"`}, {`"9F02:6"`, `":6"`},
		{`"9F02:6"`, `"9f02:6"`}, {`"9F02:6"`, `"9F02:256"`}, {`"9F02:6"`, `"9F02:-1"`}, {`"CVR:4-6"`, `"CVR:6-4"`}, {`"9F02:6","CVR:4-6"`, ``},
		{`"padding":2`, `"padding":0`}, {`"padding":2`, `"padding":3`}, {`"method":1`, `"method":3`}, {`"method":1`, `"method":-1`},
		{`"name":"x"`, `"name":""`}, {`"name":"x"`, `"name":"x","extra":1`}, {`"a"`, `"c-128"`}, {`}}`, `}}{}`}, {`{"name"`, `["name"`},
		{`"a","session":"csk"`, `"c-128","session":"mchip"`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if strings.Contains(change[1], "c-128") {
			bad = strings.Replace(bad, `"padding":2`, `"padding":0`, 1)
		}
		if _, err := emv.ParseProfile([]byte(bad)); !errors.Is(err, emv.ErrMalformed) || bad == good {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestCards(t *testing.T) {
	for _, tc := range [][2]string{{"41111111111", "00"}, {"41111111111111111111", "00"}, {"411111111111111x", "00"}, {"4111111111111111", "1"},
		{"4111111111111111", "001"}, {"4111111111111111", "0x"}, {"", ""}} {
		if _, err := emv.NewCard(tc[0], tc[1]); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("%d digits and %q: %v", len(tc[0]), tc[1], err)
		}
	}
	c := card(t, "4111111111111111", "07")
	holder := struct{ hidden emv.Card }{c}
	for _, verb := range []string{"%v", "%+v", "%s", "%d", "%x", "%q"} {
		if text := fmt.Sprintf(verb+verb, c, holder); strings.Contains(text, "1111") || strings.Contains(text, "31313131") {
			t.Errorf("%s prints digits", verb)
		}
	}
}

// TestLongNumbers: option A forgets the left of a long number, option B does
// not, and both agree on short ones.
func TestLongNumbers(t *testing.T) {
	long, twin := card(t, "4000000000000000001", "00"), card(t, "5500000000000000001", "00")
	short := card(t, "0000000000000001", "00")
	step := func(r emv.MasterRule, c emv.Card) string {
		s, err := r.Step(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	if step(emv.OptionA, long) != step(emv.OptionA, twin) || step(emv.OptionB, long) == step(emv.OptionB, twin) {
		t.Error("a long number")
	}
	if step(emv.OptionA, short) != step(emv.OptionB, short) || step(emv.OptionA, short) == step(emv.OptionBHash, short) {
		t.Error("a short number")
	}
	if _, err := emv.MasterRule("d").Step(short); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("option D: %v", err)
	}
}

func TestTree(t *testing.T) {
	for _, tc := range [][2]int{{8, 2}, {16, 4}, {0, 0}, {-8, 4}, {1 << 20, 2}} {
		if _, err := emv.TreeSession(&[16]byte{}, 1, tc[0], tc[1], [16]byte{}); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("height %d, branch %d: %v", tc[0], tc[1], err)
		}
	}
}

func TestIAD(t *testing.T) {
	for _, tc := range []struct {
		l         emv.IADLayout
		v         string
		cvn       byte
		cvr, more string
	}{
		{emv.IADVisa1, "06011203A4A082", 0x12, "03a4a082", ""},
		{emv.IADVisa2, "1F2201" + strings.Repeat("AB", 29), 0x22, "abababab", ""},
		{emv.IADMChip, "0110A4C0C9000D11DAC1" + "1122334455667788", 0x10, "a4c0c9000d11", "1122334455667788"},
		{emv.IADMChip, "0115A4C0C9000D11DAC1" + strings.Repeat("12", 16), 0x15, "a4c0c9000d11", strings.Repeat("12", 16)},
	} {
		i, err := emv.SplitIAD(tc.l, unhex(tc.v))
		d := emv.Data{}
		i.Fill(d)
		if err != nil || i.CVN != tc.cvn || i.KeyIndex != 1 || hex.EncodeToString(d["CVR"]) != tc.cvr || hex.EncodeToString(d["COUNTERS"]) != tc.more {
			t.Errorf("%s: %+v, %v", tc.l, i, err)
		}
		for _, bad := range []string{"", tc.v[2:], tc.v + "00"} {
			if _, err := emv.SplitIAD(tc.l, unhex(bad)); !errors.Is(err, emv.ErrMalformed) && (tc.l != emv.IADVisa1 || len(bad) < 14) {
				t.Errorf("%s of %d bytes: %v", tc.l, len(bad)/2, err)
			}
		}
	}
	if _, err := emv.SplitIAD("other", make([]byte, 7)); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("an unknown layout: %v", err)
	}
}

func TestScripts(t *testing.T) {
	k := ring(t, map[keyref.Usage]string{keyref.IntegrityMaster: published, keyref.ConfidentialityMaster: published, keyref.SessionKey: published})
	s := emv.Script{Header: [5]byte{0x84, 0x24, 0, 2, 0x10}, ATC: [2]byte{0, 2}, Data: unhex("1122334455667788")}
	key := keyref.Chain{Key: ref(keyref.IntegrityMaster)}.Then(make([]byte, 16))
	a, err := s.MAC(t.Context(), k, key)
	s.Data[0] ^= 1
	b, err2 := s.MAC(t.Context(), k, key)
	if err := errors.Join(err, err2); err != nil || a == b {
		t.Errorf("%x and %x, %v", a, b, err)
	}
	if string(emv.ScriptStep([8]byte{7: 0xFF}, 0)) == string(emv.ScriptStep([8]byte{7: 0xFF}, 1)) ||
		string(emv.ScriptStep([8]byte{7: 0xFF}, 1)) != string(emv.ScriptStep([8]byte{6: 1}, 0)) {
		t.Error("a further command does not count the cryptogram up")
	}
	own := keyref.Chain{Key: ref(keyref.SessionKey)}
	for _, rule := range []emv.Confidentiality{emv.ConfidentialVisa, emv.ConfidentialMChip, emv.ConfidentialEMV} {
		for _, n := range []int{1, 8, 240} {
			out, err := rule.Encipher(t.Context(), k, own, make([]byte, n))
			if err != nil || len(out)%8 != 0 || len(out) < n || (len(out) == n) != (rule == emv.ConfidentialMChip && n%8 == 0) {
				t.Errorf("%s: %d bytes became %d, %v", rule, n, len(out), err)
			}
		}
		for _, n := range []int{0, 241} {
			if _, err := rule.Encipher(t.Context(), k, own, make([]byte, n)); !errors.Is(err, emv.ErrMalformed) {
				t.Errorf("%s: %d bytes: %v", rule, n, err)
			}
		}
	}
	if _, err := emv.Confidentiality("").Encipher(t.Context(), k, own, make([]byte, 8)); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("no rule: %v", err)
	}
}

func TestPINs(t *testing.T) {
	for _, pin := range []string{"", "123", "1234567890123", "12a4", "１２３４"} {
		_, err := emv.PINBlock2(pin)
		_, err2 := emv.PINBlockVIS(&[16]byte{}, pin, "")
		_, err3 := emv.Mask(&[16]byte{}, pin)
		for _, err := range []error{err, err2, err3} {
			if !errors.Is(err, emv.ErrMalformed) {
				t.Errorf("a PIN of %d bytes: %v", len(pin), err)
			}
			if err != nil && pin != "" && strings.Contains(err.Error(), pin) {
				t.Error("the error repeats the PIN")
			}
		}
	}
	if _, err := emv.PINBlockVIS(&[16]byte{}, "1234", "12"); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("a short current PIN: %v", err)
	}
}

func TestValues(t *testing.T) {
	k := ring(t, map[keyref.Usage]string{keyref.CVK: published, keyref.ACMaster: published, keyref.CVC3Master: published})
	cvk, c := keyref.Chain{Key: ref(keyref.CVK)}, card(t, "4123456789012345", "")
	stripe := emv.CVVInput{Card: c, Expiry: "8701", Service: "101"}
	v, err := emv.CVV(t.Context(), k, cvk, stripe)
	if err != nil || v != "561" {
		t.Errorf("%s, %v", v, err)
	}
	if err := emv.VerifyCVV(t.Context(), k, cvk, stripe, "561"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"562", "", "5610", "56"} {
		if err := emv.VerifyCVV(t.Context(), k, cvk, stripe, bad); !errors.Is(err, emv.ErrMismatch) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, other := range []string{emv.ServiceCVV2, emv.ServiceICVV} {
		if err := emv.VerifyCVV(t.Context(), k, cvk, emv.CVVInput{Card: c, Expiry: "8701", Service: other}, "561"); !errors.Is(err, emv.ErrMismatch) {
			t.Errorf("the stripe's value for service code %s: %v", other, err)
		}
	}
	for _, tc := range [][2]string{{"870", "101"}, {"8701", "10"}, {"87o1", "101"}, {"8701", "10x"}} {
		if _, err := emv.CVV(t.Context(), k, cvk, emv.CVVInput{Card: c, Expiry: tc[0], Service: tc[1]}); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("%v: %v", tc, err)
		}
	}
	if _, err := emv.CVV(t.Context(), k, cvk, emv.CVVInput{Expiry: "8701", Service: "101"}); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("no card: %v", err)
	}
	stripe.ATC = [2]byte{0, 0x0A}
	if _, err := emv.DynamicCVV(t.Context(), k, emv.OptionA, ref(keyref.ACMaster), stripe); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("a counter that is not decimal: %v", err)
	}
	step, _ := emv.OptionA.Step(c)
	cc := keyref.Chain{Key: ref(keyref.CVC3Master)}.Then(step)
	full, err := emv.CVC3(t.Context(), k, cc, emv.CVC3Input{Track: unhex("4123456789012345D1201F"), UN: [4]byte{1}, ATC: [2]byte{0, 1}})
	if err != nil || len(full) != 5 {
		t.Fatal(full, err)
	}
	for n := range 7 {
		digits := (full + "00")[:min(n, 7)]
		if n <= 5 {
			digits = full[5-n:]
		}
		err := emv.VerifyCVC3(t.Context(), k, cc, emv.CVC3Input{Track: unhex("4123456789012345D1201F"), UN: [4]byte{1}, ATC: [2]byte{0, 1}}, digits)
		if (err == nil) != (n >= 3 && n <= 5) {
			t.Errorf("%d digits: %v", n, err)
		}
	}
	if err := emv.VerifyCVC3(t.Context(), k, cc, emv.CVC3Input{Track: unhex("4123456789012345D1201F"), UN: [4]byte{2}, ATC: [2]byte{0, 1}}, full); !errors.Is(err, emv.ErrMismatch) {
		t.Errorf("another number: %v", err)
	}
}

// TestDynamicNumber has captured values.
func TestDynamicNumber(t *testing.T) {
	k := ring(t, map[keyref.Usage]string{keyref.DynamicMaster: published})
	y := unhex("4111111111111111BEEEEEEEEEEEEEEE")
	c := keyref.Chain{Key: ref(keyref.DynamicMaster)}.Then(y)
	for un, want := range map[byte]string{0: "6ab2", 1: "816a"} {
		n, err := emv.DynamicNumber(t.Context(), k, c, [2]byte{0, 1}, [4]byte{3: un})
		if err != nil || hex.EncodeToString(n[:]) != want {
			t.Errorf("%x, %v", n, err)
		}
	}
}
