package api

import (
	"context"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/token"
)

// emvCards plays the service of issuers for values, scripts and tokens.
type emvCards struct{ *backend }

var (
	askedValue    issuerhost.Value
	askedScript   issuerhost.Script
	askedPurchase issuerhost.Purchase
	askedTap      issuerhost.Tap
)

func (m emvCards) MakeValue(_ context.Context, _ access.Caller, v issuerhost.Value) (string, error) {
	askedValue = v
	return "561", m.act()
}

func (m emvCards) CheckValue(_ context.Context, _ access.Caller, v issuerhost.Value, _ string, _ access.Attempt) error {
	askedValue = v
	return m.act()
}

func (m emvCards) MakeValues(_ context.Context, _ access.Caller, vs []issuerhost.Value) ([]issuerhost.ValueItem, error) {
	items := make([]issuerhost.ValueItem, len(vs))
	for i := range vs {
		items[i].Made = "561"
	}
	return items, m.act()
}

func (m emvCards) CheckValues(_ context.Context, _ access.Caller, vs []issuerhost.Checked, _ access.Attempt) ([]issuerhost.ValueItem, error) {
	return make([]issuerhost.ValueItem, len(vs)), m.act()
}

func (m emvCards) Sign(_ context.Context, _ access.Caller, q issuerhost.Script) ([]issuerhost.Signed, error) {
	askedScript = q
	return []issuerhost.Signed{{Header: q.Commands[0].Header, Data: []byte{1}, MAC: [8]byte{2}}}, m.act()
}

func (m emvCards) SignBatch(ctx context.Context, c access.Caller, qs []issuerhost.Script) ([]issuerhost.SignedItem, error) {
	items := make([]issuerhost.SignedItem, len(qs))
	for i, q := range qs {
		if q.Commands == nil {
			items[i].Err = issuerhost.ErrIssuer
			continue
		}
		items[i].Commands, items[i].Err = m.Sign(ctx, c, q)
	}
	return items, m.act()
}

func (m emvCards) Cryptogram(_ context.Context, _ access.Caller, p issuerhost.Purchase, _ access.Attempt) (issuerhost.Made, error) {
	askedPurchase = p
	n, err := token.ParseNumber(tokenDigits)
	if err != nil {
		return issuerhost.Made{}, err
	}
	return issuerhost.Made{Number: n, Expiry: "2607", Cryptogram: strings.Repeat("A", 28)}, m.act()
}

func (m emvCards) UseCryptogram(_ context.Context, _ access.Caller, p issuerhost.Purchase, _ string, _ access.Attempt) error {
	askedPurchase = p
	return m.act()
}

func (m emvCards) Judge(_ context.Context, _ access.Caller, t issuerhost.Tap, _ access.Attempt) (emv.Verdict, error) {
	askedTap = t
	return emv.WrongPIN, m.act()
}

const (
	valueBody    = `"pan":"` + cardDigits + `","psn":"01","kind":"cvc3","atc":"0007","un":"00000899","track":"42313233"`
	scriptBody   = `{"token_reference_id":"r1","profile":"visa-22","atc":"0007","cryptogram":"61EDCC708B4C97B4","first":1,"commands":[{"header":"8424000210","data":"0102","encipher":"emv"}]}`
	purchaseText = `"token_reference_id":"r1","profile":"visa-18","amount":1200,"currency":"156"`
	phoneBody    = `{"payment_token":"` + tokenDigits + `","profile":"mchip-20","atc":"0007","message":"0102","user_cryptogram":"61EDCC708B4C97B4","device_cryptogram":"6112233445"}`
)

func TestEMVMore(t *testing.T) {
	e := newEdge(t)
	for path, want := range map[string]string{
		"/v1/emv/values": `{"value":"561"}`, "/v1/emv/values/verify": `{"verified":true}`,
		"/v1/emv/values/batch": `{"results":[{"value":"561"}]}`, "/v1/emv/values/verify/batch": `{"results":[{"verified":true}]}`,
		"/v1/emv/scripts":                  `{"commands":[{"header":"8424000210","data":"01","mac":"0200000000000000"}]}`,
		"/v1/emv/token-cryptograms":        `{"payment_token":"` + tokenDigits + `","token_expiry_date":"2607","cryptogram":"AAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
		"/v1/emv/token-cryptograms/verify": `{"verified":true}`, "/v1/emv/phones/verify": `{"verdict":"WRONG_PIN"}`,
	} {
		s := find(t, path)
		if got := strings.TrimSpace(e.do(s, s.request()).Body.String()); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	if v := askedValue; v.PAN.Reveal() != cardDigits || v.Kind != issuerhost.CVC3 || v.ATC != [2]byte{0, 7} || v.UN[3] != 0x99 || len(v.Track) != 4 || v.PSN != "01" {
		t.Errorf("%+v", v)
	}
	if q := askedScript; q.Payer.Ref != "r1" || q.First != 1 || q.Commands[0].Encipher != emv.ConfidentialEMV || len(q.Commands[0].Data) != 2 || q.AC[0] != 0x61 {
		t.Errorf("%+v", q)
	}
	if p := askedPurchase; p.Amount != 1200 || p.Currency != 156 || p.Token.Ref != "r1" || p.Profile != "visa-18" {
		t.Errorf("%+v", p)
	}
	if x := askedTap; x.ATC != 7 || x.Token.Number.Digits() != tokenDigits || x.Device[4] != 0x45 || x.User[7] != 0xB4 || len(x.Message) != 2 {
		t.Errorf("%+v", x)
	}
	s := find(t, "/v1/emv/values")
	for change, field := range map[string]string{`"atc":"0007",`: "atc", `"un":"00000899",`: "", `"psn":"01"`: "service_code"} {
		bad := s
		bad.body = strings.Replace(s.body, change, "", 1)
		if field == "service_code" {
			bad.body = strings.Replace(s.body, change, `"service_code":"101"`, 1)
		}
		if p := e.problem(bad, bad.request(), 400, "malformed"); p.Field != field {
			t.Errorf("%s: %+v", change, p)
		}
	}
}
