package api

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/issuerhost"
)

// CardScripts enciphers and signs commands for cards.
type CardScripts interface {
	Sign(ctx context.Context, c access.Caller, q issuerhost.Script) ([]issuerhost.Signed, error)
	SignBatch(ctx context.Context, c access.Caller, qs []issuerhost.Script) ([]issuerhost.SignedItem, error)
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
	signed, err := s.CardScripts.Sign(ctx, q.caller, script)
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
	items, err := s.CardScripts.SignBatch(ctx, q.caller, scripts)
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
