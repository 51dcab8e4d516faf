package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
)

// fobTries is how many wrong PINs a secure element takes.
const fobTries = 3

// falseCourier is between service and key fob: it loses and repeats what it
// carries, in the wrong order, and changes it. Then the fob pays all it can.
func falseCourier(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	f, err := s.Fob(ctx, city.Spec{PIN: s.pin(), TopUp: 3 * limit})
	if err != nil {
		return 0, 0, err
	}
	var scripts, receipts [][]byte
	for range 6 {
		receipt := f.Receipt(ctx)
		receipts = append(receipts, receipt)
		for _, old := range receipts { // late, twice, by somebody else
			if _, err := f.Fetch(ctx, s.Terminal, old); err != nil {
				return 0, 0, err
			}
		}
		script, err := f.Fetch(ctx, s.Wallet, receipt) // this one was lost
		if err == nil && len(script) > 0 {
			script, err = f.Fetch(ctx, s.Terminal, nil)
		}
		if err != nil {
			return 0, 0, err
		}
		if len(script) == 0 {
			break
		}
		for range 40 {
			bad := slices.Clone(script)
			bad[s.rand.IntN(len(bad))] ^= 1 << s.rand.IntN(8)
			if f.Deliver(ctx, bad) == nil {
				loss += limit
			}
		}
		scripts = append(scripts, script)
		for _, b := range append(scripts, scripts...) {
			_ = f.Deliver(ctx, b)
		}
	}
	if len(scripts) < 2 {
		return 0, 0, fmt.Errorf("attack: %d scripts were carried", len(scripts))
	}
	more, err := s.spend(ctx, f)
	return 0, loss + more, err
}

// wrongFob gives a fob's scripts to another one of the thief's, which is real,
// and to one that was never issued.
func wrongFob(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Fob(ctx, city.Spec{PIN: s.pin(), TopUp: 3 * limit})
	if err != nil {
		return 0, 0, err
	}
	thief, err := s.Fob(ctx, city.Spec{PIN: s.pin(), TopUp: 100})
	if err != nil {
		return 0, 0, err
	}
	fresh, err := s.Fob(ctx, city.Spec{PIN: s.pin(), TopUp: 100})
	if err != nil {
		return 0, 0, err
	}
	if err := thief.InStep(ctx, s.Wallet); err != nil {
		return 0, 0, err
	}
	carried := 0
	for range 4 {
		script, err := victim.Fetch(ctx, s.Terminal, victim.Receipt(ctx))
		if err != nil {
			return 0, 0, err
		}
		if len(script) == 0 {
			break
		}
		carried++
		for _, other := range []*sim.Fob{thief, fresh} {
			if other.Deliver(ctx, script) == nil {
				loss += limit
			}
		}
		if err := victim.Deliver(ctx, script); err != nil {
			return 0, 0, fmt.Errorf("the fob's own script: %w", err)
		}
	}
	if carried < 2 {
		return 0, 0, fmt.Errorf("attack: %d scripts were carried", carried)
	}
	more, err := s.spend(ctx, thief)
	return 0, loss + more, err
}

// spend lets a fob pay all that it can, and returns what of it does not come out
// of its account.
func (s *stage) spend(ctx context.Context, f *sim.Fob) (lost token.Amount, err error) {
	held, err := f.Balance(ctx)
	if err != nil {
		return 0, err
	}
	b, err := f.Balances(ctx)
	if err != nil {
		return 0, err
	}
	lost = excess(held, b.Reserve)
	gates, err := s.gates(ctx, 3)
	if err != nil {
		return 0, err
	}
	var rode token.Amount
	for n := 0; held > 0; n++ {
		s.Clock.Advance(2 * time.Minute)
		if sw, err := f.Verify(ctx, f.PIN); err != nil || sw != apdu.OK {
			return 0, errors.Join(fmt.Errorf("attack: the right PIN is answered %v", sw), err)
		}
		fare := min(held, cap1)
		if _, err := gates[n%len(gates)].Tap(ctx, f, fare); err != nil {
			return 0, fmt.Errorf("an honest ride: %w", err)
		}
		rode += fare
		if held, err = f.Balance(ctx); err != nil {
			return 0, err
		}
	}
	if err := s.upload(ctx, gates); err != nil {
		return 0, err
	}
	if err := f.InStep(ctx, s.Terminal); err != nil {
		return 0, err
	}
	more, err := s.unpaid(ctx, f.Holder, rode)
	return lost + more, err
}

// cutPower cuts a fob's power in the middle of everything that it writes, so that
// it forgets what it paid, and tells its account the rest.
func cutPower(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	f, err := s.Fob(ctx, city.Spec{PIN: s.pin(), TopUp: 3 * limit})
	if err != nil {
		return 0, 0, err
	}
	if err := f.InStep(ctx, s.Wallet); err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 4)
	if err != nil {
		return 0, 0, err
	}
	var rode token.Amount
	cuts := 0
	for n := range 40 {
		s.Clock.Advance(2 * time.Minute)
		f.Memory.Cut = nil
		if err := f.Power(); err != nil {
			return 0, 0, err
		}
		if sw, err := f.Verify(ctx, f.PIN); err != nil || sw != apdu.OK {
			return 0, 0, errors.Join(fmt.Errorf("attack: the right PIN is answered %v", sw), err)
		}
		if n%3 != 0 { // sometimes nothing is cut
			f.Memory.Cut = func(size int) int { cuts++; return s.rand.IntN(size + 1) }
		}
		if _, err := gates[s.rand.IntN(len(gates))].Tap(ctx, f, fare); err == nil {
			rode += fare
		}
	}
	f.Memory.Cut = nil
	if err := f.Power(); err != nil {
		return 0, 0, err
	}
	if rode == 0 || cuts == 0 {
		return 0, 0, fmt.Errorf("attack: %d fen were ridden for and power was cut %d times", rode, cuts)
	}
	if err := s.upload(ctx, gates); err != nil {
		return 0, 0, err
	}
	if err := f.InStep(ctx, s.Wallet); err != nil {
		return 0, 0, err
	}
	loss, err = s.unpaid(ctx, f.Holder, rode)
	return 0, loss, err
}

// stolenFob has somebody's key fob: it taps without the PIN, and guesses that,
// cutting the power at each guess so that none of them counts: at the first thing
// that the fob writes then, or at the second.
func stolenFob(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	judged := 0
	for cut := range 2 {
		f, err := s.Fob(ctx, city.Spec{PIN: s.pin(), TopUp: 3 * limit})
		if err != nil {
			return 0, 0, err
		}
		if err := f.InStep(ctx, s.Wallet); err != nil {
			return 0, 0, err
		}
		held, err := f.Balance(ctx)
		if err != nil {
			return 0, 0, err
		}
		n, open, err := s.guesses(ctx, f, 1+cut)
		if err != nil {
			return 0, 0, err
		}
		if n > fobTries || open && n == fobTries {
			loss += held
		}
		taken, err := s.rideOn(ctx, f)
		if err != nil {
			return 0, 0, err
		}
		judged, loss, most = judged+n, loss+taken, most+expected(held)
	}
	if judged == 0 {
		return 0, 0, errors.New("attack: no guess was judged")
	}
	return most, loss, nil
}

// guesses tries PINs at a fob whose power is cut at the given write. It returns
// how many were judged, and whether the right one still opens the fob then.
func (s *stage) guesses(ctx context.Context, f *sim.Fob, cut int) (judged int, open bool, err error) {
	for range 4 * fobTries {
		writes := 0
		f.Memory.Cut = func(int) int {
			if writes++; writes == cut {
				return s.rand.IntN(8) // early: what comes later may be what was there before
			}
			return -1
		}
		sw, err := f.Verify(ctx, s.guess(f.PIN))
		if err != nil {
			return 0, false, err
		}
		if sw&0xFFF0 == 0x63C0 || sw == apdu.Blocked && judged < fobTries {
			judged++
		}
		f.Memory.Cut = nil
		if err := f.Power(); err != nil {
			return 0, false, err
		}
	}
	sw, err := f.Verify(ctx, f.PIN)
	if err != nil {
		return 0, false, err
	}
	return judged, sw == apdu.OK, f.Power()
}

// rideOn taps a fob whose PIN the thief does not have.
func (s *stage) rideOn(ctx context.Context, f *sim.Fob) (taken token.Amount, err error) {
	gate, err := s.Reader(ctx, 'G')
	if err != nil {
		return 0, err
	}
	for range slots {
		if _, err := gate.Tap(ctx, f, fare); err == nil {
			taken += fare
		}
		s.Clock.Advance(every)
	}
	return taken, nil
}
