package cardhost

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Load checks a card's MAC1 and makes the MAC2 that orders the credit. The
// host that asks keeps the account: asking twice makes the same MAC2, which
// the card takes once.
func (s *Service) Load(ctx context.Context, c access.Caller, card Card, l cryptogram.Load, mac1 [4]byte) (mac2 [4]byte, err error) {
	r, key, err := s.begin(ctx, c, card, keyref.LoadMaster, l.Validate)
	if err != nil {
		return mac2, err
	}
	want, mac2, err := cryptogram.LoadMACs(ctx, s.keys, key, l)
	return r.order(ctx, want, mac1, mac2, err)
}

// Shown checks the MAC1 of a card that was initialised for a load and orders
// nothing: it is the card's word on its balance and online counter.
func (s *Service) Shown(ctx context.Context, c access.Caller, card Card, l cryptogram.Load, mac1 [4]byte) error {
	r, key, err := s.begin(ctx, c, card, keyref.LoadMaster, l.Validate)
	if err != nil {
		return err
	}
	want, _, err := cryptogram.LoadMACs(ctx, s.keys, key, l)
	if err != nil {
		return err
	}
	return r.matches(ctx, "mac1", want, mac1)
}

// Unload checks a card's MAC1 and makes the MAC2 that orders the debit.
func (s *Service) Unload(ctx context.Context, c access.Caller, card Card, u cryptogram.Unload, mac1 [4]byte) (mac2 [4]byte, err error) {
	r, key, err := s.begin(ctx, c, card, keyref.UnloadMaster, u.Validate)
	if err != nil {
		return mac2, err
	}
	want, mac2, _, err := cryptogram.UnloadMACs(ctx, s.keys, key, u)
	return r.order(ctx, want, mac1, mac2, err)
}

// UnloadVerify checks MAC3, the card's word that it was debited.
func (s *Service) UnloadVerify(ctx context.Context, c access.Caller, card Card, u cryptogram.Unload, mac3 [4]byte) error {
	r, key, err := s.begin(ctx, c, card, keyref.UnloadMaster, u.Validate)
	if err != nil {
		return err
	}
	_, _, want, err := cryptogram.UnloadMACs(ctx, s.keys, key, u)
	if err != nil {
		return err
	}
	return r.matches(ctx, "mac3", want, mac3)
}

// Overdraft checks a card's MAC1 and makes the MAC2 that orders the new limit.
func (s *Service) Overdraft(ctx context.Context, c access.Caller, card Card, o cryptogram.Overdraft, mac1 [4]byte) (mac2 [4]byte, err error) {
	r, key, err := s.begin(ctx, c, card, keyref.OverdraftMaster, o.Validate)
	if err != nil {
		return mac2, err
	}
	want, mac2, err := cryptogram.OverdraftMACs(ctx, s.keys, key, o)
	return r.order(ctx, want, mac1, mac2, err)
}

// begin opens a request of a load host. It is recorded before anything is
// computed, because a MAC2 moves money.
func (s *Service) begin(ctx context.Context, c access.Caller, card Card, u keyref.Usage, validate func() error) (request, keyref.Path, error) {
	if err := s.gate.Check(ctx, c, s.host, card.object(s)); err != nil {
		return request{}, keyref.Path{}, err
	}
	r, err := s.open(ctx, c, s.host, card)
	if err != nil {
		return r, keyref.Path{}, err
	}
	if err := validate(); err != nil {
		return r, keyref.Path{}, err
	}
	key, err := r.key(u)
	return r, key, err
}

// order gives out MAC2 only against a good MAC1.
func (r request) order(ctx context.Context, want, got, mac2 [4]byte, err error) ([4]byte, error) {
	if err != nil {
		return [4]byte{}, err
	}
	if err := r.matches(ctx, "mac1", want, got); err != nil {
		return [4]byte{}, err
	}
	return mac2, nil
}
