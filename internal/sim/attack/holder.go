package attack

import (
	"context"
	"errors"
	"fmt"
	"github.com/tapvault/tapvault/internal/sim"
	"time"

	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/payload"
)

// prepaid rides a phone to the end of its slots, again and again, with a sync in
// between: everything that it was let ride for has to come out of its account.
func prepaid(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, err := s.Phone(ctx, city.Spec{PIN: s.pin(), TopUp: 2*limit + 700})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 4)
	if err != nil {
		return 0, 0, err
	}
	var rode token.Amount
	for range 4 {
		for p.Live() > 0 {
			s.Clock.Advance(2 * time.Minute)
			if err := p.EnterPIN(p.PIN); err != nil {
				return 0, 0, err
			}
			f := token.Amount(100 * (1 + s.rand.IntN(10)))
			if _, err := gates[s.rand.IntN(len(gates))].Tap(ctx, p, f); err != nil {
				return 0, 0, fmt.Errorf("an honest ride: %w", err)
			}
			rode += f
		}
		if err := s.upload(ctx, gates); err != nil {
			return 0, 0, err
		}
		if _, err := p.Sync(ctx); err != nil {
			return 0, 0, err
		}
	}
	if rode == 0 {
		return 0, 0, errors.New("attack: nobody rode")
	}
	loss, err = s.unpaid(ctx, p.Holder, rode)
	return 0, loss, err
}

// unpaid is what of the fares did not come out of a holder's account.
func (s *stage) unpaid(ctx context.Context, h *sim.Holder, rode token.Amount) (token.Amount, error) {
	paid, err := h.Paid(ctx)
	return excess(rode, paid), err
}

// excess is what a is more than b.
func excess(a, b token.Amount) token.Amount {
	if a <= b {
		return 0
	}
	return a - b
}

// dishonest is a prepaid holder whose app lies at every sync: rides that were
// not uploaded yet are denied, slots are said to be thrown away and kept.
func dishonest(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, err := s.Crack(ctx, city.Spec{PIN: s.pin(), TopUp: limit})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 3)
	if err != nil {
		return 0, 0, err
	}
	kept, err := p.Clone()
	if err != nil {
		return 0, 0, err
	}
	var rode token.Amount
	ride := func(n int) error {
		for range n {
			s.Clock.Advance(2 * time.Minute)
			kept.EnterPIN(p.PIN)
			if _, err := gates[s.rand.IntN(len(gates))].Tap(ctx, kept, cap1); err == nil {
				rode += cap1
			}
		}
		return nil
	}
	if err := ride(3); err != nil {
		return 0, 0, err
	}
	for i := range 20 {
		status := payload.Live
		if i%2 == 1 {
			status = payload.Discarded
		}
		_ = p.Sync(ctx, func(q *payload.Sync) { // answered or refused: it is what he tries
			for i := range q.Reports {
				q.Reports[i] = payload.Report{Ctr: q.Reports[i].Ctr, Status: status}
			}
		})
	}
	if err := ride(slots); err != nil {
		return 0, 0, err
	}
	newer, err := p.Newer()
	if err != nil {
		return 0, 0, err
	}
	for _, c := range newer { // what the lies were answered with
		kept = c
		if err := ride(slots); err != nil {
			return 0, 0, err
		}
	}
	if rode == 0 {
		return 0, 0, errors.New("attack: nobody rode")
	}
	if err := s.upload(ctx, gates); err != nil {
		return 0, 0, err
	}
	loss, err = s.unpaid(ctx, p.Holder, rode)
	return 0, loss, err
}

// ownDevice uses the slots of an own phone again and again where nobody hears of
// it. The key that makes device proofs cannot be copied, and counts.
func ownDevice(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	const busFare = 200
	p, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierA})
	if err != nil {
		return 0, 0, err
	}
	buses, err := s.readers(ctx, 'V', 12)
	if err != nil {
		return 0, 0, err
	}
	h, err := s.ride(ctx, raid{riders: clones(1, p, knows(p)), readers: buses, fare: busFare, every: every, until: 6 * hour, deaf: true, first: begin(1)})
	if err == nil && h.taps == 0 {
		err = errors.New("attack: not even the first ride was taken")
	}
	return (slots + payload.SpareUses) * busFare, h.taken, err
}

// relayed carries APDUs between a victim's phone and distant readers: before the
// PIN window opens, while it is open, and after.
func relayed(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 4)
	if err != nil {
		return 0, 0, err
	}
	taps := func(n int) {
		for i := range n {
			s.Clock.Advance(20 * time.Second)
			if _, err := gates[i%len(gates)].Tap(ctx, victim, cap1); err == nil {
				loss += cap1
			}
		}
	}
	taps(4)
	if err := victim.EnterPIN(victim.PIN); err != nil {
		return 0, 0, err
	}
	taps(8)
	s.Clock.Advance(10 * time.Minute)
	taps(4)
	return 3 * cap1, loss, s.upload(ctx, gates)
}

// clockBack rides on yesterday's slots with the clocks of phone and terminal set
// back to yesterday.
func clockBack(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	yesterday := s.Clock.Shifted(-24 * time.Hour)
	gate, err := s.ReaderWith(ctx, city.ReaderSpec{Class: 'G', Now: yesterday})
	if err != nil {
		return 0, 0, err
	}
	if err := gate.Refresh(ctx); err != nil {
		return 0, 0, err
	}
	s.Clock.Advance(24 * time.Hour)
	p.Shift(-24 * time.Hour)
	var rode token.Amount
	for p.Live() > 0 {
		if err := p.EnterPIN(p.PIN); err != nil {
			return 0, 0, err
		}
		if _, err := gate.Tap(ctx, p, cap1); err != nil {
			break
		}
		rode += cap1
		s.Clock.Advance(2 * time.Minute)
	}
	if _, err := gate.Upload(ctx); err != nil {
		return 0, 0, err
	}
	loss, err = s.unpaid(ctx, p.Holder, rode)
	return limit, loss, err
}

// deafGates is a clone of a wallet that was suspended, at gates that are kept
// from hearing of it. Old lists let less through, and then nothing without proof.
func deafGates(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	const left = 6 * hour
	victim, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 6)
	if err != nil {
		return 0, 0, err
	}
	if err := s.poll(ctx, gates); err != nil {
		return 0, 0, err
	}
	if _, err := s.Issuer.Suspend(ctx, string(victim.Ref), "holder called"); err != nil {
		return 0, 0, err
	}
	h, err := s.ride(ctx, raid{riders: clones(1, victim, knows(victim)), readers: gates, fare: cap1, less: staleCap, every: every,
		until: left, deaf: true, first: begin(1)})
	fresh, stale := bound(1, cap1, 30*time.Minute-uploads-polls), bound(1, staleCap, left-30*time.Minute-uploads-polls)
	return fresh + stale, h.taken, err
}
