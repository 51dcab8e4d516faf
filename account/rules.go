package account

import (
	"slices"
	"time"

	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/token"
)

// Rules are what detection has to know beside the slots.
type Rules struct {
	Skew  time.Duration  // tolerance for clocks
	Zone  *time.Location // of days
	Where detect.Known   // nil: nobody knows where terminals stand
}

// Misdated reports whether a record that was received then bears a date that was still
// to come: the clock that dated it was ahead.
func (r Rules) Misdated(moment, received time.Time) bool { return moment.After(received.Add(r.Skew)) }

// History is what is known of a token beside the slots that are looked at.
type History struct {
	Taps    []detect.Tap // standing, of other slots
	Bundles int          // that the token was given, with those of the slots that are looked at
}

// Signals looks at slots of one token, and at all of its taps.
func (r Rules) Signals(ref token.Ref, lots []*Lot, past History) (found []detect.Signal) {
	taps := slices.Clone(past.Taps)
	for _, l := range lots {
		if e, ok := l.Contradicted(r.Skew); ok {
			found = append(found, detect.New(detect.Denied, ref, l.Ctr(), e.Tap.Terminal))
		}
		found = append(found, r.slot(l)...)
		for _, e := range l.Entries {
			if e.Outcome == Replay {
				continue
			}
			t := detect.Tap{ID: e.ID(), Ctr: l.Ctr(), Class: byte(l.UD.Class), Moment: e.Moment, Misdated: r.Misdated(e.Moment, e.Received), Terminal: e.Tap.Terminal,
				TACGood: e.TACGood, Served: e.served(), Fresh: e.Fresh, Left: e.Tap.Balance, Bundle: l.Bundle}
			taps = append(taps, t)
		}
	}
	if past.Bundles > 1 { // what is left says nothing once another bundle came
		for i := range taps {
			taps[i].Bundle = ""
		}
	}
	return append(found, detect.Token(ref, taps, r.Where, r.Zone)...)
}

// slot looks at the records of one slot.
func (r Rules) slot(l *Lot) (found []detect.Signal) {
	for _, e := range l.Entries {
		if e.disputed() {
			found = append(found, detect.New(detect.Dispute, l.Ref, l.Ctr(), e.Tap.Terminal, e.ID()))
		}
		switch {
		case e.Outcome == Replay:
			found = append(found, detect.New(detect.TerminalCopy, l.Ref, l.Ctr(), e.Tap.Terminal, e.ID()))
		case !e.TACGood:
			found = append(found, detect.New(detect.WrongPIN, l.Ref, l.Ctr(), e.Tap.Terminal, e.ID()))
		}
	}
	if i := slices.IndexFunc(l.Entries, func(e Entry) bool { return e.Outcome == Forked }); i >= 0 {
		found = append(found, detect.New(detect.Fork, l.Ref, l.Ctr(), l.Entries[i].Tap.Terminal))
	}
	return found
}

// Refused is what the refusal of a record says about its token, if anything.
func (r Rules) Refused(f Refusal) (s detect.Signal, ok bool) {
	kinds := map[Reason]detect.Kind{Tamper: detect.Tamper, CounterRange: detect.NeverIssued}
	k, ok := kinds[f.Reason]
	return detect.New(k, f.Ref, f.Tap.Seq, f.Tap.Terminal), ok
}
