package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// batch is records on their way: of an upload, of a sync, or one that is judged alone.
type batch struct {
	*Service
	reporter string
	source   func(Tap) Sources
	results  []Result
	evidence []Evidence
	ends     []time.Time // of the tokens of evidence
	index    []int       // of evidence, in results
	refusals []Refusal
	young    map[token.Ref]token.State // tokens that a good tap makes active
	told     []string                  // reasons that were reported
	sure     time.Time                 // that has come by every clock; zero: nobody had to ask
	spare    bool                      // a record that cannot be judged holds up no other
	unread   []error                   // why records could not be judged
}

// take takes in record i, by what it says alone.
func (b *batch) take(ctx context.Context, i int, t Tap, v verdict) error {
	now := b.cfg.Now()
	if b.foreign(t, v) {
		b.reject(i, t, v, OtherOperator)
		return nil
	}
	known, err := b.known(ctx, t, v)
	if err != nil {
		return err
	}
	if !known {
		if v.reason, err = b.excused(ctx, t, v); err != nil {
			return err
		}
	}
	if v.reason != "" && !known {
		b.reject(i, t, v, v.reason)
		return nil
	}
	b.evidence = append(b.evidence, Evidence{Ref: v.token.Ref, Tap: t, Moment: v.moment, TACGood: v.tacGood, Reporter: b.reporter,
		Received: now, Sources: b.source(t), Fresh: true, Bounds: v.bounds,
		Owned: b.source(t) == ByTerminal && b.cfg.Owners[t.Terminal] == b.reporter})
	b.ends = append(b.ends, v.token.NotAfter)
	b.index = append(b.index, i)
	if s := v.token.State; v.tacGood && (s == token.Requested || s == token.Delivered) {
		if b.young == nil {
			b.young = make(map[token.Ref]token.State)
		}
		b.young[v.token.Ref] = s
	}
	return nil
}

// foreign reports whether a proven record is of a terminal that is registered for
// somebody else than who shows it. Phones and back offices speak of any terminal.
func (b *batch) foreign(t Tap, v verdict) bool {
	owner, registered := b.cfg.Owners[t.Terminal]
	return registered && owner != b.reporter && v.proven && b.source(t)&(ByTerminal|ByFailure) != 0
}

// reject answers that record i is no evidence, and keeps why.
func (b *batch) reject(i int, t Tap, v verdict, why Reason) {
	b.results[i] = Result{Outcome: Rejected, Reason: why}
	if why == NotAllowed {
		b.results[i].Control = v.control
	}
	if v.token.Ref != "" {
		b.refusals = append(b.refusals, Refusal{v.token.Ref, t, b.results[i].precise(), b.reporter, b.cfg.Now()})
	}
}

// excused reports what still speaks against a record when its token has a
// wallet. Such a token's money is there longer than that of others, and a
// suspension counts from when terminals could know of it.
func (b *batch) excused(ctx context.Context, t Tap, v verdict) (Reason, error) {
	after := v.reason == TokenSuspended || v.reason == TokenDeleted
	if b.cfg.Book == nil || !after && v.reason != Late {
		return v.reason, nil
	}
	bound, err := b.cfg.Book.Bound(ctx, v.token.Ref)
	if err != nil || bound[v.token.Ref] == "" {
		return v.reason, err
	}
	if !after {
		return v.bound(), nil
	}
	fresh, err := b.fresh(ctx, t, v.moment)
	if err != nil || fresh {
		return v.bound(), err
	}
	return v.reason, nil
}

// fresh reports whether the terminal's deny list was new enough at a tap.
func (s *Service) fresh(ctx context.Context, t Tap, at time.Time) (bool, error) {
	if s.cfg.Lists == nil {
		return true, nil
	}
	fresh, err := s.cfg.Lists.Fresh(ctx, t.ListVersion, at)
	if err != nil {
		return false, fmt.Errorf("looking at a deny list: %w", err)
	}
	return fresh, nil
}

// came is [Service.came], asked once for a batch: of terminals that upload after days
// every record is past its due.
func (b *batch) came(ctx context.Context, now, due time.Time) (time.Time, error) {
	if !now.After(due) {
		return now, nil
	}
	var err error
	if b.sure.IsZero() {
		b.sure, err = b.Service.came(ctx, now, due)
	}
	return b.sure, err
}

// classify says of evidence under tokens with a wallet how late it came and how
// old its terminal's deny list was. What comes too late is refused, unless it is
// known.
func (b *batch) classify(ctx context.Context) error {
	if b.cfg.Book == nil || len(b.evidence) == 0 {
		return nil
	}
	bound, err := b.cfg.Book.Bound(ctx, refsOf(b.evidence)...)
	if err != nil {
		return err
	}
	kept := 0
	for k, e := range b.evidence {
		if bound[e.Ref] != "" {
			if e.Received, err = b.came(ctx, e.Received, b.ends[k].Add(releaseAfter)); err != nil {
				return err
			}
			e.Late = lateness(b.ends[k], e.Received)
			if e.Fresh, err = b.fresh(ctx, e.Tap, e.Moment); err != nil {
				return err
			}
			refused, err := b.tooLate(ctx, e)
			if err != nil {
				return err
			}
			if refused {
				b.results[b.index[k]] = Result{Outcome: Rejected, Reason: Late}
				b.refusals = append(b.refusals, Refusal{e.Ref, e.Tap, Late, b.reporter, e.Received})
				continue
			}
		}
		b.evidence[kept], b.index[kept] = e, b.index[k]
		kept++
	}
	b.evidence, b.index = b.evidence[:kept], b.index[:kept]
	return nil
}

func (b *batch) tooLate(ctx context.Context, e Evidence) (bool, error) {
	if e.Late != TooLate {
		return false, nil
	}
	_, err := b.cfg.Journal.Entry(ctx, e.Ref, e.ID())
	if errors.Is(err, ErrNoTap) {
		return true, nil
	}
	return false, err
}

// refsOf lists the tokens of evidence, each once.
func refsOf(all []Evidence) (refs []token.Ref) {
	for _, e := range all {
		refs = append(refs, e.Ref)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// known reports whether a proven record that comes too late now was taken when
// it came first: then it is a duplicate, not a refusal.
func (b *batch) known(ctx context.Context, t Tap, v verdict) (bool, error) {
	if !v.proven || v.reason == "" {
		return false, nil
	}
	_, err := b.cfg.Journal.Entry(ctx, v.token.Ref, Evidence{Ref: v.token.Ref, Tap: t}.ID())
	if errors.Is(err, ErrNoTap) {
		return false, nil
	}
	return err == nil, err
}

// report records why records were rejected, or are paid to nobody yet: one entry for each reason, so that
// a bad batch does not cost a write for every record. Records of unknown
// numbers leave no other trace.
func (b *batch) report(ctx context.Context, c access.Caller) error {
	for _, r := range b.results {
		why := string(r.precise())
		if r.Outcome != Rejected && r.Reason != Disputed || slices.Contains(b.told, why) {
			continue
		}
		b.told = append(b.told, why)
		e := audit.Entry{Caller: c, Action: access.TapUpload, Object: b.reporter, Outcome: audit.Refused,
			Reason: why, Request: audit.RequestID(ctx)}
		if err := b.cfg.Gate.Recorder.Record(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// post makes decisions durable and then moves tokens that paid for the first
// time. The move comes last: if it is lost, the record's next upload or the
// token's next tap makes up for it.
func (b *batch) post(ctx context.Context, c access.Caller) error {
	if len(b.evidence)+len(b.refusals) == 0 {
		return nil
	}
	results, err := b.record(ctx)
	if err != nil {
		return fmt.Errorf("keeping taps: %w", err)
	}
	if err := b.cfg.Guesses.Once(ctx, c.ID, copies(b.evidence, results)); err != nil {
		b.conclude(ctx)
		return err
	}
	return b.answer(ctx, results)
}

// answer gives the results of evidence, and moves tokens that paid for the first
// time.
func (b *batch) answer(ctx context.Context, results []Result) error {
	var paid []token.Ref
	for k, r := range results {
		b.results[b.index[k]] = r
		if _, young := b.young[b.evidence[k].Ref]; young && r.Good() {
			paid = append(paid, b.evidence[k].Ref)
		}
	}
	slices.Sort(paid)
	paid = slices.Compact(paid)
	return together(len(paid), func(i int) error { return b.activate(ctx, paid[i]) })
}

// activate moves a token that paid for the first time, and records that before. A
// token that somebody else moved meanwhile is left as it is.
func (b *batch) activate(ctx context.Context, ref token.Ref) error {
	if err := b.byItself(ctx, access.TokenManage, string(ref), "activated by its first purchase"); err != nil {
		return err
	}
	_, err := b.cfg.Tokens.Move(ctx, ref, b.young[ref], token.Activate, b.cfg.Now())
	if err != nil && fault.KindOf(err) != fault.TokenState {
		return fmt.Errorf("activating a token: %w", err)
	}
	return nil
}
