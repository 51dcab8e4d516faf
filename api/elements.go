package api

import (
	"context"
	"crypto/rsa"
	"math/big"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// Elements serves secure elements.
type Elements interface {
	Enrol(ctx context.Context, c access.Caller, q element.Request) (element.Element, error)
	Get(ctx context.Context, c access.Caller, id token.DeviceID) (element.Element, error)
	Order(ctx context.Context, c access.Caller, id token.DeviceID, o element.Order) (element.Element, error)
	Carry(ctx context.Context, c access.Caller, id token.DeviceID, receipt []byte) (element.Carried, error)
}

var elementVerbs = map[string]message.Verb{"ISSUE": message.Issue, "UNBLOCK_PIN": message.Unblock, "ERASE": message.Erase}

func elementID(q *request) (token.DeviceID, error) {
	id := token.DeviceID(q.param("element"))
	if !id.Valid() {
		return "", errNoWallet
	}
	return id, nil
}

func (s *server) enrolElement(ctx context.Context, q *request) (any, error) {
	var in wire.ElementEnrolment
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	w, a := token.WalletID(in.Wallet), attestationIn(in.Attestation)
	if !w.Valid() {
		return nil, errNoWallet
	}
	e, err := s.Elements.Enrol(ctx, q.caller, element.Request{Wallet: w, Serial: message.Serial(in.Serial),
		Key:     &rsa.PublicKey{N: new(big.Int).SetBytes(in.Modulus), E: 65537},
		Verdict: a.Verdict, Level: a.Level, At: a.At, Leaf: a.Leaf, Attempt: q.attempt})
	if err != nil {
		return nil, err
	}
	return withStatus{201, elementOut(e)}, nil
}

func (s *server) element(ctx context.Context, q *request) (any, error) {
	id, err := elementID(q)
	if err != nil {
		return nil, err
	}
	e, err := s.Elements.Get(ctx, q.caller, id)
	if err != nil {
		return nil, err
	}
	return elementOut(e), nil
}

func (s *server) orderElement(ctx context.Context, q *request) (any, error) {
	id, err := elementID(q)
	if err != nil {
		return nil, err
	}
	var in wire.ElementOrder
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	e, err := s.Elements.Order(ctx, q.caller, id, element.Order{Verb: elementVerbs[in.Verb], Ref: token.Ref(in.Ref), PIN: in.PIN, Attempt: q.attempt})
	if err != nil {
		return nil, err
	}
	return withStatus{201, elementOut(e)}, nil
}

func (s *server) carryElement(ctx context.Context, q *request) (any, error) {
	id, err := elementID(q)
	if err != nil {
		return nil, err
	}
	var in wire.ElementCourier
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	out, err := s.Elements.Carry(ctx, q.caller, id, in.Receipt)
	if err != nil {
		return nil, err
	}
	return wire.ElementScript{Seq: out.Seq, Script: out.Script}, nil
}

func elementOut(e element.Element) wire.Element {
	return wire.Element{ID: string(e.ID), Wallet: string(e.Wallet), Serial: wire.Hex8(e.Serial), State: string(e.State), KeyVersion: e.KeyVersion,
		Ref: string(e.Ref), Made: e.Seq, Obeyed: e.Acked, Tries: e.Tries, Balance: uint32(e.Balance)}
}
