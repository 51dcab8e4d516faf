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

// Cryptograms answers for tokens that pay without a reader, and for phones whose
// keys a PIN masks.
type Cryptograms interface {
	Cryptogram(ctx context.Context, c access.Caller, p issuerhost.Purchase, a access.Attempt) (issuerhost.Made, error)
	UseCryptogram(ctx context.Context, c access.Caller, p issuerhost.Purchase, text string, a access.Attempt) error
	Judge(ctx context.Context, c access.Caller, t issuerhost.Tap, a access.Attempt) (emv.Verdict, error)
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
	made, err := s.Cryptograms.Cryptogram(ctx, q.caller, p, q.attempt)
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
	if err := s.Cryptograms.UseCryptogram(ctx, q.caller, p, in.Cryptogram, q.attempt); err != nil {
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
	v, err := s.Cryptograms.Judge(ctx, q.caller, tap, q.attempt)
	if err != nil {
		return nil, err
	}
	if v == emv.Good {
		return wire.EMVVerdict{Verdict: "GOOD"}, nil
	}
	return wire.EMVVerdict{Verdict: "WRONG_PIN"}, nil
}
