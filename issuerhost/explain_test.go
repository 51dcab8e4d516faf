package issuerhost_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/issuerhost"
)

// TestExplain: each known mistake is found by its name.
func TestExplain(t *testing.T) {
	h := newHouse(t)
	with := func(d emv.Data, tag string, v ...byte) emv.Data {
		d = maps.Clone(d)
		d[tag] = v
		return d
	}
	d := data(0x0102)
	d["CVR"] = []byte{3, 0xA0, 0, 0}
	for _, c := range []struct {
		name    string
		claimed issuerhost.Transaction // as the host sends it
		as      string                 // profile that it says
		want    string                 // what and held of the changes
	}{
		{"holds", h.made("visa-18", panText, "01", 1, d), "visa-18", ""},
		{"sequence number left out", h.made("visa-18", panText, "00", 1, d), "visa-18 psn=01", "psn:00"},
		{"sequence number not said", h.made("visa-18", panText, "02", 1, d), "visa-18 psn=", "psn:02"},
		{"other cryptogram version", h.made("visa-10", panText, "01", 1, d), "visa-18", "profile:visa-10"},
		{"session of another version", h.made("mchip-20", panText, "01", 1, with(d, "CVR", 1, 2, 3, 4, 5, 6)), "mchip-16", "profile:mchip-20"},
		{"option B for option A", h.made("visa-18", longText, "01", 1, d), "visa-10", "profile:visa-18"},
		{"other key", h.made("visa-18", panText, "01", 2, d), "visa-18 v1", "key-version:2"},
		{"counter turned round", h.made("visa-18", panText, "01", 1, with(d, "9F36", 2, 1)), "visa-18 atc", "atc:reversed"},
		{"amount not covered", h.made("visa-18", panText, "01", 1, with(d, "9F02", 0, 0, 0, 0, 0, 0)), "visa-18 amount", "value:9F02 all zeros"},
		{"two at once", h.made("visa-10", panText, "00", 1, d), "visa-18 psn=01", "psn:00 profile:visa-10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tx := c.claimed
			tx.Data = maps.Clone(tx.Data)
			words := strings.Fields(c.as)
			tx.Profile = words[0]
			for _, w := range words[1:] {
				switch {
				case strings.HasPrefix(w, "psn="):
					tx.Payer.PSN = w[4:]
				case w == "v1":
					tx.Version = 1
				case w == "atc":
					tx.Data["9F36"] = []byte{1, 2}
				case w == "amount":
					tx.Data["9F02"] = d["9F02"]
				}
			}
			got, err := h.Explain(t.Context(), bank, tx)
			if err != nil {
				t.Fatal(err)
			}
			if got.Holds != (c.want == "") || got.Holds && len(got.Variants) > 0 {
				t.Errorf("holds %v, variants %+v", got.Holds, got.Variants)
			}
			if c.want == "" {
				return
			}
			found := slices.ContainsFunc(got.Variants, func(v issuerhost.Variant) bool {
				var s []string
				for _, ch := range v.Changes {
					s = append(s, ch.What+":"+ch.Held)
				}
				return strings.Join(s, " ") == c.want
			})
			if !found {
				t.Errorf("tried %d, found %+v, want %s", got.Tried, got.Variants, c.want)
			}
			text := fmt.Sprintf("%+v", got)
			for _, secret := range []string{tx.Payer.PAN.Reveal(), fmt.Sprintf("%X", tx.AC), fmt.Sprintf("%v", tx.AC), fmt.Sprintf("%v", tx.Data["9F37"])} {
				if strings.Contains(text, secret) {
					t.Errorf("the explanation holds a value: %s", text)
				}
			}
		})
	}
}

// TestPaddings: data that was padded by the wrong side.
func TestPaddings(t *testing.T) {
	h := newHouse(t)
	d := data(3)
	tx := h.made("city", panText, "01", 1, d)
	p := own(t)[0]
	c, err := emv.NewCard(tx.Payer.PAN.Reveal(), "01")
	if err != nil {
		t.Fatal(err)
	}
	used, err := h.Explain(t.Context(), bank, tx)
	if err != nil || !used.Holds || used.Used.Length != 10 || used.Used.Padded != 16 || used.Used.Padding != emv.PadMarker || used.Used.Key != "bank.imk-ac.v1" {
		t.Errorf("%+v, %v", used, err)
	}
	msg, err := p.Input(d)
	if err != nil {
		t.Fatal(err)
	}
	card, err := p.Card(ref("bank"), c)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.Transaction(card, d)
	if err != nil {
		t.Fatal(err)
	}
	twice := append(append(msg, 0x80, 0, 0, 0, 0, 0), 0x80, 0, 0, 0, 0, 0, 0, 0)
	for want, cover := range map[string]struct {
		padding emv.Padding
		msg     []byte
	}{"1": {emv.PadZeros, msg}, "2, twice": {emv.PadZeros, twice}} {
		if tx.AC, err = emv.Cryptogram(t.Context(), h.cards, key, cover.padding, cover.msg); err != nil {
			t.Fatal(err)
		}
		got, err := h.Explain(t.Context(), bank, tx)
		if err != nil || len(got.Variants) == 0 || got.Variants[0].Changes[0].What != "padding" || got.Variants[0].Changes[0].Held != want {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	out, err := h.cards.EncipherBlocks(t.Context(), key, true, append(msg, 0x80, 0, 0, 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	tx.AC = [8]byte(out[8:])
	got, err := h.Explain(t.Context(), bank, tx)
	if err != nil || len(got.Variants) != 1 || got.Variants[0].Changes[0].What != "algorithm" {
		t.Errorf("%+v, %v", got, err)
	}
	tx.AC[0] ^= 1
	if got, err = h.Explain(t.Context(), bank, tx); err != nil || got.Holds || len(got.Variants) > 0 || got.Tried < 100 {
		t.Errorf("nothing explains noise: %+v, %v", got, err)
	}
}

// TestRemarks: what can be seen without a key is said, also of data that the
// profile cannot take.
func TestRemarks(t *testing.T) {
	h := newHouse(t)
	tx := h.made("visa-18", panText, "01", 1, data(3))
	tx.Profile = "mchip-17"
	tx.Data["9F02"] = []byte{0xAB, 0}
	delete(tx.Data, "95")
	got, err := h.Explain(t.Context(), bank, tx)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, r := range got.Remarks {
		codes = append(codes, r.Code+" "+r.Field)
	}
	for _, want := range []string{"iad-layout 9F10", "field-missing 95", "field-length 9F02", "not-decimal 9F02", "cvn 9F10", "field-missing COUNTERS"} {
		if !slices.Contains(codes, want) {
			t.Errorf("nothing is said of %s: %v", want, codes)
		}
	}
}

func ref(realm string) keyref.Ref {
	return keyref.Ref{Realm: realm, Usage: keyref.ACMaster, Version: 1}
}
