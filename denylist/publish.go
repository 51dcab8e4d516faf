package denylist

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/terminal/deny"
)

// attempts is how often a version is tried for before others are left to it.
const attempts = 8

// Publish brings the published list in line with what it ought to be. All that
// was committed before the call is on the list when it returns. Callers that
// come while one is at work share the next one's.
func (s *Service) Publish(ctx context.Context) error {
	arrived := s.began.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publish(ctx, arrived)
}

// publish does nothing if a reconciliation that began after arrived has
// succeeded. The lock is held.
func (s *Service) publish(ctx context.Context, arrived uint64) error {
	if s.done > arrived {
		return nil
	}
	turn := s.began.Add(1)
	for range attempts {
		err := fault.Safely(func() error { return s.reconcile(ctx) })
		if errors.Is(err, ErrBehind) {
			continue
		}
		if err == nil {
			s.done = turn
		} else {
			s.loaded = false // whatever was or was not committed is read anew
		}
		return err
	}
	return ErrBehind
}

// reconcile publishes one version, if there is anything to publish.
func (s *Service) reconcile(ctx context.Context) error {
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	// Whether an entry is over is not for the date of a version to say: one that was
	// dated by a wrong clock must not end what others deny.
	if err := s.look(ctx); err != nil {
		return err
	}
	now := s.now()
	want, switches, err := s.wanted(ctx, now)
	if err != nil {
		return err
	}
	changes := difference(s.lines, want, now)
	if len(changes) > 0 || switches != s.head.Switches {
		next := Version{s.head.Number + 1, now, switches}
		if ahead := s.head.At.Sub(now); ahead > 0 && ahead <= apart {
			next.At = s.head.At // dates do not go back; one further ahead was wrong
		}
		if err := s.cfg.Store.Publish(ctx, next, changes); err != nil {
			return err
		}
		s.follow(next, changes)
	}
	return nil
}

// catchUp learns what other processes published.
func (s *Service) catchUp(ctx context.Context) error {
	if s.loaded {
		head, err := s.cfg.Store.Head(ctx)
		if err != nil {
			return err
		}
		if head.Number == s.head.Number {
			return nil
		}
		head, changes, err := s.cfg.Store.Changes(ctx, s.head.Number)
		if err == nil {
			s.follow(head, changes)
			return nil
		}
		if !errors.Is(err, ErrTooOld) {
			return err
		}
	}
	head, lines, err := s.cfg.Store.Published(ctx)
	if err != nil {
		return err
	}
	s.head, s.lines, s.loaded = head, make(map[ID]Line, len(lines)), true
	for _, l := range lines {
		s.lines[l.ID] = l
	}
	return nil
}

func (s *Service) follow(head Version, changes []Change) {
	for _, c := range changes {
		if c.Removed {
			delete(s.lines, c.ID)
		} else {
			s.lines[c.ID] = c.Line
		}
	}
	s.head = head
}

// wanted is the list as it ought to be. It holds all that is not over, and may
// hold what ended within the last second: entries end with whole seconds.
func (s *Service) wanted(ctx context.Context, now time.Time) (map[ID]Line, deny.Switches, error) {
	denied, err := s.cfg.Tokens.Denied(ctx, now.Add(-linger-time.Second))
	if err != nil {
		return nil, deny.Switches{}, fmt.Errorf("deriving the deny list: %w", err)
	}
	orders, switches, err := s.cfg.Orders.Wanted(ctx, now)
	if err != nil {
		return nil, deny.Switches{}, fmt.Errorf("deriving the deny list: %w", err)
	}
	want := make(map[ID]Line, len(denied)+len(orders))
	for _, d := range denied {
		l := Line{ID: ID{deny.Token, string(d.Ref)}, Until: wholeSecond(d.Until.Add(linger))}
		want[l.ID] = l
	}
	for _, l := range orders {
		want[l.ID] = l
	}
	return want, switches, nil
}

// wholeSecond rounds up: an entry ends no sooner than it should.
func wholeSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second).UTC()
	}
	return t.UTC()
}

// difference is what leads from one list to another. Entries that have ended
// leave both by themselves, without a change.
func difference(have, want map[ID]Line, now time.Time) (changes []Change) {
	for id, l := range have {
		if !now.Before(l.Until) {
			delete(have, id)
		} else if _, stays := want[id]; !stays {
			changes = append(changes, Change{l, true})
		}
	}
	for id, l := range want {
		old, there := have[id]
		if now.Before(l.Until) && (!there || old.Ctr != l.Ctr || !old.Until.Equal(l.Until)) {
			changes = append(changes, Change{Line: l})
		}
	}
	return changes
}
