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
	defer r.leave()
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
	defer r.leave()
	want, _, err := cryptogram.LoadMACs(ctx, s.keys, key, l)
	return r.answer(ctx, "mac1", want, mac1, err)
}

// Unload checks a card's MAC1 and makes the MAC2 that orders the debit.
func (s *Service) Unload(ctx context.Context, c access.Caller, card Card, u cryptogram.Unload, mac1 [4]byte) (mac2 [4]byte, err error) {
	r, key, err := s.begin(ctx, c, card, keyref.UnloadMaster, u.Validate)
	if err != nil {
		return mac2, err
	}
	defer r.leave()
	want, mac2, _, err := cryptogram.UnloadMACs(ctx, s.keys, key, u)
	return r.order(ctx, want, mac1, mac2, err)
}

// UnloadVerify checks MAC3, the card's word that it was debited.
func (s *Service) UnloadVerify(ctx context.Context, c access.Caller, card Card, u cryptogram.Unload, mac3 [4]byte) error {
	r, key, err := s.begin(ctx, c, card, keyref.UnloadMaster, u.Validate)
	if err != nil {
		return err
	}
	defer r.leave()
	_, _, want, err := cryptogram.UnloadMACs(ctx, s.keys, key, u)
	return r.answer(ctx, "mac3", want, mac3, err)
}

// Overdraft checks a card's MAC1 and makes the MAC2 that orders the new limit.
func (s *Service) Overdraft(ctx context.Context, c access.Caller, card Card, o cryptogram.Overdraft, mac1 [4]byte) (mac2 [4]byte, err error) {
	r, key, err := s.begin(ctx, c, card, keyref.OverdraftMaster, o.Validate)
	if err != nil {
		return mac2, err
	}
	defer r.leave()
	want, mac2, err := cryptogram.OverdraftMACs(ctx, s.keys, key, o)
	return r.order(ctx, want, mac1, mac2, err)
}

// begin opens a request of a load host, whose record is made while the HSM
// computes: [request.answer] waits for it, because a MAC2 moves money. leave has to be
// called when it is answered.
func (s *Service) begin(ctx context.Context, c access.Caller, card Card, u keyref.Usage, validate func() error) (request, keyref.Path, error) {
	recorded, err := s.gate.Begin(ctx, c, s.host, card.object(s), "")
	if err != nil {
		return request{}, keyref.Path{}, err
	}
	r, key, err := s.opened(ctx, c, card, u, validate)
	if r.recorded = recorded; err == nil {
		return r, key, nil
	}
	if rerr := recorded(); rerr != nil {
		err = rerr
	}
	return r, key, err
}

// opened opens a request that is being recorded, and finds its key.
func (s *Service) opened(ctx context.Context, c access.Caller, card Card, u keyref.Usage, validate func() error) (request, keyref.Path, error) {
	r, err := s.open(ctx, c, s.host, card)
	if err != nil {
		return r, keyref.Path{}, err
	}
	if err := validate(); err != nil {
		return r, keyref.Path{}, err
	}
	key, err := r.key(u)
	if err != nil {
		return r, key, err
	}
	err = r.enter(ctx)
	return r, key, err
}

// answer says whether a MAC holds, when the request has been recorded. err is
// what became of computing it.
func (r request) answer(ctx context.Context, name string, want, got [4]byte, err error) error {
	if rerr := r.recorded(); rerr != nil {
		return rerr
	}
	if err != nil {
		return err
	}
	return r.matches(ctx, name, want, got)
}

// order gives out MAC2 only against a good MAC1.
func (r request) order(ctx context.Context, want, got, mac2 [4]byte, err error) ([4]byte, error) {
	if err := r.answer(ctx, "mac1", want, got, err); err != nil {
		return [4]byte{}, err
	}
	return mac2, nil
}
