package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// Errors of syncs.
var (
	// ErrSyncReused reports a sync whose id stands for another one.
	ErrSyncReused = fault.New(fault.KeyReused, "this sync id was used for another sync")
	// ErrSync reports a sync that nobody can have meant.
	ErrSync = fault.New(fault.Malformed, "a sync has an id, up to 512 reports on different slots, and terms")
)

const (
	maxReports = 512
	// clocks is how far two clocks may disagree before that speaks against a phone.
	clocks = 120 * time.Second
	// gapWait is how long a slot that the phone says nothing of keeps it from new
	// ones.
	gapWait = 24 * time.Hour
)

// Sync brings a phone and its account in step: it takes the phone's evidence and
// its word on every slot, settles, and grants new slots when nothing is open.
// Live slots are kept. A phone's first slots are a sync without reports.
//
// The grant is durable, with its reserve held, when Sync returns. A sync that is
// sent again, because the answer was lost, is answered by the same settlement
// and the same grant. The caller has passed the gate, and has checked that the
// device signed the request.
func (s *Service) Sync(ctx context.Context, c access.Caller, r SyncRequest) (Settlement, error) {
	if err := r.check(); err != nil {
		return Settlement{}, err
	}
	if _, err := s.own(ctx, c, access.WalletSync, r.Wallet); err != nil {
		return Settlement{}, err
	}
	bound, err := s.cfg.Book.Bound(ctx, r.Ref)
	if err != nil {
		return Settlement{}, err
	}
	if bound[r.Ref] != r.Wallet {
		return Settlement{}, s.cfg.Gate.Refuse(ctx, c, access.WalletSync, string(r.Wallet), "unbound-token", errForeign)
	}
	first, answer, err := s.cfg.Book.BeginSync(ctx, r, s.cfg.Now())
	if err != nil {
		return Settlement{}, err
	}
	if answer != nil {
		return *answer, nil
	}
	return s.sync(ctx, r, first)
}

// sync settles a sync that was not answered yet. Everything before the answer
// may happen twice without harm.
func (s *Service) sync(ctx context.Context, r SyncRequest, first time.Time) (out Settlement, err error) {
	e := SyncEnd{Request: r}
	if e.PIN, _, err = s.triedOnline(ctx, r.Wallet); err != nil {
		return out, err
	}
	if e.Decisions, err = s.hear(ctx, r, first, e.PIN); err != nil {
		return out, err
	}
	if _, err := s.redo(ctx, r.Wallet); err != nil {
		return out, err
	}
	if e.PIN, _, err = s.triedOnline(ctx, r.Wallet); err != nil {
		return out, err
	}
	t, err := s.cfg.Tokens.Token(ctx, r.Ref)
	if err != nil {
		return out, err
	}
	if t.State.Usable() && t.Decision.Allows() && s.cfg.Now().Before(t.NotAfter) {
		e.NotAfter = t.NotAfter
		if err := s.takeCounters(ctx, &e); err != nil {
			return out, err
		}
	}
	return s.cfg.Book.FinishSync(ctx, e)
}

// hear takes a phone's evidence and its word. What it says of the present it said
// when the sync first came, and no later than its own clock: a sync that is sent
// again must not speak for the time between. If that clock shows a time that was still
// to come, it says nothing of when. PIN is when one was last entered rightly online.
//
// Of a record whose MAC2 does not hold it learns nothing of the TAC: nothing counts
// how many of those a phone makes up.
func (s *Service) hear(ctx context.Context, r SyncRequest, first, pin time.Time) ([]Result, error) {
	at := first
	switch {
	case r.Clock.Before(first):
		at = r.Clock
	case r.Clock.After(first.Add(clocks)):
		at = time.Time{}
	}
	b := batch{Service: s, reporter: "phone", source: func(Tap) Sources { return ByPhone }}
	var taps []Tap
	var index []int // of taps, in results
	for _, p := range r.Reports {
		if p.Status != ReportUsed {
			continue
		}
		b.results = append(b.results, Result{Outcome: Rejected, Reason: Malformed})
		if p.Tap != nil && p.Tap.Seq == p.Ctr {
			taps, index = append(taps, *p.Tap), append(index, len(b.results)-1)
		}
	}
	verdicts, err := s.judgeAll(ctx, taps, token.Use{}, guess.Standing{}, false)
	if err != nil {
		return nil, err
	}
	for i, v := range verdicts {
		if v.reason == Tamper {
			v.reason = Forged
		}
		if err := b.take(ctx, index[i], taps[i], v); err != nil {
			return nil, err
		}
		b.own(r.Ref)
	}
	if err := b.classify(ctx); err != nil {
		return nil, err
	}
	results, err := s.cfg.Book.Told(ctx, r.Ref, Word{r.Reports, at, first, pin}, b.evidence, b.refusals)
	if err != nil {
		return nil, fmt.Errorf("keeping a sync: %w", err)
	}
	return b.results, b.answer(ctx, results)
}

// own drops the last record when it is of another token: a phone speaks for its
// own.
func (b *batch) own(ref token.Ref) {
	if n := len(b.evidence) - 1; n >= 0 && b.evidence[n].Ref != ref {
		b.results[b.index[n]] = Result{Outcome: Rejected, Reason: UnknownToken}
		b.evidence, b.index, b.ends = b.evidence[:n], b.index[:n], b.ends[:n]
	}
	if n := len(b.refusals) - 1; n >= 0 && b.refusals[n].Ref != ref {
		b.refusals = b.refusals[:n]
	}
}

// takeCounters takes as many as a grant would need by what is known now. What is
// then not needed is lost, which harms nobody. A token whose counters are spent is
// answered without new slots: its phone could never be rid of what it has to say.
func (s *Service) takeCounters(ctx context.Context, e *SyncEnd) error {
	f, err := s.cfg.Book.Funds(ctx, e.Request.Wallet)
	if err != nil {
		return err
	}
	_, kinds, _ := e.Settle(f, false)
	if len(kinds) == 0 {
		return nil
	}
	e.First, err = s.cfg.Tokens.TakeCounters(ctx, e.Request.Ref, len(kinds))
	if fault.KindOf(err) == fault.CounterSpent {
		return nil
	}
	if err != nil {
		return fmt.Errorf("taking counters: %w", err)
	}
	e.Taken = len(kinds)
	return nil
}

// check refuses a sync that nobody can have meant.
func (r SyncRequest) check() error {
	if !useID.MatchString(r.ID) || len(r.Reports) > maxReports || r.Clock.IsZero() {
		return ErrSync
	}
	seen := make(map[uint16]bool, len(r.Reports))
	for _, p := range r.Reports {
		if seen[p.Ctr] || p.Status != ReportLive && p.Status != ReportDiscarded && p.Status != ReportUsed {
			return ErrSync
		}
		seen[p.Ctr] = true
	}
	return r.Terms.check()
}

// errTerms reports terms of a tier that make no bundle: a mistake of the program.
var errTerms = errors.New("terms of a tier that make no bundle")

func (t Terms) check() error {
	if len(t.Layout) > maxReports {
		return errTerms
	}
	for _, k := range t.Layout {
		if _, err := credential.NewUD(time.Unix(1<<31, 0), 0, k.Cap, k.Class, t.KeyVersion); err != nil {
			return fmt.Errorf("%w: %w", errTerms, err)
		}
	}
	return nil
}
