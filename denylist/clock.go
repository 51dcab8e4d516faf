package denylist

import (
	"context"
	"fmt"
	"time"
)

const (
	// apart is how far clocks that are right may be apart; readers allow as much.
	apart = 2 * time.Minute
	// jitter is how exactly a clock can be read over a network.
	jitter = time.Second
	// wrong is when somebody has to see to a clock.
	wrong = 5 * time.Second
)

// look compares this process's clock with the one that all go by. The answer is of some
// moment between question and answer, so an answer that was long in coming says little:
// what was known before stands as far as it can be true.
func (s *Service) look(ctx context.Context) error {
	before := s.cfg.Now()
	at, err := s.cfg.Clock(ctx)
	if err != nil {
		return fmt.Errorf("dating the deny list: %w", err)
	}
	least, most := at.Sub(s.cfg.Now()), at.Sub(before)
	was := time.Duration(s.off.Load())
	off := max(min(was, most), least)
	if (off-was).Abs() <= jitter && (off == 0) == (was == 0) {
		return nil
	}
	s.off.Store(int64(off))
	if off.Abs() > wrong {
		s.cfg.Log.WarnContext(ctx, "this machine's clock is wrong: the deny list goes by the database's", "off", (-off).Round(time.Second).String())
	}
	return nil
}

// now is the time by the clock that all go by, as it was looked at last.
func (s *Service) now() time.Time { return s.cfg.Now().Add(time.Duration(s.off.Load())) }
