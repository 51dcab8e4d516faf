package attack

import (
	"context"
	"errors"
	"fmt"
	"github.com/tapvault/tapvault/internal/sim"

	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
)

// sniffer is between a phone and a reader, and remembers every answer.
type sniffer struct {
	card    apdu.Transmitter
	answers [][]byte
}

func (s *sniffer) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := s.card.Transmit(ctx, command)
	s.answers = append(s.answers, append([]byte(nil), answer...))
	return answer, err
}

// parrot answers commands with what a phone answered before, in order.
type parrot struct {
	answers [][]byte
	n       int
}

func (p *parrot) Transmit(context.Context, []byte) ([]byte, error) {
	if p.n == len(p.answers) {
		return nil, errors.New("attack: nothing was sniffed that answers this")
	}
	p.n++
	return p.answers[p.n-1], nil
}

// sniffed plays what it heard at the same reader, at another one, and the next
// minute. MAC2 covers random, counter, serial and amount: a reader whose serial
// happens to be the same takes it, here on purpose. That is found at upload, and
// nobody is paid for it.
func sniffed(ctx context.Context, s *stage) (bound, loss token.Amount, err error) {
	victim, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 2)
	if err != nil {
		return 0, 0, err
	}
	if err := victim.EnterPIN(victim.PIN); err != nil {
		return 0, 0, err
	}
	heard := &sniffer{card: victim}
	if _, err := gates[0].Tap(ctx, heard, fare); err != nil {
		return 0, 0, fmt.Errorf("the victim's own tap: %w", err)
	}
	for _, g := range []*city.Reader{gates[1], gates[0], gates[1]} {
		_, _ = g.Tap(ctx, &parrot{answers: heard.answers}, fare)
		s.Clock.Advance(uploads)
	}
	if err := s.upload(ctx, gates); err != nil {
		return 0, 0, err
	}
	paid, err := victim.Paid(ctx)
	return 0, excess(paid, fare), err
}

// storage opens everything that lies in a phone's storage with another key.
func storage(ctx context.Context, s *stage) (bound, loss token.Amount, err error) {
	victim, err := s.Crack(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 1)
	if err != nil {
		return 0, 0, err
	}
	thief, err := victim.WithoutKeyStore()
	if err != nil {
		return 0, 0, err
	}
	clone, err := thief.Clone()
	if err != nil { // it does not open, which is the end of it
		return 0, 0, nil
	}
	if _, err := gates[0].Tap(ctx, clone, fare); err == nil {
		loss = limit
	}
	return 0, loss, nil
}

// guesser is a phone in the hands of somebody who does not know its PIN: he
// enters another one before each tap.
type guesser struct {
	*sim.Phone
	s *stage
}

func (g guesser) Ready() error { return g.EnterPIN(g.s.guess(g.PIN)) }

// guess is a PIN that is not the right one.
func (s *stage) guess(right string) string {
	for {
		if p := s.pin(); p != right {
			return p
		}
	}
}

// guesses is the most that wrong PINs buy at gates: each tap with one is a ride,
// the fifth suspends, and one upload and one poll follow it.
func guesses() token.Amount { return bound(1, cap1, 4*every) }

func unlocked(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 3)
	if err != nil {
		return 0, 0, err
	}
	h, err := s.ride(ctx, raid{riders: []rider{guesser{victim, s}}, readers: gates, fare: cap1, every: every, until: 3 * hour,
		first: begin(1)})
	return guesses() + expected(limit), h.taken, err
}

// expected is what a guess is worth on average: the chance that five guesses
// find a PIN, of a limit.
func expected(l token.Amount) token.Amount { return token.Amount(planned * float64(l)) }

// cloner is a clone that begins again with a fresh copy when its slots are used
// up, and opens its window with whatever PIN it has.
type cloner struct {
	from *sim.Cracked
	*sim.Clone
	pin func() string
}

func (c *cloner) Ready() (err error) {
	if c.Clone == nil || c.Clone.Live() == 0 {
		if c.Clone, err = c.from.Clone(); err != nil {
			return err
		}
	}
	c.Clone.EnterPIN(c.pin())
	return nil
}

// clones are n copies of one phone.
func clones(n int, from *sim.Cracked, pin func() string) (all []rider) {
	for range n {
		all = append(all, &cloner{from: from, pin: pin})
	}
	return all
}

// knows is a PIN that was seen.
func knows(p *sim.Cracked) func() string { return func() string { return p.PIN } }

// guessing is a PIN that was not.
func guessing(s *stage, p *sim.Cracked) func() string { return func() string { return s.guess(p.PIN) } }

func codeAtGates(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 3)
	if err != nil {
		return 0, 0, err
	}
	h, err := s.ride(ctx, raid{riders: clones(1, victim, guessing(s, victim)), readers: gates, fare: cap1, every: every,
		until: 3 * hour, first: begin(1)})
	return guesses(), h.taken, err
}

func codeAtVehicles(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB})
	if err != nil {
		return 0, 0, err
	}
	buses, err := s.readers(ctx, 'V', 3)
	if err != nil {
		return 0, 0, err
	}
	h, err := s.ride(ctx, raid{riders: clones(1, victim, guessing(s, victim)), readers: buses, fare: cap1, every: every,
		until: 2 * hour, deaf: true, first: begin(1)})
	return 0, h.taken, err
}

// visited takes a true MAC1 from a gate and looks for the PIN with it: among
// PINs that include the right one, none may stand out. Then it rides as 4P does.
func visited(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 3)
	if err != nil {
		return 0, 0, err
	}
	found, err := s.tryPINs(ctx, victim, gates[0])
	if err != nil {
		return 0, 0, err
	}
	pin := guessing(s, victim)
	if found != "" {
		pin = func() string { return found }
	}
	h, err := s.ride(ctx, raid{riders: clones(1, victim, pin), readers: gates, fare: cap1, every: every, until: 3 * hour, first: begin(1)})
	return guesses(), h.taken, err
}

func clonesAtGates(n int) func(context.Context, *stage) (token.Amount, token.Amount, error) {
	return func(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
		victim, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB, TopUp: limit})
		if err != nil {
			return 0, 0, err
		}
		gates, err := s.gates(ctx, max(5, n)) // a gate takes a slot once
		if err != nil {
			return 0, 0, err
		}
		first, until := s.begins(n), 4*hour
		if n > 1 {
			until = hour
		}
		h, err := s.ride(ctx, raid{riders: clones(n, victim, knows(victim)), readers: gates, fare: fare, every: every, until: until, first: first})
		return bound(n, fare, second(first, victim.Slots())), h.taken, err
	}
}

func clonesAtVehicles(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB})
	if err != nil {
		return 0, 0, err
	}
	buses, err := s.readers(ctx, 'V', 5)
	if err != nil {
		return 0, 0, err
	}
	h, err := s.ride(ctx, raid{riders: clones(10, victim, knows(victim)), readers: buses, fare: 200, every: every, until: 2 * hour, deaf: true})
	return 0, h.taken, err
}

// friends is a holder who gives clones of the own wallet away. What they ride
// for is taken from the holder later; the bound is that of clones.
func friends(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	const n = 3
	owner, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB, RealName: true})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 12)
	if err != nil {
		return 0, 0, err
	}
	first := s.begins(n)
	h, err := s.ride(ctx, raid{riders: clones(n, owner, knows(owner)), readers: gates, fare: fare, every: every, until: 3 * hour, first: first})
	return bound(n, fare, second(first, owner.Slots())), h.taken, err
}

// harvest is a clone of each of several phones.
func harvest(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	const victims = 5
	gates, err := s.gates(ctx, 5)
	if err != nil {
		return 0, 0, err
	}
	first := s.begins(victims)
	var all []rider
	for i := range victims {
		v, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierB})
		if err != nil {
			return 0, 0, err
		}
		all = append(all, clones(1, v, knows(v))...)
		most += bound(1, fare, second(first[i:i+1], v.Slots()))
	}
	h, err := s.ride(ctx, raid{riders: all, readers: gates, fare: fare, every: every, until: 4 * hour, first: first})
	return most, h.taken, err
}
