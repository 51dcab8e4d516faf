package attack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/token"
)

// taps lets a phone ride at a gate and returns the records that the gate keeps.
func (s *stage) taps(ctx context.Context, p *sim.Phone, gate *city.Reader, n int) (all []terminal.Tap, err error) {
	for range n {
		s.Clock.Advance(2 * time.Minute)
		if err := p.EnterPIN(p.PIN); err != nil {
			return nil, err
		}
		t, err := gate.Tap(ctx, p, fare)
		if err != nil {
			return nil, fmt.Errorf("an honest ride: %w", err)
		}
		all = append(all, t)
	}
	return all, nil
}

// ridden is a new phone that rode n times at a gate, and what the gate keeps of it.
func (s *stage) ridden(ctx context.Context, n int) (*sim.Phone, *city.Reader, []terminal.Tap, error) {
	p, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return nil, nil, nil, err
	}
	gate, err := s.Reader(ctx, 'G')
	if err != nil {
		return nil, nil, nil, err
	}
	taps, err := s.taps(ctx, p, gate, n)
	return p, gate, taps, err
}

// operator hands in, beside true records, the same ones with higher amounts,
// under other serials, and ones of slots that never paid.
func operator(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, gate, trueOnes, err := s.ridden(ctx, 3)
	if err != nil {
		return 0, 0, err
	}
	var made []wire.Tap
	for _, t := range trueOnes {
		dearer, other, invented := sim.WireTap(t), sim.WireTap(t), sim.WireTap(t)
		dearer.Amount *= 3
		other.TermSeq += 1000
		invented.UD[4] += 5 // a slot further on
		invented.OfflineSeq += 5
		_, _ = rand.Read(invented.MAC2[:])
		_, _ = rand.Read(invented.TAC[:])
		made = append(made, dearer, other, invented)
	}
	if err := s.hand(ctx, gate, made); err != nil {
		return 0, 0, err
	}
	if _, err := gate.Upload(ctx); err != nil {
		return 0, 0, err
	}
	if err := s.hand(ctx, gate, made); err != nil {
		return 0, 0, err
	}
	paid, err := p.Paid(ctx)
	return 0, excess(paid, 3*fare), err
}

// forges guesses at the MACs of a phone's slots, in batches, until the service
// hears no more of them. True records come a day late, and are paid.
func forges(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, gate, trueOnes, err := s.ridden(ctx, 1)
	if err != nil {
		return 0, 0, err
	}
	told, refused := 0, 0
	for range 20 {
		var made []wire.Tap
		for n := range 10 {
			lie := sim.WireTap(trueOnes[0])
			lie.UD[4] += byte(1 + n%8)
			lie.OfflineSeq += uint16(1 + n%8)
			_, _ = rand.Read(lie.TAC[:])
			_, _ = rand.Read(lie.MAC2[:])
			made = append(made, lie)
		}
		switch err := s.hand(ctx, gate, made); {
		case err == nil:
			told += len(made)
		case client.IsProblem(err, "too-fast"):
			refused++
		default:
			return 0, 0, err
		}
	}
	if refused == 0 || told > 32 {
		return 0, 0, fmt.Errorf("attack: the operator was told of %d guesses, and refused %d times", told, refused)
	}
	if _, err := s.taps(ctx, p, gate, 1); err != nil { // the holder is not locked out
		return 0, 0, err
	}
	s.Clock.Advance(24 * hour)
	if _, err := gate.Upload(ctx); err != nil {
		return 0, 0, err
	}
	paid, err := p.Paid(ctx)
	if err == nil && paid < 2*fare {
		err = fmt.Errorf("attack: of true records only %d fen were paid", paid)
	}
	return 0, excess(paid, 2*fare), err
}

// hand uploads records past the terminal's own queue.
func (s *stage) hand(ctx context.Context, gate *city.Reader, taps []wire.Tap) error {
	_, err := s.Terminal.UploadTaps(ctx, gate.ID(), taps)
	return err
}

// replayed hands true records in again: reversed, twice in one batch, and as
// another terminal's.
func replayed(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 2)
	if err != nil {
		return 0, 0, err
	}
	taps, err := s.taps(ctx, p, gates[0], 4)
	if err != nil {
		return 0, 0, err
	}
	var records []wire.Tap
	for _, t := range taps {
		records = append(records, sim.WireTap(t))
	}
	slices.Reverse(records)
	again := append(slices.Clone(records), records...)
	if err := s.hand(ctx, gates[0], again); err != nil {
		return 0, 0, err
	}
	if _, err := gates[0].Upload(ctx); err != nil {
		return 0, 0, err
	}
	_ = s.hand(ctx, gates[1], records) // refused as a whole, or one by one
	if _, err := p.Sync(ctx); err != nil {
		return 0, 0, err
	}
	if err := s.hand(ctx, gates[0], records); err != nil {
		return 0, 0, err
	}
	paid, err := p.Paid(ctx)
	return 0, excess(paid, token.Amount(len(taps))*fare), err
}

// locked tries to spend a victim's slots and PIN tries without his keys: with a
// reader that does not know the masters, and with records of wrong PINs that
// never were.
func locked(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 1)
	if err != nil {
		return 0, 0, err
	}
	rogue, err := s.ReaderWith(ctx, city.ReaderSpec{Class: 'G', Rogue: true})
	if err != nil {
		return 0, 0, err
	}
	had := p.Live()
	if err := p.EnterPIN(p.PIN); err != nil {
		return 0, 0, err
	}
	for range 9 {
		if _, err := rogue.Tap(ctx, p, fare); err == nil {
			return 0, 0, errors.New("attack: a reader without keys took money")
		}
	}
	loss += token.Amount(had-p.Live()) * cap1
	taps, err := s.taps(ctx, p, gates[0], 1)
	if err != nil {
		return 0, 0, err
	}
	var lies []wire.Tap
	for n := range 20 {
		lie := sim.WireTap(taps[0])
		lie.UD[4] += byte(1 + n%8)
		lie.OfflineSeq += uint16(1 + n%8)
		_, _ = rand.Read(lie.TAC[:])
		_, _ = rand.Read(lie.MAC2[:])
		lies = append(lies, lie)
	}
	_ = s.hand(ctx, gates[0], lies) // a caller who guesses may be shut out: that is his own loss
	if _, err := p.Sync(ctx); err != nil {
		return 0, 0, fmt.Errorf("the victim's sync: %w", err)
	}
	state, err := p.State(ctx)
	if err != nil {
		return 0, 0, err
	}
	if state != "ACTIVE" {
		loss += limit
	}
	if _, err := s.taps(ctx, p, gates[0], 1); err != nil {
		loss += limit
	}
	return 0, loss, nil
}
