package account

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Deferred is how often this process deferred a record.
func (s *Service) Deferred() uint64 { return s.deferred.Load() }

// ofRow reports whether err comes from what is stored of one token or wallet, which others
// can do without. A panic counts so: it comes again with the same rows.
func ofRow(err error) bool {
	var p *fault.Panicked
	return fault.IsUnreadable(err) || errors.As(err, &p)
}

// sparing does something of which a panic must not fail what is done beside it, if spare is set.
func sparing(spare bool, do func() error) error {
	if spare {
		return fault.Safely(do)
	}
	return do()
}

// defers answers that record i was not judged, where that may hold up no other and err says
// that it need not.
func (b *batch) defers(i int, err error) bool {
	if !b.spare || !ofRow(err) {
		return false
	}
	b.results[i] = Result{Outcome: Deferred, Reason: Unreadable}
	b.unread = append(b.unread, err)
	return true
}

// One line of the log names so many reasons, with so much of each: there is one for each row.
const (
	told    = 5
	longest = 300
)

// tell says which records were deferred, without a word of them.
func (b *batch) tell(ctx context.Context) {
	if len(b.unread) == 0 {
		return
	}
	b.deferred.Add(uint64(len(b.unread)))
	var why []string // a panic's names its place
	for _, err := range b.unread {
		text := err.Error()
		if text = text[:min(len(text), longest)]; len(why) < told && !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	b.cfg.Log.ErrorContext(ctx, "taps were not judged, and their reader keeps them: what is stored for them cannot be read; see Taps that wait in operations.md",
		"terminal", b.reporter, "taps", len(b.unread), "why", why)
}

// record makes evidence and refusals durable: together or, where that fails for what is stored
// of some of it, slot by slot. Nobody is told more of a slot for that: what it comes to
// depends on no other one, and controls judge uses in the order in which they came.
func (b *batch) record(ctx context.Context) (results []Result, err error) {
	if results, err = b.keep(ctx, b.evidence, b.refusals); err == nil || !b.spare || !ofRow(err) {
		return results, err
	}
	if len(b.refusals) > 0 {
		if _, err := b.keep(ctx, nil, b.refusals); err != nil {
			return nil, err
		}
	}
	type slot struct {
		ref token.Ref
		ctr uint16
	}
	at := make(map[slot]int)
	var slots [][]int // places in evidence
	for k, e := range b.evidence {
		s := slot{e.Ref, e.Tap.Seq}
		n, ok := at[s]
		if !ok {
			n = len(slots)
			at[s], slots = n, append(slots, nil)
		}
		slots[n] = append(slots[n], k)
	}
	results = make([]Result, len(b.evidence))
	return results, b.apart(ctx, slots, results)
}

// apart keeps the evidence of slots, in halves where it fails together.
func (b *batch) apart(ctx context.Context, slots [][]int, results []Result) error {
	if len(slots) == 0 {
		return nil
	}
	places := slices.Concat(slots...)
	evidence := make([]Evidence, len(places))
	for n, k := range places {
		evidence[n] = b.evidence[k]
	}
	got, err := b.keep(ctx, evidence, nil)
	switch {
	case err == nil:
		for n, k := range places {
			results[k] = got[n]
		}
		return nil
	case !ofRow(err):
		return err
	case len(slots) == 1:
		err = fmt.Errorf("token %s, slot %d: %w", evidence[0].Ref, evidence[0].Tap.Seq, err)
		for _, k := range places {
			b.defers(b.index[k], err)
			results[k] = b.results[b.index[k]]
		}
		return nil
	}
	half := len(slots) / 2
	if err := b.apart(ctx, slots[:half], results); err != nil {
		return err
	}
	return b.apart(ctx, slots[half:], results)
}

// keep is [Journal.Record].
func (b *batch) keep(ctx context.Context, evidence []Evidence, refusals []Refusal) (results []Result, err error) {
	err = sparing(b.spare, func() error {
		results, err = b.cfg.Journal.Record(ctx, evidence, refusals)
		return err
	})
	return results, err
}
