package account

import (
	"bytes"
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
	if !e.TACGood && e.Outcome == Posted {
		r.Reason = WrongPIN
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

// Add takes a record in, and reports false when it was known. Standings of
// records that were there before may change; [Slot.Find] tells.
func (s *Slot) Add(e Evidence) bool {
	if _, known := s.Find(e.ID()); known {
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

// settle gives every record its standing. It depends on the set of records
// alone.
//
// The best record is posted: one whose TAC is good before any other, because a
// TAC is what only the handset can make; then the earliest tap; then the
// smallest digest. Of the others, one whose TAC is good shows that the slot's
// keys paid twice. One whose TAC is bad is a copy of a better record with the
// same proof, if there is such a record; with a proof of its own it, too,
// shows that the keys paid twice.
func (s *Slot) settle() {
	slices.SortFunc(s.Entries, better)
	seen := make(map[proof]bool)
	for i := range s.Entries {
		e := &s.Entries[i]
		p := e.Tap.proof()
		switch {
		case i == 0:
			e.Outcome = Posted
		case !e.TACGood && seen[p]:
			e.Outcome = Replay
		default:
			e.Outcome = Forked
		}
		seen[p] = true
	}
}

// better orders records, best first.
func better(a, b Entry) int {
	if a.TACGood != b.TACGood {
		if a.TACGood {
			return -1
		}
		return 1
	}
	if c := a.Moment.Compare(b.Moment); c != 0 {
		return c
	}
	da, db := a.Tap.Digest(), b.Tap.Digest()
	return bytes.Compare(da[:], db[:])
}
