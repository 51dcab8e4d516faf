package quorum

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
)

// Approve approves a request by its digest, which says that the approver means
// the same request. Once more is as good as once.
func (s *Service) Approve(ctx context.Context, c access.Caller, id string, digest [32]byte) (Approval, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ApprovalDecide, "approvals"); err != nil {
		return Approval{}, err
	}
	a, err := s.find(ctx, c, id)
	if err != nil {
		return Approval{}, err
	}
	who, err := s.people(ctx, a.Verb, c.ID, a.Requester)
	if err != nil {
		return Approval{}, err
	}
	refuse := func(reason string, err error) (Approval, error) {
		return Approval{}, s.cfg.Gate.Refuse(ctx, c, access.ApprovalDecide, a.ID, reason, err)
	}
	switch {
	case a.Requester == c.ID, who[a.Requester] == who[c.ID]:
		return refuse("own", ErrOwn)
	case !slices.Contains(s.cfg.Rules[a.Verb].Approvers, c.ID):
		return refuse("no-approver", ErrVoter)
	case subtle.ConstantTimeCompare(a.Digest[:], digest[:]) != 1:
		return refuse("digest", ErrDigest)
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.ApprovalDecide, a.ID, told("approved", a)); err != nil {
		return Approval{}, err
	}
	return s.change(ctx, c, access.ApprovalDecide, a, func(a *Approval, now time.Time) error {
		if slices.ContainsFunc(a.Votes, func(v Vote) bool { return v.Approver == c.ID }) {
			return nil
		}
		if a.State != Pending {
			return ErrState
		}
		a.Votes = append(a.Votes, Vote{c.ID, now})
		if s.enough(*a, who) {
			a.State = Approved
		}
		return nil
	})
}

// people says who stands behind the approvers of a verb and behind others. The
// name of somebody who may not act any more is "", and so is that of an approver whose key
// cannot be read: that one does not count, and the others do. Of the others it must be known
// who they are, so that nobody approves what is its own.
func (s *Service) people(ctx context.Context, v Verb, others ...string) (map[string]string, error) {
	who := map[string]string{}
	for _, id := range slices.Concat(s.cfg.Rules[v].Approvers, others) {
		who[id] = id
		if s.cfg.Key == nil {
			continue
		}
		var err error
		who[id], err = s.cfg.Key(ctx, id)
		if fault.IsUnreadable(err) && !slices.Contains(others, id) {
			s.passOver(ctx, "the key of an approver cannot be read: nothing counts that it approves", err)
			who[id], err = "", nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking for who approves: %w", err)
		}
	}
	return who, nil
}

// enough counts the people who voted and may still approve, without who asked.
func (s *Service) enough(a Approval, who map[string]string) bool {
	rule := s.cfg.Rules[a.Verb]
	seen := map[string]bool{"": true, who[a.Requester]: true}
	n := 0
	for _, v := range a.Votes {
		if p := who[v.Approver]; v.Approver != a.Requester && slices.Contains(rule.Approvers, v.Approver) && !seen[p] {
			seen[p] = true
			n++
		}
	}
	return n >= max(a.Needed, rule.Needed)
}

// Cancel takes a request back. Who asked may, and every approver.
func (s *Service) Cancel(ctx context.Context, c access.Caller, id string) (Approval, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ApprovalRequest, "approvals"); err != nil {
		return Approval{}, err
	}
	a, err := s.find(ctx, c, id)
	if err != nil {
		return Approval{}, err
	}
	if a.Requester != c.ID && !slices.Contains(s.cfg.Rules[a.Verb].Approvers, c.ID) {
		return Approval{}, s.cfg.Gate.Refuse(ctx, c, access.ApprovalRequest, a.ID, "no-approver", ErrVoter)
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.ApprovalRequest, a.ID, told("cancelled", a)); err != nil {
		return Approval{}, err
	}
	return s.change(ctx, c, access.ApprovalRequest, a, func(a *Approval, now time.Time) error {
		switch a.State {
		case Cancelled: // since when it was
			return nil
		case Pending, Approved:
			a.State, a.EndedAt = Cancelled, now
			return nil
		}
		return ErrState
	})
}

// change compares and swaps. A refusal that only the row can tell is recorded.
func (s *Service) change(ctx context.Context, c access.Caller, right access.Action, a Approval, do func(*Approval, time.Time) error) (Approval, error) {
	now, err := s.now(ctx)
	if err != nil {
		return Approval{}, err
	}
	out, err := s.cfg.Store.Change(ctx, a.ID, func(a *Approval) error {
		if a.at(now).State == Expired {
			return ErrState
		}
		return do(a, now)
	})
	if errors.Is(err, ErrState) {
		return Approval{}, s.cfg.Gate.Refuse(ctx, c, right, a.ID, "state", ErrState)
	}
	return out.at(now), err
}
