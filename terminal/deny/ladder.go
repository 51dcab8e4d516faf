package deny

import (
	"time"

	"github.com/tapvault/tapvault/token"
)

// Class is what kind of terminal a reader is.
type Class byte

// Classes.
const (
	Gate     Class = 'G' // gate or vehicle with a network: accepts offline, uploads within minutes
	Vehicle  Class = 'V' // uploads at the depot and hears the list there
	Merchant Class = 'M' // asks online first
)

// Valid reports whether c is a class.
func (c Class) Valid() bool { return c == Gate || c == Vehicle || c == Merchant }

// The staleness ladder.
const (
	// Stale is how old a list may be at a terminal with a network.
	Stale = 30 * time.Minute
	// Outdated is how old it may be anywhere.
	Outdated = 24 * time.Hour
	// StaleCap is the most that a tap may pay beyond either.
	StaleCap token.Amount = 500
	// ahead is how far in the future a list may have been issued: beyond, the
	// reader's own clock is wrong, or that of the service was.
	ahead = 120 * time.Second
)

// Limits is what a list allows at a terminal at a moment.
type Limits struct {
	Cap   token.Amount // most that one tap may pay; 0: as the slot says
	Proof bool         // only phones that prove themselves, and secure elements
}

// Limits says how far l may be relied upon by a terminal of class c. A list
// that could have been heard and was not bounds what it costs: somebody may be
// keeping it away.
func (l *List) Limits(c Class, now time.Time) Limits {
	age := now.Sub(l.head.Issued)
	out := Limits{Cap: l.switches.Cap, Proof: c == Vehicle}
	switch {
	case age > Outdated, l.Ahead(now), !now.Before(l.head.Until):
		out.Proof = true
	case age <= Stale, c == Vehicle:
		return out
	}
	if out.Cap == 0 || out.Cap > StaleCap {
		out.Cap = StaleCap
	}
	return out
}
