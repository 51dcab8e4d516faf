package denylist

import (
	"context"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
)

// Order is what an operator wants: an entry, or other switches.
type Order struct {
	Line     *Line // of kind KeyID, MinCtr or SAM; one that has ended lifts the order
	Switches *deny.Switches
	Reason   string
}

// longestOrder bounds an entry: what is to last longer is done by taking the key
// or the module out of use.
const longestOrder = 400 * 24 * time.Hour

// Order keeps what an operator wants and publishes it. Tokens are not ordered:
// they are suspended or deleted, and the list follows.
func (s *Service) Order(ctx context.Context, c access.Caller, o Order, a access.Attempt) (Version, error) {
	object := "switches"
	if o.Line != nil {
		object = o.Line.Kind.String() + ":" + o.Line.Name
	}
	// Who may not order learns nothing of what could be ordered.
	if err := s.cfg.Gate.Allow(ctx, c, access.DenyManage, "denylist"); err != nil {
		return Version{}, err
	}
	if err := s.look(ctx); err != nil {
		return Version{}, err
	}
	if err := s.check(o); err != nil {
		return Version{}, err
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.DenyManage, object, o.Reason); err != nil {
		return Version{}, err
	}
	if err := s.nameable(ctx, o.Line); err != nil {
		return Version{}, err
	}
	if err := s.cfg.Orders.Order(ctx, c.ID, a, o, s.now()); err != nil {
		return Version{}, fmt.Errorf("keeping an order: %w", err)
	}
	arrived := s.began.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.publish(ctx, arrived); err != nil {
		return Version{}, err
	}
	return s.head, nil
}

func (s *Service) check(o Order) error {
	switch {
	case (o.Line == nil) == (o.Switches == nil):
		return fmt.Errorf("%w: an entry or switches, not both", ErrOrder)
	case o.Switches != nil:
		b := o.Switches.Bytes()
		if _, err := deny.ParseSwitches(b[:]); err != nil || uint64(o.Switches.Cap) > 1<<32-1 {
			return fmt.Errorf("%w: switches that mean nothing", ErrOrder)
		}
		return nil
	case o.Line.Kind == deny.Token:
		return fmt.Errorf("%w: suspend or delete the token", ErrOrder)
	case (o.Line.Kind == deny.MinCtr) != (o.Line.Ctr != 0), o.Line.Until.Unix() <= 0,
		o.Line.Until.After(s.now().Add(longestOrder)):
		return fmt.Errorf("%w: counter or end", ErrOrder)
	case o.Line.Kind == deny.MinCtr && !token.Ref(o.Line.Name).Valid():
		return fmt.Errorf("%w: not a token reference", ErrOrder)
	}
	return nil
}

// nameable refuses what could not be printed for readers, so that nobody believes in
// an order of which no reader hears.
func (s *Service) nameable(ctx context.Context, l *Line) error {
	if l == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.numbers(ctx, []Line{*l}); err != nil {
		return err
	}
	if _, err := s.entry(*l); err != nil {
		return fmt.Errorf("%w: no such key id, module or token", ErrOrder)
	}
	return nil
}

// Fresh reports whether a terminal that held a version at a moment held what it
// could have: no newer one had been out for longer than a reader may lag behind.
// It is for services that have passed a gate of their own.
func (s *Service) Fresh(ctx context.Context, version uint64, at time.Time) (bool, error) {
	next, newer, known, err := s.cfg.History.After(ctx, version)
	if err != nil || !known {
		return false, err
	}
	return !newer || at.Sub(next) <= deny.Stale, nil
}

// Listed returns the first version, published at or after a moment, that denies
// a token; ok is false when none did. It is for services that have passed a gate
// of their own.
func (s *Service) Listed(ctx context.Context, ref token.Ref, since time.Time) (v Version, ok bool, err error) {
	return s.cfg.History.Listed(ctx, ID{deny.Token, string(ref)}, since)
}

// Version returns the number of the last version. It is for services that have
// passed a gate of their own.
func (s *Service) Version(ctx context.Context) (uint64, error) {
	arrived := s.began.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.publish(ctx, arrived); err != nil {
		return 0, err
	}
	return s.head.Number, nil
}

// Now returns the last version and its lines, for operators.
func (s *Service) Now(ctx context.Context, c access.Caller) (Version, []Line, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.DenyRead, "denylist"); err != nil {
		return Version{}, nil, err
	}
	arrived := s.began.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.publish(ctx, arrived); err != nil {
		return Version{}, nil, err
	}
	lines := make([]Line, 0, len(s.lines))
	for _, l := range s.lines {
		lines = append(lines, l)
	}
	return s.head, lines, nil
}
