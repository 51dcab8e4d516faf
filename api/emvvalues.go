package api

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/issuerhost"
)

// CardValues makes and checks verification values of cards.
type CardValues interface {
	MakeValue(ctx context.Context, c access.Caller, v issuerhost.Value) (string, error)
	CheckValue(ctx context.Context, c access.Caller, v issuerhost.Value, shown string, a access.Attempt) error
	MakeValues(ctx context.Context, c access.Caller, vs []issuerhost.Value) ([]issuerhost.ValueItem, error)
	CheckValues(ctx context.Context, c access.Caller, vs []issuerhost.Checked, a access.Attempt) ([]issuerhost.ValueItem, error)
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
	made, err := s.CardValues.MakeValue(ctx, q.caller, v)
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
		err = s.CardValues.CheckValue(ctx, q.caller, v, in.Value, q.attempt)
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
	items, err := s.CardValues.MakeValues(ctx, q.caller, vs)
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
	items, err := s.CardValues.CheckValues(ctx, q.caller, vs, q.attempt)
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
