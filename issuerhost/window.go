package issuerhost

import (
	"math"
	"math/bits"
)

// Window is which values of a counter are taken, seen from the highest so far.
type Window struct {
	Ahead  uint16 // at most so far above it
	Behind uint8  // or at most so far below, if it was not used; up to 63
}

// Line is where a counter stands: the highest value taken, and which of the 64
// from it downwards were. The zero value has taken none.
type Line struct {
	High   uint16
	Seen   uint64 // bit n: High-n was taken
	Unsure bool   // what was taken since is not known: the database was put back to an earlier day
}

// Take takes a value, or says why not: [ErrReplayed], [ErrJumped]. A card that
// was never met may stand anywhere. One that was not met since the database was put
// back may stand anywhere behind where it stood, and all before counts as taken.
func (l Line) Take(value uint16, w Window) (Line, error) {
	switch {
	case l.Seen == 0:
		return Line{High: value, Seen: 1}, nil
	case l.Unsure && value > l.High:
		return Line{High: value, Seen: math.MaxUint64}, nil
	case l.Unsure:
		return l, ErrReplayed
	case value > l.High:
		up := value - l.High
		if up > w.Ahead {
			return l, ErrJumped
		}
		return Line{High: value, Seen: l.Seen<<min(up, 64) | 1}, nil // a shift by 64 leaves nothing
	}
	down := l.High - value
	switch {
	case down < 64 && bits.Len64(l.Seen>>down&1) == 1:
		return l, ErrReplayed
	case down > uint16(min(w.Behind, 63)):
		return l, ErrReplayed // too old to tell
	}
	l.Seen |= 1 << down
	return l, nil
}
