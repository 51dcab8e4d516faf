package api

import (
	"context"
	"errors"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/token"
)

// IssuerHost answers for EMV cards.
type IssuerHost interface {
	Authorise(ctx context.Context, c access.Caller, r issuerhost.Request, a access.Attempt) (issuerhost.Response, error)
	AuthoriseBatch(ctx context.Context, c access.Caller, rs []issuerhost.Request, a access.Attempt) ([]issuerhost.Item, error)
	Verify(ctx context.Context, c access.Caller, t issuerhost.Transaction) error
	VerifyBatch(ctx context.Context, c access.Caller, ts []issuerhost.Transaction) ([]error, error)
	Explain(ctx context.Context, c access.Caller, t issuerhost.Transaction) (issuerhost.Explanation, error)
}

func (s *server) emvARQC(ctx context.Context, q *request) (any, error) {
	var in wire.EMVRequest
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	r, err := s.emvRequestIn(ctx, q, &in)
	if err != nil {
		return nil, err
	}
	got, err := s.IssuerHost.Authorise(ctx, q.caller, r, q.attempt)
	if err != nil {
		return nil, err
	}
	return emvResponseOut(got), nil
}

// emvBatch answers each transaction by itself; one that cannot be read keeps its
// place.
func (s *server) emvBatch(ctx context.Context, q *request) (any, error) {
	var in wire.EMVBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	rs, wrong := recordsIn(in.Transactions, func(w *wire.EMVRequest) (issuerhost.Request, error) { return s.emvRequestIn(ctx, q, w) })
	if err := notTheirs(wrong); err != nil {
		return nil, err
	}
	items, err := s.IssuerHost.AuthoriseBatch(ctx, q.caller, rs, q.attempt)
	if err != nil {
		return nil, err
	}
	return wire.EMVResults{Results: resultsOut(ctx, s, items, wrong, func(i issuerhost.Item) error { return i.Err },
		func(p *wire.Problem) wire.EMVResult { return wire.EMVResult{Problem: p} },
		func(i issuerhost.Item) wire.EMVResult {
			r := emvResponseOut(i.Response)
			return wire.EMVResult{Response: &r}
		})}, nil
}

// notTheirs returns the first error that does not come from what was sent, such
// as an HSM that opens nothing: it ends a batch.
func notTheirs(wrong []error) error {
	for _, err := range wrong {
		var bad *wire.FieldError
		if err != nil && !errors.As(err, &bad) && !isMalformed(err) && fault.KindOf(err) != fault.Intake {
			return err
		}
	}
	return nil
}

func (s *server) emvVerify(ctx context.Context, q *request) (any, error) {
	t, err := s.emvTransactionIn(ctx, q, access.EMVVerify)
	if err != nil {
		return nil, err
	}
	if err := s.IssuerHost.Verify(ctx, q.caller, t); err != nil {
		return nil, err
	}
	return verified, nil
}

func (s *server) emvVerifyBatch(ctx context.Context, q *request) (any, error) {
	var in wire.EMVVerifyBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	ts, wrong := recordsIn(in.Transactions, func(w *wire.EMVTransaction) (issuerhost.Transaction, error) {
		return s.transactionIn(ctx, q, access.EMVVerify, w)
	})
	if err := notTheirs(wrong); err != nil {
		return nil, err
	}
	errs, err := s.IssuerHost.VerifyBatch(ctx, q.caller, ts)
	if err != nil {
		return nil, err
	}
	return wire.EMVVerifyResults{Results: resultsOut(ctx, s, errs, wrong, func(err error) error { return err },
		func(p *wire.Problem) wire.EMVVerifyResult { return wire.EMVVerifyResult{Problem: p} },
		func(error) wire.EMVVerifyResult { return wire.EMVVerifyResult{Verified: true} })}, nil
}

func (s *server) emvExplain(ctx context.Context, q *request) (any, error) {
	t, err := s.emvTransactionIn(ctx, q, access.EMVExplain)
	if err != nil {
		return nil, err
	}
	e, err := s.IssuerHost.Explain(ctx, q.caller, t)
	if err != nil {
		return nil, err
	}
	return explanationOut(e), nil
}

func (s *server) emvTransactionIn(ctx context.Context, q *request, a access.Action) (issuerhost.Transaction, error) {
	var in wire.EMVTransaction
	if err := wire.Decode(q.body, &in); err != nil {
		return issuerhost.Transaction{}, err
	}
	return s.transactionIn(ctx, q, a, &in)
}

func (s *server) emvRequestIn(ctx context.Context, q *request, in *wire.EMVRequest) (r issuerhost.Request, err error) {
	r.Transaction, err = s.transactionIn(ctx, q, access.EMVVerify, &in.EMVTransaction)
	r.Silent = in.Answer == nil
	if w := in.Answer; w != nil {
		r.Answer.Proprietary = w.Proprietary
		if w.ARC != nil {
			r.Method, r.Answer.Code = 1, *w.ARC
		}
		if w.CSU != nil {
			r.Method, r.Answer.Status = 2, *w.CSU
		}
	}
	return r, err
}

func (s *server) transactionIn(ctx context.Context, q *request, a access.Action, in *wire.EMVTransaction) (t issuerhost.Transaction, err error) {
	t = issuerhost.Transaction{Profile: in.Profile, Version: in.KeyVersion, AC: in.Cryptogram, Data: emv.Data{}}
	t.Payer = issuerhost.Payer{PSN: in.PSN, Ref: token.Ref(in.Ref)}
	switch {
	case in.Number != "":
		if t.Payer.Number, err = token.ParseNumber(in.Number); err != nil {
			return t, at("payment_token", err)
		}
	case in.Ref == "":
		if t.Payer.PAN, err = s.cardNumber(ctx, q, a, in.PAN, in.PANSealed); err != nil {
			return t, err
		}
	}
	if len(in.DE55) > 0 {
		if t.Data, err = emv.ParseTLV(in.DE55); err != nil {
			return t, &wire.FieldError{Path: "de55", Text: "must be BER-TLV data objects, each tag once"}
		}
	}
	for name, v := range in.Data {
		t.Data[name] = v
	}
	return t, nil
}

func emvResponseOut(r issuerhost.Response) wire.EMVResponse {
	return wire.EMVResponse{Verified: true, ATC: r.ATC, Response: r.Response}
}

func explanationOut(e issuerhost.Explanation) wire.EMVExplanation {
	out := wire.EMVExplanation{Holds: e.Holds, Used: methodOut(e.Used), Tried: e.Tried, Remarks: []wire.EMVRemark{}, Variants: []wire.EMVVariant{}}
	for _, r := range e.Remarks {
		out.Remarks = append(out.Remarks, wire.EMVRemark(r))
	}
	for _, v := range e.Variants {
		w := wire.EMVVariant{Method: methodOut(v.Method)}
		for _, c := range v.Changes {
			w.Changes = append(w.Changes, wire.EMVChange(c))
		}
		out.Variants = append(out.Variants, w)
	}
	return out
}

func methodOut(m issuerhost.Method) wire.EMVMethod {
	out := wire.EMVMethod{Profile: m.Profile, Key: m.Key, Master: string(m.Master), Session: string(m.Session), Algorithm: m.Algorithm,
		Padding: uint8(m.Padding), PSN: m.PSN, Length: m.Length, Padded: m.Padded, Fields: []wire.EMVField{}}
	for _, f := range m.Fields {
		out.Fields = append(out.Fields, wire.EMVField(f))
	}
	return out
}
