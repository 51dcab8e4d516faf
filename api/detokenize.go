package api

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/token"
)

func (s *server) detokenize(ctx context.Context, q *request) (any, error) {
	var in wire.DetokenizeRequest
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	query, err := queryIn(&in)
	if err != nil {
		return nil, err
	}
	return answerCard(s.Detokenizer.Detokenize(ctx, q.caller, query, in.Purpose))
}

func (s *server) direct(ctx context.Context, q *request) (any, error) {
	var in wire.DirectRequest
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	query, err := directIn(&in)
	if err != nil {
		return nil, err
	}
	return answerCard(s.Direct.Direct(ctx, q.caller, query, in.Purpose))
}

func answerCard(a detokenize.Answer, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return cardOut(a), nil
}

func (s *server) detokenizeBatch(ctx context.Context, q *request) (any, error) {
	var in wire.DetokenizeBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	queries, wrong := recordsIn(in.Queries, queryIn)
	items, err := s.Direct.Batch(ctx, q.caller, queries, in.Purpose)
	return s.cardsOut(ctx, items, wrong, err)
}

func (s *server) directBatch(ctx context.Context, q *request) (any, error) {
	var in wire.DirectBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	queries, wrong := recordsIn(in.Queries, directIn)
	items, err := s.Direct.DirectBatch(ctx, q.caller, queries, in.Purpose)
	return s.cardsOut(ctx, items, wrong, err)
}

func (s *server) batchFits(ctx context.Context, q *request) error {
	var in wire.DetokenizeBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return err
	}
	return s.Direct.BatchFits(ctx, q.caller, access.Detokenize, len(in.Queries), in.Purpose)
}

func (s *server) directFits(ctx context.Context, q *request) error {
	var in wire.DirectBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return err
	}
	return s.Direct.BatchFits(ctx, q.caller, access.DetokenizeDirect, len(in.Queries), in.Purpose)
}

func (s *server) cardsOut(ctx context.Context, items []detokenize.Item, wrong []error, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return wire.DetokenizeResults{Results: resultsOut(ctx, s, items, wrong, func(i detokenize.Item) error { return i.Err },
		func(p *wire.Problem) wire.DetokenizeResult { return wire.DetokenizeResult{Problem: p} },
		func(i detokenize.Item) wire.DetokenizeResult {
			card := cardOut(i.Answer)
			return wire.DetokenizeResult{Card: &card}
		})}, nil
}

// cardOut is the one place where a card number goes out.
func cardOut(a detokenize.Answer) wire.Detokenized {
	out := wire.Detokenized{Ref: string(a.Ref), Requestor: string(a.Requestor), PAR: string(a.PAR), PANExpiry: string(a.Expiry),
		PANSealed: a.Sealed, TapID: a.TapID, Result: a.Result, Assurance: assuranceOut(a.Assurance)}
	if !a.PAN.IsZero() {
		out.PAN = wire.NewDigits(a.PAN.Reveal())
	}
	return out
}

// The values of answer and result that ask for more than the default.
const (
	asJWE = "jwe"
	asJWS = "jws"
)

func queryIn(in *wire.DetokenizeRequest) (detokenize.Query, error) {
	q, err := named(in.Number, in.Ref)
	if err != nil {
		return q, err
	}
	if in.Tap != nil {
		t, err := tapIn(in.Tap, "tap.")
		if err != nil {
			return q, err
		}
		q.Tap = &t
	}
	q.TapID, q.Where, q.Sealed, q.Signed = in.TapID, whereIn(in.Where), in.Answer == asJWE, in.Result == asJWS
	return q, nil
}

func directIn(in *wire.DirectRequest) (detokenize.Query, error) {
	q, err := named(in.Number, in.Ref)
	if err != nil {
		return q, err
	}
	q.Where, q.Purchase, q.Sealed = whereIn(in.Where), in.Purchase, in.Answer == asJWE
	q.Where.Amount = token.Amount(in.Amount)
	return q, nil
}

func named(number, ref string) (q detokenize.Query, err error) {
	if number != "" {
		if q.Number, err = token.ParseNumber(number); err != nil {
			return q, at("payment_token", err)
		}
	}
	q.Ref = token.Ref(ref)
	return q, nil
}

func whereIn(w *wire.Where) token.Use {
	if w == nil {
		return token.Use{}
	}
	return token.Use{Merchant: w.Merchant, Terminal: w.Terminal, MCC: w.MCC, Channel: token.Channel(w.Channel), Country: w.Country}
}
