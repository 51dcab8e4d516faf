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

// Act is one exact request that somebody is about to have done.
type Act struct {
	Verb         Verb
	Method, Path string        // [Run] and the command for what is done at the machine
	Body         []byte        // JSON
	Right        access.Action // what the request itself needs, approved or not
	// Fits says what would make the request fail in any case, now that it is approved:
	// then the approval is not used up. nil: nothing can be seen beforehand.
	Fits func(context.Context) error
}

// Use lets an act through if its verb needs no approval, or if it was approved: the
// approval is then used up, before anything is done. Over HTTP the caller's right to
// the act is judged first, and an approval is good only for the caller who asked for
// it. It returns [ErrNeeded], or a [SpentError], when there is no approval.
func (s *Service) Use(ctx context.Context, c access.Caller, a Act) error {
	if _, ok := s.cfg.Rules[a.Verb]; !ok {
		return nil
	}
	if a.Method != Run {
		if err := s.cfg.Gate.Allow(ctx, c, a.Right, string(a.Verb)); err != nil {
			return err
		}
	}
	return s.redeem(ctx, c, a, func(found Approval, who map[string]string) bool {
		return s.enough(found, who)
	})
}

// Redeem is [Service.Use] for a verb whose rule is not in the configuration any more:
// an approval counts that was given under the rule of its time.
func (s *Service) Redeem(ctx context.Context, c access.Caller, a Act) error {
	return s.redeem(ctx, c, a, func(Approval, map[string]string) bool { return true })
}

// redeem uses up the oldest approval of an act that is good, and records which.
func (s *Service) redeem(ctx context.Context, c access.Caller, a Act, good func(Approval, map[string]string) bool) error {
	digest, _, err := s.digest(a.Verb, a.Method, a.Path, a.Body)
	if err != nil {
		return err
	}
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	w := Which{Digest: digest, Requester: c.ID, Now: now}
	if a.Method == Run { // whoever stands at the machine may use it
		w.Requester = ""
	}
	used, err := s.oldest(ctx, w, a, good)
	if errors.Is(err, errUnfit) {
		why := ErrNeeded
		if fault.IsUnreadable(err) {
			why = err
		}
		if err = s.spent(ctx, w); err == nil {
			err = why
		}
		if errors.Is(err, ErrNeeded) || errors.Is(err, errUnfit) {
			err = s.cfg.Gate.Refuse(ctx, c, a.Right, string(a.Verb), "approval", err)
		}
	}
	if err != nil {
		return err
	}
	return s.cfg.Gate.Recorder.Record(ctx, audit.Entry{Caller: c, Action: a.Right, Object: used.ID, Outcome: audit.Allowed,
		Reason: told("used", used), Request: audit.RequestID(ctx)})
}

// oldest uses up the oldest one that is good, however many there are before it that are
// not, or returns errUnfit; of those that cannot be read the error where no other is good.
func (s *Service) oldest(ctx context.Context, w Which, a Act, good func(Approval, map[string]string) bool) (Approval, error) {
	unfit := errUnfit
	for behind := (Approval{}); ; {
		ready, err := s.cfg.Store.Ready(ctx, w, behind)
		if err != nil {
			return Approval{}, err
		}
		if len(ready) == 0 {
			return Approval{}, unfit
		}
		for _, behind = range ready {
			used, err := s.useUp(ctx, behind.ID, a, good)
			switch {
			case fault.IsUnreadable(err):
				unfit = fmt.Errorf("%w: approval %s: %w", errUnfit, behind.ID, err)
				s.passOver(ctx, "an approval cannot be judged, because what is stored for it cannot be read", unfit)
			case !errors.Is(err, errUnfit):
				return used, err
			}
		}
	}
}

// errUnfit reports an approval that is not good for an act.
var errUnfit = errors.New("the approval is not good for this")

// useUp moves an approval to [Used] if it is good for an act that fits, or returns
// errUnfit.
func (s *Service) useUp(ctx context.Context, id string, a Act, good func(Approval, map[string]string) bool) (Approval, error) {
	asked, err := s.cfg.Store.Approval(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	who, err := s.people(ctx, a.Verb, asked.Requester) // who asked does not change
	if err != nil {
		return Approval{}, err
	}
	now, err := s.now(ctx)
	if err != nil {
		return Approval{}, err
	}
	usable := func(found Approval) bool { return found.at(now).State == Approved && good(found, who) }
	if a.Fits != nil && usable(asked) {
		if err := a.Fits(ctx); err != nil {
			return Approval{}, err
		}
	}
	return s.cfg.Store.Change(ctx, id, func(found *Approval) error {
		if !usable(*found) {
			return errUnfit
		}
		found.State, found.EndedAt = Used, now
		return nil
	})
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

// spent returns a [SpentError] when this request was let through, in the life of its
// approval.
func (s *Service) spent(ctx context.Context, w Which) error {
	a, ok, err := s.cfg.Store.Spent(ctx, w)
	if err != nil || !ok {
		return err
	}
	return &SpentError{a.ID, a.EndedAt}
}
