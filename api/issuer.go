package api

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/intake"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
)

// replaceCard puts a new card behind the tokens of an old one.
func (s *server) replaceCard(ctx context.Context, q *request) (any, error) {
	var in wire.ReplaceCard
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	r := tokenize.Replace{Attempt: q.attempt}
	var err error
	if r.Old, err = s.cardNumber(ctx, q, access.CardReplace, in.PAN, in.PANSealed); err != nil {
		return nil, err
	}
	if r.New, r.NewExpiry, err = s.newCard(ctx, q, &in); err != nil {
		return nil, err
	}
	card, err := s.Cards.ReplaceCard(ctx, q.caller, r)
	if err != nil {
		return nil, err
	}
	return wire.ReplacedCard{PAR: string(card.PAR), PANLast4: card.Last4, Living: card.Living}, nil
}

// newCard reads the card that takes the place of another. Its number is zero
// when that stays.
func (s *server) newCard(ctx context.Context, q *request, in *wire.ReplaceCard) (pan token.PAN, expiry token.Expiry, err error) {
	if in.NewSealed != "" {
		card, err := s.openCard(ctx, q, access.CardReplace, "new_pan_jwe", in.NewSealed)
		return card.PAN, card.Expiry, err
	}
	if in.NewPAN.Reveal() != "" {
		if pan, err = token.ParsePAN(in.NewPAN.Reveal()); err != nil {
			return pan, "", at("new_pan", err)
		}
	}
	if expiry, err = token.ParseExpiry(in.NewExpiry); err != nil {
		return pan, "", at("new_pan_expiry", err)
	}
	return pan, expiry, nil
}

// par answers the payment account reference of a card.
func (s *server) par(ctx context.Context, q *request) (any, error) {
	var in wire.PAREnquiry
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	pan, err := s.cardNumber(ctx, q, access.PARRead, in.PAN, in.PANSealed)
	if err != nil {
		return nil, err
	}
	par, err := s.Cards.PAR(ctx, q.caller, pan)
	if err != nil {
		return nil, err
	}
	return wire.PAR{PAR: string(par)}, nil
}

// cardNumber reads a card number that came in clear or sealed.
func (s *server) cardNumber(ctx context.Context, q *request, a access.Action, clear wire.Digits, sealed string) (token.PAN, error) {
	if sealed != "" {
		card, err := s.openCard(ctx, q, a, "pan_jwe", sealed)
		return card.PAN, err
	}
	pan, err := token.ParsePAN(clear.Reveal())
	if err != nil {
		return pan, at("pan", err)
	}
	return pan, nil
}

// openCard opens a sealed card for a caller who may do what it is for: the HSM
// works for nobody else.
func (s *server) openCard(ctx context.Context, q *request, a access.Action, path, sealed string) (intake.Card, error) {
	if err := s.Gate.Allow(ctx, q.caller, a, "intake"); err != nil {
		return intake.Card{}, err
	}
	card, err := s.Intake.Open(ctx, q.caller.ID, sealed)
	if isMalformed(err) {
		return intake.Card{}, &wire.FieldError{Path: path, Text: "holds no card number, or no expiry date"}
	}
	return card, err
}
