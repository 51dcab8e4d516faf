package api

import (
	"context"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
)

// verified is the answer of every check that held.
var verified = wire.Verified{Verified: true}

func (s *server) purchaseMAC1(ctx context.Context, q *request) (any, error) {
	var in wire.Purchase
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	mac1, err := s.Purchases.PurchaseMAC1(ctx, q.caller, cardIn(&in.Card), purchaseIn(&in))
	if err != nil {
		return nil, err
	}
	return wire.MAC1{MAC1: mac1}, nil
}

func (s *server) purchaseVerify(ctx context.Context, q *request) (any, error) {
	var in wire.PurchaseVerify
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	if err := s.Purchases.PurchaseVerify(ctx, q.caller, cardIn(&in.Card), purchaseIn(&in.Purchase), proofIn(&in)); err != nil {
		return nil, err
	}
	return verified, nil
}

func (s *server) purchaseVerifyBatch(ctx context.Context, q *request) (any, error) {
	var in wire.PurchaseBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	all := make([]cardhost.PurchaseCheck, len(in.Purchases))
	for i := range in.Purchases {
		p := &in.Purchases[i]
		all[i] = cardhost.PurchaseCheck{Card: cardIn(&p.Card), Purchase: purchaseIn(&p.Purchase), Proof: proofIn(p)}
	}
	errs, err := s.Purchases.PurchaseVerifyBatch(ctx, q.caller, all)
	if err != nil {
		return nil, err
	}
	return wire.PurchaseResults{Results: resultsOut(ctx, s, errs, make([]error, len(errs)), func(err error) error { return err },
		func(p *wire.Problem) wire.PurchaseResult { return wire.PurchaseResult{Problem: p} },
		func(error) wire.PurchaseResult { return wire.PurchaseResult{Verified: true} })}, nil
}

func proofIn(w *wire.PurchaseVerify) cardhost.PurchaseProof {
	return cardhost.PurchaseProof{MAC2: w.MAC2, MAC1: (*[4]byte)(w.MAC1), TAC: (*[4]byte)(w.TAC)}
}

func (s *server) tacVerify(ctx context.Context, q *request) (any, error) {
	var in wire.TACVerify
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	record, err := recordIn(&in)
	if err != nil {
		return nil, err
	}
	if err := s.Purchases.TACVerify(ctx, q.caller, cardIn(&in.Card), record, in.TAC); err != nil {
		return nil, err
	}
	return verified, nil
}

func (s *server) load(ctx context.Context, q *request) (any, error) {
	var in wire.Load
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return mac2(s.LoadHost.Load(ctx, q.caller, cardIn(&in.Card), loadIn(&in.LoadRecord, in.Rand), in.MAC1))
}

func (s *server) unload(ctx context.Context, q *request) (any, error) {
	var in wire.Unload
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return mac2(s.LoadHost.Unload(ctx, q.caller, cardIn(&in.Card), unloadIn(&in.UnloadRecord), in.MAC1))
}

func (s *server) unloadVerify(ctx context.Context, q *request) (any, error) {
	var in wire.UnloadVerify
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	if err := s.LoadHost.UnloadVerify(ctx, q.caller, cardIn(&in.Card), unloadIn(&in.UnloadRecord), in.MAC3); err != nil {
		return nil, err
	}
	return verified, nil
}

func (s *server) overdraft(ctx context.Context, q *request) (any, error) {
	var in wire.Overdraft
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	o, err := overdraftIn(&in.OverdraftRecord, in.Rand)
	if err != nil {
		return nil, err
	}
	return mac2(s.LoadHost.Overdraft(ctx, q.caller, cardIn(&in.Card), o, in.MAC1))
}

func mac2(m [4]byte, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return wire.MAC2{MAC2: m}, nil
}

func cardIn(w *wire.Card) cardhost.Card {
	return cardhost.Card{Realm: w.Realm, Issuer: w.Issuer, ASN: w.ASN, KeyVersion: w.KeyVersion, AlgorithmID: w.AlgorithmID}
}

func purchaseIn(w *wire.Purchase) cryptogram.Purchase {
	return cryptogram.Purchase{
		Rand: w.Rand, Seq: w.OfflineSeq, Amount: w.Amount, Type: cryptogram.Type(w.TxnType), Terminal: w.TermID,
		TermSeq: w.TermSeq, At: moment(w.Date, w.Time), AuthCode: (*[9]byte)(w.AuthCode),
	}
}

func loadIn(w *wire.LoadRecord, rand [4]byte) cryptogram.Load {
	return cryptogram.Load{Rand: rand, Seq: w.OnlineSeq, Balance: w.Balance, Amount: w.Amount,
		Type: cryptogram.Type(w.TxnType), Terminal: w.TermID, At: moment(w.Date, w.Time)}
}

func unloadIn(w *wire.UnloadRecord) cryptogram.Unload {
	return cryptogram.Unload{Rand: w.Rand, Seq: w.OnlineSeq, Balance: w.Balance, Amount: w.Amount,
		Terminal: w.TermID, At: moment(w.Date, w.Time)}
}

func overdraftIn(w *wire.OverdraftRecord, rand [4]byte) (o cryptogram.Overdraft, err error) {
	o = cryptogram.Overdraft{Rand: rand, Seq: w.OnlineSeq, Balance: w.Balance, Terminal: w.TermID, At: moment(w.Date, w.Time)}
	if o.OldLimit, err = cryptogram.NewLimit(w.OldLimit); err != nil {
		return o, err
	}
	o.NewLimit, err = cryptogram.NewLimit(w.NewLimit)
	return o, err
}

// recordIn returns what a TAC covers; the decoder saw to it that there is one.
func recordIn(w *wire.TACVerify) (cryptogram.Receipted, error) {
	switch {
	case w.Purchase != nil:
		p := w.Purchase
		return cryptogram.Purchase{Amount: p.Amount, Type: cryptogram.Type(p.TxnType), Terminal: p.TermID,
			TermSeq: p.TermSeq, At: moment(p.Date, p.Time)}, nil
	case w.Load != nil:
		return loadIn(w.Load, [4]byte{}), nil
	}
	return overdraftIn(w.Overdraft, [4]byte{})
}
