package api

import (
	"context"
	"strconv"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/token"
)

// IssuerMore is what else is answered for EMV cards and tokens.
type IssuerMore interface {
	MakeValue(ctx context.Context, c access.Caller, v issuerhost.Value) (string, error)
	CheckValue(ctx context.Context, c access.Caller, v issuerhost.Value, shown string, a access.Attempt) error
	MakeValues(ctx context.Context, c access.Caller, vs []issuerhost.Value) ([]issuerhost.ValueItem, error)
	CheckValues(ctx context.Context, c access.Caller, vs []issuerhost.Checked, a access.Attempt) ([]issuerhost.ValueItem, error)
	Sign(ctx context.Context, c access.Caller, q issuerhost.Script) ([]issuerhost.Signed, error)
	SignBatch(ctx context.Context, c access.Caller, qs []issuerhost.Script) ([]issuerhost.SignedItem, error)
	Cryptogram(ctx context.Context, c access.Caller, p issuerhost.Purchase, a access.Attempt) (issuerhost.Made, error)
	UseCryptogram(ctx context.Context, c access.Caller, p issuerhost.Purchase, text string, a access.Attempt) error
	Judge(ctx context.Context, c access.Caller, t issuerhost.Tap, a access.Attempt) (emv.Verdict, error)
}

func (s *server) emvValue(ctx context.Context, q *request) (any, error) {
	var in wire.EMVValue
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	v, err := s.valueIn(ctx, q, access.EMVValues, &in)
	if err != nil {
		return nil, err
	}
	made, err := s.IssuerMore.MakeValue(ctx, q.caller, v)
	if err != nil {
		return nil, err
	}
	return wire.EMVValueMade{Value: made}, nil
}

func (s *server) emvValueVerify(ctx context.Context, q *request) (any, error) {
	var in wire.EMVValueCheck
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	v, err := s.valueIn(ctx, q, access.EMVVerify, &in.EMVValue)
	if err == nil {
		err = s.IssuerMore.CheckValue(ctx, q.caller, v, in.Value, q.attempt)
	}
	if err != nil {
		return nil, err
	}
	return verified, nil
}

func (s *server) emvValueBatch(ctx context.Context, q *request) (any, error) {
	var in wire.EMVValueBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	vs, wrong := recordsIn(in.Values, func(w *wire.EMVValue) (issuerhost.Value, error) {
		return s.valueIn(ctx, q, access.EMVValues, w)
	})
	if err := notTheirs(wrong); err != nil {
		return nil, err
	}
	items, err := s.IssuerMore.MakeValues(ctx, q.caller, vs)
	if err != nil {
		return nil, err
	}
	return s.valuesOut(ctx, items, wrong), nil
}

func (s *server) emvValueCheckBatch(ctx context.Context, q *request) (any, error) {
	var in wire.EMVValueCheckBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	vs, wrong := recordsIn(in.Values, func(w *wire.EMVValueCheck) (issuerhost.Checked, error) {
		v, err := s.valueIn(ctx, q, access.EMVVerify, &w.EMVValue)
		return issuerhost.Checked{Value: v, Shown: w.Value}, err
	})
	if err := notTheirs(wrong); err != nil {
		return nil, err
	}
	items, err := s.IssuerMore.CheckValues(ctx, q.caller, vs, q.attempt)
	if err != nil {
		return nil, err
	}
	return s.valuesOut(ctx, items, wrong), nil
}

func (s *server) valuesOut(ctx context.Context, items []issuerhost.ValueItem, wrong []error) wire.EMVValueResults {
	return wire.EMVValueResults{Results: resultsOut(ctx, s, items, wrong, func(i issuerhost.ValueItem) error { return i.Err },
		func(p *wire.Problem) wire.EMVValueResult { return wire.EMVValueResult{Problem: p} },
		func(i issuerhost.ValueItem) wire.EMVValueResult {
			return wire.EMVValueResult{Value: i.Made, Verified: i.Made == ""}
		})}
}

func (s *server) valueIn(ctx context.Context, q *request, a access.Action, in *wire.EMVValue) (v issuerhost.Value, err error) {
	v = issuerhost.Value{Kind: issuerhost.ValueKind(in.Kind), PSN: in.PSN, Expiry: in.Expiry, Service: in.Service, Track: in.Track, Version: in.KeyVersion}
	if in.ATC != nil {
		v.ATC = *in.ATC
	}
	if in.UN != nil {
		v.UN = *in.UN
	}
	v.PAN, err = s.cardNumber(ctx, q, a, in.PAN, in.PANSealed)
	return v, err
}

func (s *server) emvScript(ctx context.Context, q *request) (any, error) {
	var in wire.EMVScript
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	script, err := s.scriptIn(ctx, q, &in)
	if err != nil {
		return nil, err
	}
	signed, err := s.IssuerMore.Sign(ctx, q.caller, script)
	if err != nil {
		return nil, err
	}
	return wire.EMVScriptMade{Commands: signedOut(signed)}, nil
}

func (s *server) emvScriptBatch(ctx context.Context, q *request) (any, error) {
	var in wire.EMVScriptBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	scripts, wrong := recordsIn(in.Scripts, func(w *wire.EMVScript) (issuerhost.Script, error) { return s.scriptIn(ctx, q, w) })
	if err := notTheirs(wrong); err != nil {
		return nil, err
	}
	items, err := s.IssuerMore.SignBatch(ctx, q.caller, scripts)
	if err != nil {
		return nil, err
	}
	return wire.EMVScriptResults{Results: resultsOut(ctx, s, items, wrong, func(i issuerhost.SignedItem) error { return i.Err },
		func(p *wire.Problem) wire.EMVScriptResult { return wire.EMVScriptResult{Problem: p} },
		func(i issuerhost.SignedItem) wire.EMVScriptResult {
			return wire.EMVScriptResult{Commands: signedOut(i.Commands)}
		})}, nil
}

func (s *server) scriptIn(ctx context.Context, q *request, in *wire.EMVScript) (issuerhost.Script, error) {
	t, err := s.transactionIn(ctx, q, access.EMVScript, &wire.EMVTransaction{PAN: in.PAN, PANSealed: in.PANSealed, PSN: in.PSN, Number: in.Number, Ref: in.Ref})
	if err != nil {
		return issuerhost.Script{}, err
	}
	script := issuerhost.Script{Payer: t.Payer, Profile: in.Profile, Version: in.KeyVersion, ATC: in.ATC, AC: in.Cryptogram, First: in.First}
	if in.Rule == string(issuerhost.RuleVisa) {
		script.Rule = issuerhost.RuleVisa
	}
	for _, c := range in.Commands {
		script.Commands = append(script.Commands, issuerhost.Command{Header: c.Header, Data: c.Data, PIN: c.PINSealed, Encipher: emv.Confidentiality(c.Encipher)})
	}
	return script, nil
}

func signedOut(signed []issuerhost.Signed) []wire.EMVSigned {
	out := make([]wire.EMVSigned, len(signed))
	for i, c := range signed {
		out[i] = wire.EMVSigned{Header: c.Header, Data: c.Data, MAC: c.MAC}
	}
	return out
}

func (s *server) emvToken(ctx context.Context, q *request) (any, error) {
	var in wire.EMVPurchase
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	p, err := purchaseOf(&in)
	if err != nil {
		return nil, err
	}
	made, err := s.IssuerMore.Cryptogram(ctx, q.caller, p, q.attempt)
	if err != nil {
		return nil, err
	}
	return wire.EMVPurchaseMade{Number: made.Number.Digits(), Expiry: string(made.Expiry), Cryptogram: made.Cryptogram}, nil
}

func (s *server) emvTokenVerify(ctx context.Context, q *request) (any, error) {
	var in wire.EMVPurchaseCheck
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	p, err := purchaseOf(&in.EMVPurchase)
	if err != nil {
		return nil, err
	}
	p.Requestor = token.Requestor(in.Requestor)
	if err := s.IssuerMore.UseCryptogram(ctx, q.caller, p, in.Cryptogram, q.attempt); err != nil {
		return nil, err
	}
	return verified, nil
}

func purchaseOf(in *wire.EMVPurchase) (p issuerhost.Purchase, err error) {
	p = issuerhost.Purchase{Profile: in.Profile, Amount: in.Amount}
	n, _ := strconv.ParseUint(in.Currency, 10, 16) // the decoder saw three digits
	p.Currency = uint16(n)
	p.Token, err = tokenNamed(in.Number, in.Ref)
	return p, err
}

func tokenNamed(number, ref string) (p issuerhost.Payer, err error) {
	p.Ref = token.Ref(ref)
	if number != "" {
		if p.Number, err = token.ParseNumber(number); err != nil {
			return p, at("payment_token", err)
		}
	}
	return p, nil
}

func (s *server) emvPhone(ctx context.Context, q *request) (any, error) {
	var in wire.EMVPhone
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	tap := issuerhost.Tap{Profile: in.Profile, ATC: uint16(in.ATC[0])<<8 | uint16(in.ATC[1]), Message: in.Message, User: in.User, Device: in.Device}
	var err error
	if tap.Token, err = tokenNamed(in.Number, in.Ref); err != nil {
		return nil, err
	}
	v, err := s.IssuerMore.Judge(ctx, q.caller, tap, q.attempt)
	if err != nil {
		return nil, err
	}
	if v == emv.Good {
		return wire.EMVVerdict{Verdict: "GOOD"}, nil
	}
	return wire.EMVVerdict{Verdict: "WRONG_PIN"}, nil
}
