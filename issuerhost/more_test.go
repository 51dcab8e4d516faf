package issuerhost_test

import (
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/token"
)

// TestValues: what is made is what is checked; a counter serves once.
func TestValues(t *testing.T) {
	h := newHouse(t)
	for kind, v := range map[issuerhost.ValueKind]issuerhost.Value{
		issuerhost.CVV: {Expiry: "2912", Service: "101"}, issuerhost.CVV2: {Expiry: "2912"}, issuerhost.ICVV: {Expiry: "2912"},
		issuerhost.DCVV: {Expiry: "2912", Service: "101", ATC: [2]byte{0, 7}}, issuerhost.CVC3: {PSN: "01", ATC: [2]byte{0, 7}, UN: [4]byte{0, 0, 8, 0x99}, Track: []byte("B5413330089010434")},
	} {
		v.Kind, v.PAN = kind, pan(t, panText)
		made, err := h.MakeValue(t.Context(), bank, v)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		check := func(v issuerhost.Value, shown string) error {
			return h.CheckValue(t.Context(), bank, v, shown, access.Attempt{})
		}
		wrong := []byte(made)
		wrong[len(wrong)-1] = '0' + (wrong[len(wrong)-1]-'0'+1)%10
		h.refuses(check(v, string(wrong)), fault.Refused, "value")
		if err := check(v, made); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if kind.Dynamic() {
			h.refuses(check(v, made), fault.CounterReplayed, "counter-replayed")
		} else if err := check(v, made); err != nil {
			t.Errorf("%s again: %v", kind, err)
		}
		for range 4 {
			h.refuses(check(v, string(wrong)), fault.Refused, "value")
		}
		h.refuses(check(v, made), fault.TooFast, "misses")
		v.PAN = pan(t, tokenText)
		h.refuses(check(v, made), fault.SlotToken, "slot-token")
		v.PAN = pan(t, "3761739001010119")
		h.refuses(check(v, made), fault.RealmUnknown, "issuer")
	}
	_, err := h.MakeValue(t.Context(), reader, issuerhost.Value{})
	h.refuses(err, fault.Denied, "denied")
	if err := h.CheckValue(t.Context(), bank, issuerhost.Value{Kind: issuerhost.CVV, PAN: pan(t, otherText), Expiry: "29", Service: "101"}, "123", access.Attempt{}); fault.KindOf(err) != fault.Malformed {
		t.Error(err)
	}
	v := issuerhost.Value{Kind: issuerhost.CVV, PAN: pan(t, otherText), Expiry: "2912", Service: "101"}
	made, err := h.MakeValues(t.Context(), bank, []issuerhost.Value{v, {Kind: issuerhost.CVV, PAN: pan(t, tokenText), Expiry: "2912", Service: "101"}})
	if err != nil || len(made) != 2 || made[0].Err != nil || len(made[0].Made) != 3 || fault.KindOf(made[1].Err) != fault.SlotToken {
		t.Fatalf("a batch: %+v, %v", made, err)
	}
	shown := []issuerhost.Checked{{Value: v, Shown: made[0].Made}, {Value: v, Shown: "12"}}
	items, err := h.CheckValues(t.Context(), bank, shown, access.Attempt{})
	if err != nil || len(items) != 2 || items[0].Err != nil || fault.KindOf(items[1].Err) != fault.Malformed {
		t.Errorf("a batch of checks: %+v, %v", items, err)
	}
	if _, err := h.CheckValues(t.Context(), bank, nil, access.Attempt{}); fault.KindOf(err) != fault.Malformed {
		t.Errorf("an empty batch: %v", err)
	}
	_, err = h.MakeValues(t.Context(), reader, []issuerhost.Value{v})
	h.refuses(err, fault.Denied, "denied")
	h.cfg.Issuers[0].Extra = nil
	h.open()
	_, err = h.MakeValue(t.Context(), bank, issuerhost.Value{Kind: issuerhost.CVV, PAN: pan(t, panText), Expiry: "2912", Service: "101"})
	h.refuses(err, fault.RealmUnknown, "key")
}

// TestScript holds commands to what the card computes from its own keys.
func TestScript(t *testing.T) {
	h := newHouse(t)
	ac := [8]byte{1, 2, 3, 4, 5, 6, 7, 0xFF}
	cmd := issuerhost.Command{Header: [5]byte{0x84, 0x24, 0, 2, 16}, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Encipher: emv.ConfidentialMChip}
	q := issuerhost.Script{Payer: issuerhost.Payer{PAN: pan(t, panText), PSN: "01"}, Profile: "mchip-20", ATC: [2]byte{0, 7}, AC: ac, Commands: []issuerhost.Command{cmd, {Header: [5]byte{0x84, 0x16, 0, 0, 8}}}}
	got, err := h.Sign(t.Context(), bank, q)
	if err != nil || len(got) != 2 {
		t.Fatal(err)
	}
	c, err := emv.NewCard(q.Payer.PAN.Reveal(), "01")
	if err != nil {
		t.Fatal(err)
	}
	key := func(u keyref.Usage, n uint16) keyref.Chain {
		card, err := emv.Profiles["mchip-20"].Card(keyref.Ref{Realm: "bank", Usage: u, Version: 1}, c)
		if err != nil {
			t.Fatal(err)
		}
		return card.Then(emv.ScriptStep(ac, n))
	}
	for i, s := range got {
		data := q.Commands[i].Data
		if i == 0 {
			if data, err = h.cards.EncipherBlocks(t.Context(), key(keyref.ConfidentialityMaster, 0), true, data); err != nil {
				t.Fatal(err)
			}
		}
		want, err := emv.Script{Header: s.Header, ATC: q.ATC, AC: ac, Data: data}.MAC(t.Context(), h.cards, key(keyref.IntegrityMaster, uint16(i)))
		if err != nil || want != s.MAC || string(data) != string(s.Data) {
			t.Errorf("%d: %X over %X, want %X over %X; %v", i, s.MAC, s.Data, want, data, err)
		}
	}
	for name, spoil := range map[string]func(*issuerhost.Script){"none": func(q *issuerhost.Script) { q.Commands = nil },
		"many": func(q *issuerhost.Script) { q.Commands = make([]issuerhost.Command, 17) }, "count": func(q *issuerhost.Script) { q.First = 65535 }} {
		bad := q
		spoil(&bad)
		if _, err := h.Sign(t.Context(), bank, bad); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = h.Sign(t.Context(), reader, q)
	h.refuses(err, fault.Denied, "denied")
	h.cfg.Issuers[0].Extra = []keyref.Usage{keyref.IntegrityMaster}
	h.open()
	_, err = h.Sign(t.Context(), bank, q)
	h.refuses(err, fault.RealmUnknown, "key")
}

// TestTokenCryptogram: bound to everything, and good once.
func TestTokenCryptogram(t *testing.T) {
	h := newHouse(t)
	p := issuerhost.Purchase{Token: issuerhost.Payer{Ref: h.tokens.t.Ref}, Profile: "visa-18", Amount: 1200, Currency: 156, Requestor: h.tokens.t.Requestor}
	make1 := func(key string) string {
		t.Helper()
		m, err := h.Cryptogram(t.Context(), bank, p, access.Attempt{Key: key})
		if err != nil || len(m.Cryptogram) != 28 || m.Number.Digits() != h.tokens.t.Number.Digits() {
			t.Fatalf("%+v, %v", m, err)
		}
		return m.Cryptogram
	}
	first, again, second := make1("k1"), make1("k1"), make1("k2")
	if first != again || first == second {
		t.Errorf("%s, again %s, another %s", first, again, second)
	}
	use := func(p issuerhost.Purchase, text string) error {
		return h.UseCryptogram(t.Context(), bank, p, text, access.Attempt{})
	}
	for name, spoil := range map[string]func(*issuerhost.Purchase){"amount": func(p *issuerhost.Purchase) { p.Amount++ },
		"currency": func(p *issuerhost.Purchase) { p.Currency = 840 }, "requestor": func(p *issuerhost.Purchase) { p.Requestor = "11111111111" }} {
		bad := p
		spoil(&bad)
		t.Log(name)
		h.refuses(use(bad, first), fault.Refused, "cryptogram")
	}
	if err := use(p, second); err != nil {
		t.Errorf("out of order: %v", err)
	}
	h.open()
	if err := use(p, first); err != nil {
		t.Error(err)
	}
	h.refuses(use(p, first), fault.CounterReplayed, "cryptogram-used")
	// made elsewhere, under the right key, with a counter that was never given out
	c, err := emv.NewCard(h.tokens.t.Number.Digits(), "01")
	if err != nil {
		t.Fatal(err)
	}
	d := emv.TokenData{Amount: p.Amount, Currency: p.Currency}
	copy(d.Requestor[:], p.Requestor)
	forged, err := emv.Profiles["visa-18"].Token(t.Context(), h.cards, keyref.Ref{Realm: "bank", Usage: keyref.ACMaster, Version: 1}, c, emv.TokenCryptogram{KeyIndex: 1, ATC: [2]byte{9, 9}}, d)
	if err != nil {
		t.Fatal(err)
	}
	h.refuses(use(p, forged.String()), fault.CounterReplayed, "cryptogram-used")
	if err := use(p, "short"); fault.KindOf(err) != fault.Malformed {
		t.Error(err)
	}
	p.Token = issuerhost.Payer{PAN: pan(t, panText)}
	if err := use(p, first); fault.KindOf(err) != fault.Malformed {
		t.Error(err)
	}
}

// TestPhone: device and user right; device right, PIN wrong; neither.
func TestPhone(t *testing.T) {
	h := newHouse(t)
	tap := func(atc uint16, pin string, device bool) issuerhost.Tap {
		x := h.phoneTap(atc, pin)
		if !device {
			x.Device[0] ^= 1
		}
		return x
	}
	judge := func(x issuerhost.Tap) (emv.Verdict, error) {
		return h.Judge(t.Context(), bank, x, access.Attempt{})
	}
	expect := func(x issuerhost.Tap, want emv.Verdict, reason string) {
		t.Helper()
		h.log.entries = nil
		if got, err := judge(x); err != nil || got != want || h.log.reason() != reason {
			t.Errorf("%v, %v, recorded %q", got, err, h.log.reason())
		}
	}
	expect(tap(1, "1234", true), emv.Good, "")
	_, err := judge(tap(1, "1235", true))
	h.refuses(err, fault.CounterReplayed, "counter-replayed") // one counter tests one PIN
	_, err = judge(tap(2, "1234", false))
	h.refuses(err, fault.Refused, "cryptogram")
	for n := range uint16(4) {
		expect(tap(3+n, "9999", true), emv.WrongPIN, "wrong-pin")
	}
	expect(tap(7, "1234", true), emv.Good, "")           // forgets the four
	h.tokens.t.Controls = token.Controls{MaxAmount: 100} // nobody tells the amount
	_, err = judge(tap(8, "1234", true))
	h.refuses(err, fault.Refused, "control-amount")
	h.tokens.t.Controls = token.Controls{Channels: []token.Channel{token.Contactless}, MaxCount: 1}
	expect(tap(9, "1234", true), emv.Good, "")
	h.tokens.t.Controls = token.Controls{}
	for n := range uint16(5) {
		expect(tap(10+n, "9999", true), emv.WrongPIN, "wrong-pin")
	}
	h.open()
	_, err = judge(tap(20, "1234", true))
	h.refuses(err, fault.Refused, "pin-locked")
	_, err = h.Judge(t.Context(), reader, tap(21, "1234", true), access.Attempt{})
	h.refuses(err, fault.Denied, "denied")
	bad := tap(22, "1234", true)
	bad.Token = issuerhost.Payer{PAN: pan(t, panText)}
	if _, err := judge(bad); fault.KindOf(err) != fault.Malformed {
		t.Error(err)
	}
}

// retail is a cryptogram as a phone computes it.
func retail(t *testing.T, key [16]byte, msg []byte) [8]byte {
	t.Helper()
	left, err := tdes.New(key[:8])
	if err != nil {
		t.Fatal(err)
	}
	right, err := tdes.New(key[8:])
	if err != nil {
		t.Fatal(err)
	}
	return [8]byte(mac.Retail(left, right, mac.Pad2(msg, 8)))
}
