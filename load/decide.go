package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/internal/digits"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Verdict is what somebody decides of an order that its card does not explain.
type Verdict string

// Verdicts.
const (
	Settle  Verdict = "SETTLE"  // the card obeyed
	Reverse Verdict = "REVERSE" // it did not; of a dispute: the reversal stays
)

// Verdicts lists every verdict.
var Verdicts = []Verdict{Settle, Reverse}

// Decision is one decision of one person about one order in one state. An order
// can be decided once in each state that it waits in.
type Decision struct {
	Load     string
	In       State // in which who decides saw the order
	Verdict  Verdict
	Reason   string
	Evidence string // a reference: where it is kept
	By       string // client id
	At       time.Time
}

// Bounds of what a decision says.
const (
	MaxReason   = 128
	MaxEvidence = 64
)

// Errors of decisions.
var (
	// ErrDecision reports a decision that does not say what it has to.
	ErrDecision = fault.New(fault.Malformed, "a decision names a state and a verdict, and has a reason and a reference to evidence")
	// ErrDigits reports a decision whose two texts could hold a card number.
	ErrDigits = fault.New(fault.Malformed, "reason and evidence together hold more than 11 digits")
	// ErrDecided reports that somebody decided otherwise, or for another reason.
	ErrDecided = fault.New(fault.LoadState, "this was decided before, and not like that: read the decision")
	// ErrClosed reports an order that does not wait in that state for anybody.
	ErrClosed = fault.New(fault.LoadState, "the load does not wait for a decision in that state: read it and decide again")
)

// Validate reports whether d can be a decision. Its words go into the record, so
// that what may hold a card number is refused.
func (d Decision) Validate() error {
	if _, ok := decisions[d.In][d.Verdict]; !ok || !plain(d.Reason, MaxReason) || !plain(d.Evidence, MaxEvidence) {
		return ErrDecision
	}
	if digits.TooMany(d.Reason, d.Evidence) {
		return ErrDigits
	}
	return nil
}

// plain reports whether s is a text of at most high bytes.
func plain(s string, high int) bool {
	words := false
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return false
		}
		words = words || r != ' '
	}
	return words && len(s) <= high
}

// same reports whether d and e decide the same for the same reason.
func (d Decision) same(e Decision) bool {
	return d.Load == e.Load && d.In == e.In && d.Verdict == e.Verdict && d.Reason == e.Reason && d.Evidence == e.Evidence
}

// Repeats says what becomes of d when decisions about the order are known: it is
// one of them, or nothing was decided in its state yet, or it is [ErrDecided].
func (d Decision) Repeats(known []Decision) (bool, error) {
	for _, k := range known {
		switch {
		case k.same(d):
			return true, nil
		case k.In == d.In:
			return false, ErrDecided
		}
	}
	return false, nil
}

// decisions holds what can be decided, and what it leads to. A dispute stays one:
// the card's counter may serve another order by then.
var decisions = map[State]map[Verdict]step{
	Started:  {Settle: {Settled, done}, Reverse: {Reversed, back}},
	Suspense: {Settle: {Settled, freed}, Reverse: {Reversed, returned}},
	Disputed: {Settle: {Disputed, upheld}, Reverse: {Disputed, stays}},
}

// Waits reports whether somebody has to decide about r. An order of which nothing
// was heard may be decided too, once a day has passed.
func (r Record) Waits(now time.Time) bool {
	switch r.State {
	case Started:
		return now.Sub(r.CreatedAt) >= overdue
	case Disputed:
		return !r.Decided
	}
	return r.State == Suspense
}

// Decide returns r after a decision, and the transfers that belong to it, or
// [ErrClosed].
func (r Record) Decide(d Decision) (Record, []ledger.Transfer, error) {
	s, ok := decisions[r.State][d.Verdict]
	if !ok || r.State != d.In || !r.Waits(d.At) {
		return r, nil, ErrClosed
	}
	r.State, r.Decided = s.next, r.State == Disputed
	return r, r.transfers(s.move), nil
}

// Search narrows the list of orders that wait.
type Search struct {
	Load      string // "": all
	Account   token.WalletID
	Requestor token.Requestor
	State     State     // "": those that wait; else all in that state
	Overdue   time.Time // begun before, an order of which nothing was heard waits
	After     string    // the id of the last one that was listed; "": from the oldest on
	Limit     int
}

// Matter is an order with what was decided of it.
type Matter struct {
	Record
	Decisions []Decision // oldest first
	Open      bool       // it waits for somebody, now
}

// Decide decides about an order that waits. The same decision again is answered
// as it was; what its card proves later still counts.
func (s *Service) Decide(ctx context.Context, c access.Caller, d Decision) (Matter, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.LoadDecide, object(d.Load)); err != nil {
		return Matter{}, err
	}
	if err := d.Validate(); err != nil {
		return Matter{}, err
	}
	if _, err := s.search(ctx, c, Search{Load: d.Load, Limit: 1}); err != nil {
		return Matter{}, err
	}
	now, err := s.surely(ctx)
	if err != nil {
		return Matter{}, err
	}
	why := fmt.Sprintf("%s of %s, evidence %q: %s", d.Verdict, d.In, d.Evidence, d.Reason)
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.LoadDecide, d.Load, why); err != nil {
		return Matter{}, err
	}
	d.By, d.At, err = c.ID, now, ErrChanged
	for try := 0; try < tries && errors.Is(err, ErrChanged); try++ {
		_, err = s.cfg.Store.Decide(ctx, d)
	}
	for _, known := range []struct {
		kind   fault.Kind
		reason string
	}{{fault.LoadState, "state"}, {fault.FundsShort, "funds"}} {
		if fault.KindOf(err) == known.kind {
			return Matter{}, s.cfg.Gate.Refuse(ctx, c, access.LoadDecide, d.Load, known.reason, err)
		}
	}
	if err != nil {
		return Matter{}, fmt.Errorf("deciding about a load: %w", err)
	}
	all, err := s.search(ctx, c, Search{Load: d.Load, Limit: 1})
	if err != nil {
		return Matter{}, err
	}
	return all[0], nil
}

// Decided returns the order of a decision that was made already, word for word; ok is
// false when it was not. It does nothing, so that who lost the answer needs nobody's
// approval to hear it again.
func (s *Service) Decided(ctx context.Context, c access.Caller, d Decision) (m Matter, ok bool, err error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.LoadDecide, object(d.Load)); err != nil {
		return Matter{}, false, err
	}
	if err := d.Validate(); err != nil {
		return Matter{}, false, err
	}
	all, err := s.search(ctx, c, Search{Load: d.Load, Limit: 1})
	if err != nil {
		return Matter{}, false, err
	}
	return all[0], slices.ContainsFunc(all[0].Decisions, d.same), nil
}

// Matters lists orders that wait for somebody, the oldest first; with a state, all
// in it, and with an id, that one.
func (s *Service) Matters(ctx context.Context, c access.Caller, q Search) ([]Matter, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.LoadRead, object(q.Load+string(q.Account))); err != nil {
		return nil, err
	}
	if q.Account != "" && !q.Account.Valid() {
		return nil, errNoAccount
	}
	return s.search(ctx, c, q)
}

// search finds orders that c may know of. One that is named and is not found, or is
// another requestor's, is [ErrUnknown].
func (s *Service) search(ctx context.Context, c access.Caller, q Search) ([]Matter, error) {
	if q.Load != "" && !ValidID(q.Load) {
		return nil, ErrUnknown
	}
	now, err := s.surely(ctx)
	if err != nil {
		return nil, err
	}
	q.Requestor, q.Overdue = token.Requestor(c.Requestor), now.Add(-overdue)
	all, err := s.cfg.Store.Search(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("looking for loads that wait: %w", err)
	}
	if q.Load != "" && len(all) == 0 {
		return nil, ErrUnknown
	}
	for i := range all {
		all[i].Open = all[i].Waits(now)
	}
	return all, nil
}

// Waiting counts the orders that wait for somebody. It is for the operator's own
// metrics.
func (s *Service) Waiting(ctx context.Context) (int, error) {
	now, err := s.surely(ctx)
	if err != nil {
		return 0, err
	}
	return s.cfg.Store.Waiting(ctx, now.Add(-overdue))
}
