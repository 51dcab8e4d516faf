package account

import (
	"bytes"
	"cmp"
	"slices"
)

// Entry is evidence with its standing.
type Entry struct {
	Evidence
	Outcome Outcome // Posted, Replay or Forked
}

// Result is the answer to the record of e.
func (e Entry) Result() Result {
	r := Result{TapID: e.ID(), Outcome: e.Outcome}
	switch {
	case e.Outcome != Posted:
	case e.Late == Manual:
		r.Reason = LateManual
	case !e.TACGood:
		r.Reason = WrongPIN
	case !e.Sources.Served() && e.Sources&ByFailure != 0:
		r.Reason = Burned
	case e.disputed():
		r.Reason = Disputed
	}
	return r
}

// Duplicate is the answer to a record that was known before, with the standing
// it has now.
func (e Entry) Duplicate() Result {
	r := e.Result()
	if e.Outcome != Posted {
		r.Reason = Reason(e.Outcome)
	}
	r.Outcome = Duplicate
	return r
}

// Slot is all evidence there is of one counter of one token.
type Slot struct{ Entries []Entry }

// Add takes a record in, and reports false when it was known; what this arrival
// adds to it is then merged. Standings of records that were there before may
// change; [Slot.Find] tells.
func (s *Slot) Add(e Evidence) bool {
	id := e.ID()
	for i := range s.Entries {
		if s.Entries[i].ID() != id {
			continue
		}
		if s.Entries[i].merge(e) {
			s.settle()
		}
		return false
	}
	s.Entries = append(s.Entries, Entry{Evidence: e})
	s.settle()
	return true
}

// Find returns a record by its tap id.
func (s *Slot) Find(id string) (Entry, bool) {
	i := slices.IndexFunc(s.Entries, func(e Entry) bool { return e.ID() == id })
	if i < 0 {
		return Entry{}, false
	}
	return s.Entries[i], true
}

// Posted returns the record that is posted; ok is false when there is none.
func (s *Slot) Posted() (e Entry, ok bool) {
	i := slices.IndexFunc(s.Entries, func(e Entry) bool { return e.Outcome == Posted })
	if i < 0 {
		return Entry{}, false
	}
	return s.Entries[i], true
}

// Paid returns the record by which the slot is paid, if service was given at all:
// the posted one, or, when only the phone tells of that, the best copy of the same
// proof that somebody was shown who gave service. A phone that spoils its TAC at
// the reader and tells of a better one later rides for nothing otherwise.
func (s *Slot) Paid() (e Entry, ok bool) {
	e, ok = s.Posted()
	if !ok {
		return e, false
	}
	return s.serving(e), true
}

// serving returns the record by which e is paid.
func (s *Slot) serving(e Entry) Entry {
	if e.Sources != ByPhone {
		return e
	}
	for _, c := range s.Entries { // the best first
		if c.Outcome == Replay && c.served() && c.Late != Manual && c.Tap.proof() == e.Tap.proof() {
			return c
		}
	}
	return e
}

// copied reports whether a record is an altered copy, with a bad TAC, of one that
// came from a reader or a back office as well. No honest one makes it; whoever has
// a phone's keys but not its PIN would learn the PIN from enough of them.
func (s *Slot) copied(e Entry) bool {
	return e.Outcome == Replay && !e.TACGood && slices.ContainsFunc(s.Entries, func(o Entry) bool {
		return o.ID() != e.ID() && o.Sources != ByPhone && o.Tap.proof() == e.Tap.proof()
	})
}

// Answer is the answer to a record that is there, or was there before it came.
func (s *Slot) Answer(id string, fresh bool) Result {
	e, ok := s.Find(id)
	if !ok {
		return Result{}
	}
	r := e.Result()
	if !fresh {
		r = e.Duplicate()
	}
	r.Copied = s.copied(e)
	return r
}

// settle gives every record its standing. It depends on the set of records
// alone.
//
// Records with one proof are copies of one purchase: the one whose TAC is good
// is real, because a TAC is what only the handset can make, and the others are
// replays. Of the purchases that are left, one is posted: one for which service
// was given before one that only the phone tells of, one that came in time to be
// paid, a good TAC before a bad one, one that phone and terminal both tell of;
// then the earliest, then the smallest digest. Every other one, and every second
// good TAC of one proof, shows that the slot's keys paid twice.
func (s *Slot) settle() {
	slices.SortFunc(s.Entries, within)
	seen := make(map[proof]bool)
	real := make([]int, 0, len(s.Entries)) // the best of each proof
	for i := range s.Entries {
		e := &s.Entries[i]
		p := e.Tap.proof()
		switch {
		case !seen[p]:
			real = append(real, i)
			e.Outcome = Forked
		case e.TACGood:
			e.Outcome = Forked
		default:
			e.Outcome = Replay
		}
		seen[p] = true
	}
	if len(real) > 0 {
		best := slices.MinFunc(real, func(a, b int) int { return between(s.Entries[a], s.Entries[b]) })
		s.Entries[best].Outcome = Posted
	}
	slices.SortFunc(s.Entries, standing)
}

// Order puts records that were read back, with their standings, into order.
func (s *Slot) Order() { slices.SortFunc(s.Entries, standing) }

// standing orders settled records: the posted one, then forks by what speaks for
// them, then replays.
func standing(a, b Entry) int {
	order := map[Outcome]int{Posted: 0, Forked: 1, Replay: 2}
	return cmp.Or(order[a.Outcome]-order[b.Outcome], between(a, b))
}

// within orders records of one proof, between those of several, best first.
func within(a, b Entry) int {
	return cmp.Or(first(a.TACGood, b.TACGood), first(a.served(), b.served()), older(a, b))
}

func between(a, b Entry) int {
	return cmp.Or(first(a.served(), b.served()), first(a.Late < Manual, b.Late < Manual), within(a, b))
}

func (e Entry) served() bool { return e.Sources.Served() }

// older orders records by what the phone vouches for, then by time and digest.
func older(a, b Entry) int {
	if c := cmp.Or(first(a.Sources&ByPhone != 0, b.Sources&ByPhone != 0), a.Moment.Compare(b.Moment)); c != 0 {
		return c
	}
	da, db := a.Tap.Digest(), b.Tap.Digest()
	return bytes.Compare(da[:], db[:])
}

// first puts true before false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
