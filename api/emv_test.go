package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/issuerhost"
)

const emvBody = `"pan":"` + cardDigits + `","psn":"01","profile":"visa-18","data":{"9F02":"000000000200","9F36":"000B","9F10":"06011203A00000"},"cryptogram":"61EDCC708B4C97B4"`

// issuers plays the service of issuers: it remembers what it was asked.
type issuers struct{ *backend }

var (
	askedEMV   issuerhost.Request
	askedBatch []issuerhost.Request
)

func (i issuers) Authorise(_ context.Context, _ access.Caller, r issuerhost.Request, a access.Attempt) (issuerhost.Response, error) {
	askedEMV, i.attempt = r, a
	return issuerhost.Response{ATC: 11, Response: []byte{0xD9, 0x48, 0x86, 0xEF, 0, 0x82, 0, 0}}, i.act()
}

func (i issuers) AuthoriseBatch(_ context.Context, _ access.Caller, rs []issuerhost.Request, _ access.Attempt) ([]issuerhost.Item, error) {
	askedBatch = rs
	out := make([]issuerhost.Item, len(rs))
	for n, r := range rs {
		if r.Payer == (issuerhost.Payer{}) {
			out[n].Err = emv.ErrMalformed
		} else if !r.Payer.Number.IsZero() {
			out[n].Err = issuerhost.ErrReplayed
		}
	}
	return out, i.act()
}

func (i issuers) Verify(_ context.Context, _ access.Caller, t issuerhost.Transaction) error {
	askedEMV = issuerhost.Request{Transaction: t}
	return i.act()
}

func (i issuers) VerifyBatch(_ context.Context, _ access.Caller, ts []issuerhost.Transaction) ([]error, error) {
	errs := make([]error, len(ts))
	for n, t := range ts {
		switch {
		case t.Payer == (issuerhost.Payer{}):
			errs[n] = emv.ErrMalformed
		case t.Payer.PAN.IsZero():
			errs[n] = issuerhost.ErrSlotToken
		}
	}
	return errs, i.act()
}

func (i issuers) Explain(context.Context, access.Caller, issuerhost.Transaction) (issuerhost.Explanation, error) {
	m := issuerhost.Method{Profile: "visa-18", Key: "bank.imk-ac.v1", Master: emv.OptionB, Session: emv.SessionCommon, Algorithm: "iso9797-3", Padding: 2, PSN: "00",
		Fields: []issuerhost.FieldUse{{Name: "9F02", Length: 2, Wants: "6"}}, Length: 2, Padded: 8}
	return issuerhost.Explanation{Used: m, Tried: 7, Remarks: []issuerhost.Remark{{Code: "field-length", Field: "9F02", Text: "short"}},
		Variants: []issuerhost.Variant{{Method: m, Changes: []issuerhost.Change{{What: "psn", Used: "01", Held: "00", Note: "left out"}}}}}, i.act()
}

// TestEMVFieldIsNamed: the problem names the field of a transaction that is
// wrong, and says by which method the issuer answered.
func TestEMVFieldIsNamed(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/emv/arqc")
	if e.do(s, s.request()); askedEMV.Method != 2 {
		t.Errorf("card status updates are method %d", askedEMV.Method)
	}
	coded := s
	coded.body = strings.Replace(s.body, `"answer":{"csu":"00820000","proprietary":"01"}`, `"answer":{"arc":"3030"}`, 1)
	if e.do(coded, coded.request()); askedEMV.Method != 1 {
		t.Errorf("a response code is method %d", askedEMV.Method)
	}
	e.back.err = fmt.Errorf("checking: %w", &emv.FieldError{Field: "9F1A", Wants: "have 2 bytes"})
	var p wire.Problem
	if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &p); err != nil || p.Status != 400 || p.Field != "9F1A" || p.Detail != "9F1A: must have 2 bytes" {
		t.Errorf("%+v, %v", p, err)
	}
	e.back.err = nil
	i := strings.Index(s.body, `"data":{`)
	k := i + strings.Index(s.body[i:], "}")
	s.body = s.body[:i] + `"data":{` + s.body[k:]
	if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &p); err != nil || p.Detail != "data: must hold 1 to 64 fields" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestEMV: transactions arrive as they were written, by every name of a payer.
func TestEMV(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/emv/arqc")
	if got := strings.TrimSpace(e.do(s, s.request()).Body.String()); got != `{"verified":true,"atc":11,"issuer_authentication_data":"D94886EF00820000"}` {
		t.Error(got)
	}
	r := askedEMV
	if r.Payer.PAN.Reveal() != cardDigits || r.Payer.PSN != "01" || r.Profile != "visa-18" || r.Silent || r.Answer.Status != [4]byte{0, 0x82, 0, 0} ||
		len(r.Answer.Proprietary) != 1 || len(r.Data) != 3 || r.Data["9F36"][1] != 11 || r.AC[7] != 0xB4 || e.back.attempt.Key != "k1" {
		t.Errorf("%+v", r)
	}
	s.body = strings.Replace(strings.Replace(s.body, `"pan":"`+cardDigits+`"`, `"pan_jwe":"`+sealedCard+`"`, 1), `"answer":{"csu":"00820000","proprietary":"01"}`, `"answer":{"arc":"3030"}`, 1)
	if e.do(s, s.request()); askedEMV.Payer.PAN.Reveal() != cardDigits || askedEMV.Answer.Code != [2]byte{'0', '0'} {
		t.Errorf("sealed: %+v", askedEMV)
	}
	s = find(t, "/v1/emv/arqc/batch")
	s.body = strings.Replace(s.body, `[{`, `[{"payment_token":"`+tokenDigits+`","profile":"a","de55":"9F36","cryptogram":"61EDCC708B4C97B4"},`+
		`{"payment_token":"`+tokenDigits+`","profile":"a","de55":"9C0100","cryptogram":"61EDCC708B4C97B4"},{`, 1)
	var out wire.EMVResults
	body := e.do(s, s.request()).Body
	if err := json.Unmarshal(body.Bytes(), &out); err != nil || len(out.Results) != 4 {
		t.Fatalf("%v: %s", err, body)
	}
	for i, want := range []string{"malformed", "counter-replayed", "", ""} {
		switch p := out.Results[i].Problem; {
		case want == "" && (p != nil || out.Results[i].Response == nil), want != "" && (p == nil || !strings.HasSuffix(p.Type, ":"+want)):
			t.Errorf("%d: %+v", i, out.Results[i])
		}
	}
	if p := out.Results[0].Problem; p.Field != "de55" {
		t.Errorf("%+v", p)
	}
	if !askedBatch[2].Silent || askedBatch[3].Payer.Ref != "r1" || len(askedBatch[3].Data["9F36"]) != 2 {
		t.Errorf("%+v", askedBatch)
	}
	s = find(t, "/v1/emv/explain")
	var x wire.EMVExplanation
	if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &x); err != nil || x.Variants[0].Changes[0].Held != "00" || x.Used.Fields[0].Wants != "6" || x.Remarks[0].Code != "field-length" {
		t.Errorf("%+v, %v", x, err)
	}
	for err, want := range map[error]struct {
		status int
		kind   string
	}{issuerhost.ErrReplayed: {409, "counter-replayed"}, issuerhost.ErrJumped: {409, "counter-jumped"}, issuerhost.ErrProfile: {422, "profile-unknown"},
		issuerhost.ErrRefused: {403, "refused"}, issuerhost.ErrMisses: {429, "too-fast"}, issuerhost.ErrIssuer: {422, "realm-unknown"},
		issuerhost.ErrSlotToken: {422, "slot-token"}, issuerhost.ErrCardIsToken: {422, "card-is-token"}, emv.ErrMalformed: {400, "malformed"}} {
		e.back.err = err
		for _, path := range []string{"/v1/emv/arqc", "/v1/emv/verify", "/v1/emv/explain"} {
			s := find(t, path)
			e.problem(s, s.request(), want.status, want.kind)
		}
	}
	e.back.err = nil
	s = find(t, "/v1/emv/verify/batch")
	s.body = strings.Replace(s.body, `]}`, `,{"pan":"`+cardDigits+`","profile":"visa-18","de55":"9F3602","cryptogram":"61EDCC708B4C97B4"}]}`, 1)
	var got wire.EMVVerifyResults
	if err := json.Unmarshal(e.do(s, s.request()).Body.Bytes(), &got); err != nil || len(got.Results) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, kind := range []string{"", "slot-token", "malformed"} {
		if r := got.Results[i]; r.Verified != (kind == "") || (r.Problem != nil) != (kind != "") || kind != "" && !strings.HasSuffix(r.Problem.Type, ":"+kind) {
			t.Errorf("transaction %d: %+v", i, r)
		}
	}
	s = find(t, "/v1/emv/verify")
	for change, field := range map[string]string{`"psn":"01"`: "psn", `"9F36":"000B"`: "data.9F36", `"profile":"visa-18"`: "profile"} {
		bad := s
		bad.body = strings.Replace(s.body, change, strings.Split(change, ":")[0]+`:"ZZ Z"`, 1)
		if p := e.problem(bad, bad.request(), 400, "malformed"); p.Field != field {
			t.Errorf("%s: %+v", change, p)
		}
	}
}
