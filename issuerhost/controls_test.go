package issuerhost_test

import (
	"context"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/token"
)

// uses counts in memory what tapdb counts in the database.
type uses map[string]token.Amount

// Spend implements [issuerhost.Controls].
func (u uses) Spend(_ context.Context, t token.Standing, use token.Use, id string) (string, error) {
	if _, known := u[id]; known {
		return "", nil
	}
	for _, a := range u {
		use.SumBefore += uint64(a)
		use.CountBefore++
	}
	use.Location = t.Location
	reason := t.Controls.Judge(use)
	if reason == "" {
		u[id] = use.Amount
	}
	return reason, nil
}

// TestControlsOfEMV: each control of a token is judged on what the transaction says,
// after its cryptogram held and its counter was taken.
func TestControlsOfEMV(t *testing.T) {
	h := newHouse(t)
	atc := uint16(0)
	pays := func(c token.Controls, more map[string][]byte) error {
		t.Helper()
		atc++
		h.tokens.t.Controls, h.log.entries = c, nil
		tx := h.ofToken(atc)
		for tag, value := range more {
			if tx.Data[tag] = value; value == nil {
				delete(tx.Data, tag)
			}
		}
		return h.pays(tx, "")
	}
	of := func(tag string, b ...byte) map[string][]byte { return map[string][]byte{tag: b} }
	for name, x := range map[string]struct {
		controls token.Controls
		more     map[string][]byte
		reason   string
	}{
		"none":                {},
		"amount":              {controls: token.Controls{MaxAmount: 200}},
		"a larger amount":     {controls: token.Controls{MaxAmount: 199}, reason: "control-amount"},
		"country":             {controls: token.Controls{Countries: []string{"156"}}},
		"another country":     {controls: token.Controls{Countries: []string{"344"}}, reason: "control-country"},
		"merchant":            {controls: token.Controls{Merchants: []string{"metro"}}, more: of("9F16", []byte("metro          ")...)},
		"another merchant":    {controls: token.Controls{Merchants: []string{"metro"}}, more: of("9F16", []byte("kiosk          ")...), reason: "control-merchant"},
		"no merchant":         {controls: token.Controls{Merchants: []string{"metro"}}, reason: "control-merchant"},
		"terminal":            {controls: token.Controls{TerminalGroups: []string{"gate0001"}}, more: of("9F1C", []byte("gate0001")...)},
		"another terminal":    {controls: token.Controls{TerminalGroups: []string{"gate0001"}}, more: of("9F1C", []byte("gate0002")...), reason: "control-terminal"},
		"category":            {controls: token.Controls{MCC: []string{"4111"}}, more: of("9F15", 0x41, 0x11)},
		"another category":    {controls: token.Controls{MCC: []string{"4111"}}, more: of("9F15", 0x58, 0x12), reason: "control-mcc"},
		"contactless":         {controls: token.Controls{Channels: []token.Channel{token.Contactless}}, more: of("9F39", 7)},
		"by a browser":        {controls: token.Controls{Channels: []token.Channel{token.Contactless}}, more: of("9F39", 0x81), reason: "control-channel"},
		"by nobody knows how": {controls: token.Controls{Channels: []token.Channel{token.Contactless}}, reason: "control-channel"},
		"location":            {controls: token.Controls{Locations: []token.Location{token.LocationSecureElement}}, reason: "control-location"},
		"requestor":           {controls: token.Controls{Requestors: []token.Requestor{"11111111111"}}, reason: "control-requestor"},
	} {
		t.Log(name)
		if err := pays(x.controls, x.more); x.reason == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if x.reason != "" {
			h.refuses(err, fault.Refused, x.reason)
		}
	}
	dollars := data(atc + 1)
	dollars["5F2A"] = []byte{8, 0x40}
	tx := h.made("city", tokenText, "01", 1, dollars)
	tx.Payer = issuerhost.Payer{Ref: h.tokens.t.Ref}
	h.tokens.t.Controls = token.Controls{MaxSum: 1000}
	h.refuses(h.pays(tx, ""), fault.Refused, "control-amount")
}

// TestControlsCount: a use counts once for a counter, also when it is asked again,
// and the counter of a use that the controls refuse is taken.
func TestControlsCount(t *testing.T) {
	h := newHouse(t)
	h.tokens.t.Controls = token.Controls{MaxCount: 2, MaxSum: 400}
	first := h.ofToken(1)
	for range 3 {
		if err := h.pays(first, "k1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.pays(h.ofToken(2), "k2"); err != nil {
		t.Fatal(err)
	}
	third := h.ofToken(3)
	h.refuses(h.pays(third, "k3"), fault.Refused, "control-sum")
	h.refuses(h.pays(third, "k3"), fault.Refused, "control-sum")
	h.tokens.t.Controls = token.Controls{}
	h.refuses(h.pays(third, "k4"), fault.CounterReplayed, "counter-replayed")
}

// TestControlsOfCryptograms: without a reader too.
func TestControlsOfCryptograms(t *testing.T) {
	h := newHouse(t)
	p := issuerhost.Purchase{Token: issuerhost.Payer{Ref: h.tokens.t.Ref}, Profile: "visa-18", Amount: 1200, Currency: 156, Requestor: h.tokens.t.Requestor}
	for reason, c := range map[string]token.Controls{
		"":                 {Channels: []token.Channel{token.InApp}, MaxAmount: 1200},
		"control-amount":   {MaxAmount: 1199},
		"control-channel":  {Channels: []token.Channel{token.Contactless}},
		"control-merchant": {Merchants: []string{"metro"}},
	} {
		m, err := h.Cryptogram(t.Context(), bank, p, access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		h.tokens.t.Controls = c
		err = h.UseCryptogram(t.Context(), bank, p, m.Cryptogram, access.Attempt{})
		if reason == "" && err != nil {
			t.Error(err)
		} else if reason != "" {
			h.refuses(err, fault.Refused, reason)
		}
	}
}
