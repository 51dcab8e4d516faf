package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
)

// Use is UseFor a request of which nothing more can be seen beforehand.
func (s *Service) Use(ctx context.Context, c access.Caller, right access.Action, v Verb, method, path string, body []byte) error {
	return s.UseFor(ctx, c, right, v, method, path, body, nil)
}

// UseFor lets one exact request through, if its verb needs no approval or if it
// was approved: the approval is then used up, before anything is done. Over HTTP
// it is good for who asked for it only. right is what the request itself needs,
// and is judged first. fits says of a request that is approved what would make it
// fail in any case; then nothing is used up. nil: nothing is known of that.
func (s *Service) UseFor(ctx context.Context, c access.Caller, right access.Action, v Verb, method, path string, body []byte, fits func(context.Context) error) error {
	if _, ok := s.cfg.Rules[v]; !ok {
		return nil
	}
	if method != Run {
		if err := s.cfg.Gate.Allow(ctx, c, right, string(v)); err != nil {
			return err
		}
	}
	return s.redeem(ctx, c, right, v, method, path, body, fits, func(a Approval, who map[string]string) bool {
		return s.enough(a, who) && (method == Run || a.Requester == c.ID)
	})
}

// Redeem is Use for a verb whose rule is not in the configuration any more: an
// approval counts that was given under the rule of its time.
func (s *Service) Redeem(ctx context.Context, c access.Caller, right access.Action, v Verb, method, path string, body []byte) error {
	return s.redeem(ctx, c, right, v, method, path, body, nil, func(Approval, map[string]string) bool { return true })
}

func (s *Service) redeem(ctx context.Context, c access.Caller, right access.Action, v Verb, method, path string, body []byte, fits func(context.Context) error, good func(Approval, map[string]string) bool) error {
	digest, _, err := s.digest(v, method, path, body)
	if err != nil {
		return err
	}
	ids, err := s.cfg.Store.Ready(ctx, digest)
	if err != nil {
		return err
	}
	for _, id := range ids {
		asked, err := s.cfg.Store.Approval(ctx, id)
		if err != nil {
			return err
		}
		who, err := s.people(ctx, v, asked.Requester) // who asked does not change
		if err != nil {
			return err
		}
		if fits != nil && asked.at(s.cfg.Now()).State == Approved && good(asked, who) {
			if err := fits(ctx); err != nil {
				return err
			}
		}
		used, err := s.cfg.Store.Change(ctx, id, func(a *Approval) error {
			if a.at(s.cfg.Now()).State != Approved || !good(*a, who) {
				return ErrState
			}
			a.State, a.EndedAt = Used, s.cfg.Now()
			return nil
		})
		if errors.Is(err, ErrState) {
			continue
		}
		if err != nil {
			return err
		}
		return s.cfg.Gate.Recorder.Record(ctx, audit.Entry{Caller: c, Action: right, Object: used.ID, Outcome: audit.Allowed,
			Reason: told("used", used), Request: audit.RequestID(ctx)})
	}
	if err := s.spent(ctx, c, digest, method); err != nil {
		return s.cfg.Gate.Refuse(ctx, c, right, string(v), "approval", err)
	}
	return s.cfg.Gate.Refuse(ctx, c, right, string(v), "approval", ErrNeeded)
}

// SpentError is [ErrNeeded] for a request that was let through before: its answer may
// have been lost. Whether it was done is for who asks to see; an approval is good once.
type SpentError struct {
	ID string
	At time.Time
}

func (e *SpentError) Error() string { return e.text().Error() }

func (e *SpentError) text() error {
	return fault.New(fault.ApprovalNeeded, fmt.Sprintf("this exact request was let through at %s by approval %s, which is used up: see whether it was done, and ask anew if it was not",
		e.At.UTC().Format(time.RFC3339), e.ID))
}

// Unwrap gives the text that is fit for callers, and [ErrNeeded].
func (e *SpentError) Unwrap() []error { return []error{e.text(), ErrNeeded} }

// spent returns a [SpentError] when c had this request let through, in the life of its
// approval. At the machine whoever stands there is told.
func (s *Service) spent(ctx context.Context, c access.Caller, digest [32]byte, method string) error {
	all, err := s.cfg.Store.Spent(ctx, digest)
	if err != nil {
		return err
	}
	for _, a := range all {
		if s.cfg.Now().Before(a.ExpiresAt) && (method == Run || a.Requester == c.ID) {
			return &SpentError{a.ID, a.EndedAt}
		}
	}
	return nil
}
