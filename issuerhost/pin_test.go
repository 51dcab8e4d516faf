package issuerhost_test

import (
	"context"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/issuerhost"
)

// opened is what sealed text holds.
type opened map[string]string

func (o opened) Plain(_ context.Context, sealed string) ([]byte, error) {
	if text, ok := o[sealed]; ok {
		return []byte(text), nil
	}
	return nil, fault.New(fault.Intake, "not sealed to us")
}

// cardScript changes the PIN of a card of the bank.
func cardScript(t *testing.T, profile string, rule issuerhost.Rule, how emv.Confidentiality, pin string) issuerhost.Script {
	t.Helper()
	return issuerhost.Script{Payer: issuerhost.Payer{PAN: pan(t, panText), PSN: "01"}, Profile: profile, Rule: rule, ATC: [2]byte{0, 7},
		AC: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, Commands: []issuerhost.Command{{Header: [5]byte{0x84, 0x24, 0, 2, 16}, PIN: pin, Encipher: how}}}
}

// visaHouse serves Visa's rules and opens PINs.
func visaHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.cfg.Reveal = h.cfg.Keys.(emv.Revealer)
	h.cfg.Opener = opened{"good": `{"new_pin":"1234","client_id":"bank"}`, "both": `{"new_pin":"1234","current_pin":"9999","client_id":"bank"}`,
		"theirs": `{"new_pin":"1234","client_id":"other"}`, "nobody's": `{"new_pin":"1234"}`, "short": `{"new_pin":"123","client_id":"bank"}`,
		"letters": `{"new_pin":"12a4","client_id":"bank"}`, "more": `{"new_pin":"1234","client_id":"bank","x":1}`,
		"trailing": `{"new_pin":"1234","client_id":"bank"}{}`, "card": `{"pan":"4761739001010119","expiry":"2912"}`, "text": `1234`}
	h.open()
	return h
}

// TestPINChange holds PIN blocks to what the card computes from its own keys.
func TestPINChange(t *testing.T) {
	h := visaHouse(t)
	c, err := emv.NewCard(pan(t, panText).Reveal(), "01")
	if err != nil {
		t.Fatal(err)
	}
	key := func(profile string, u keyref.Usage) keyref.Chain {
		card, err := emv.Profiles[profile].Card(keyref.Ref{Realm: "bank", Usage: u, Version: 1}, c)
		if err != nil {
			t.Fatal(err)
		}
		return card
	}
	got, err := h.Sign(t.Context(), bank, cardScript(t, "mchip-20", issuerhost.RuleCommon, emv.ConfidentialMChip, "good"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := emv.PINBlock2("1234")
	q := cardScript(t, "mchip-20", "", "", "")
	want, err := h.cards.EncipherBlocks(t.Context(), key("mchip-20", keyref.ConfidentialityMaster).Then(emv.ScriptStep(q.AC, 0)), true, block[:])
	if err != nil || string(want) != string(got[0].Data) {
		t.Errorf("the common rule: another block; %v", err)
	}
	for name, current := range map[string]string{"good": "", "both": "9999"} {
		got, err := h.Sign(t.Context(), bank, cardScript(t, "visa-10", issuerhost.RuleVisa, emv.ConfidentialVisa, name))
		if err != nil {
			t.Fatal(err)
		}
		block, err := emv.VisaPIN(t.Context(), h.cfg.Reveal, key("visa-10", keyref.ACMaster), "1234", current)
		if err != nil {
			t.Fatal(err)
		}
		var data []byte
		err = emv.VisaScript(t.Context(), h.cfg.Reveal, key("visa-10", keyref.ConfidentialityMaster), q.ATC, func(k emv.Keys) (err error) {
			data, err = emv.ConfidentialVisa.Encipher(t.Context(), k, keyref.Chain{}, block[:])
			return err
		})
		if err != nil || string(data) != string(got[0].Data) {
			t.Errorf("Visa's rule: another block; %v", err)
		}
		err = emv.VisaScript(t.Context(), h.cfg.Reveal, key("visa-10", keyref.IntegrityMaster), q.ATC, func(k emv.Keys) error {
			mac, err := emv.Script{Header: got[0].Header, ATC: q.ATC, AC: q.AC, Data: data}.MAC(t.Context(), k, keyref.Chain{})
			if mac != got[0].MAC {
				t.Error("Visa's rule: another MAC")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestPINRefused: all that is wrong with a sealed PIN looks alike outside and is
// told apart in the record.
func TestPINRefused(t *testing.T) {
	h := visaHouse(t)
	sign := func(q issuerhost.Script) error { _, err := h.Sign(t.Context(), bank, q); return err }
	common := func(pin string) issuerhost.Script {
		return cardScript(t, "mchip-20", issuerhost.RuleCommon, emv.ConfidentialMChip, pin)
	}
	for name, reason := range map[string]string{"theirs": "pin-text", "nobody's": "pin-text", "short": "pin-text", "letters": "pin-text", "more": "pin-text",
		"trailing": "pin-text", "card": "pin-text", "text": "pin-text", "both": "pin-text", "junk": "sealed"} {
		h.refuses(sign(common(name)), fault.Intake, reason)
	}
	q := common("good")
	q.Payer = issuerhost.Payer{Ref: h.tokens.t.Ref}
	h.refuses(sign(q), fault.SlotToken, "slot-token")
	q = cardScript(t, "visa-10", issuerhost.RuleVisa, "", "")
	q.Payer = issuerhost.Payer{Ref: h.tokens.t.Ref}
	h.refuses(sign(q), fault.SlotToken, "slot-token")
	for name, spoil := range map[string]func(*issuerhost.Script){
		"in clear":     func(q *issuerhost.Script) { q.Commands[0].Encipher = "" },
		"with data":    func(q *issuerhost.Script) { q.Commands[0].Data = []byte{1} },
		"another rule": func(q *issuerhost.Script) { q.Rule = "amex" },
	} {
		q := common("good")
		spoil(&q)
		if err := sign(q); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	items, err := h.SignBatch(t.Context(), bank, []issuerhost.Script{common("good"), common("junk")})
	if err != nil || len(items) != 2 || items[0].Err != nil || fault.KindOf(items[1].Err) != fault.Intake {
		t.Errorf("a batch: %+v, %v", items, err)
	}
	for _, n := range []int{0, issuerhost.MaxBatch + 1} {
		if _, err := h.SignBatch(t.Context(), bank, make([]issuerhost.Script, n)); fault.KindOf(err) != fault.Malformed {
			t.Errorf("a batch of %d: %v", n, err)
		}
	}
	_, err = h.SignBatch(t.Context(), reader, []issuerhost.Script{common("good")})
	h.refuses(err, fault.Denied, "denied")
	h.cfg.Reveal, h.cfg.Opener = nil, nil
	h.open()
	h.refuses(sign(cardScript(t, "visa-10", issuerhost.RuleVisa, "", "")), fault.RealmUnknown, "card-keys-stay")
	h.refuses(sign(common("good")), fault.RealmUnknown, "no-intake")
}
