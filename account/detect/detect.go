// Package detect looks for signs of fraud in what is known of a token's slots.
//
// It is pure: the same facts give the same signals, and each signal has a name
// that follows from what it is about, so that finding it again is no news.
// Times are those that a TAC covers; what an outsider can write into a record is
// held against nobody.
package detect

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tapvault/tapvault/token"
)

// Kind is what a signal says.
type Kind string

// Kinds, with what they lead to: see [Severities].
const (
	Fork         Kind = "FORK"             // a slot paid twice
	Denied       Kind = "DENIED_USE"       // evidence of a slot that the phone had not used, or had thrown away
	NeverIssued  Kind = "NEVER_ISSUED"     // a good MAC under a counter that was never handed out
	Tamper       Kind = "TAMPER"           // device MAC bad, user MAC good
	Order        Kind = "ORDER"            // slots used out of order, twice or more
	Velocity     Kind = "VELOCITY"         // two places faster than anyone travels
	TwoAtOnce    Kind = "TWO_AT_ONCE"      // two taps within seconds at two terminals
	Repeated     Kind = "REPEATED"         // a signal of severity 2 for the second time
	OrderOnce    Kind = "ORDER_ONCE"       // slots used out of order, once
	PhoneOnly    Kind = "PHONE_ONLY"       // no terminal ever told of it
	StaleList    Kind = "STALE_LIST"       // the terminal's deny list was too old
	ManyTaps     Kind = "MANY_TAPS"        // more than anyone rides in a day
	Chain        Kind = "CHAIN"            // what the phone says is left does not add up
	WrongPIN     Kind = "WRONG_PIN"        // what it leads to is decided by how many there are
	TerminalCopy Kind = "TERMINAL_COPY"    // a terminal's altered copy of another one's record
	Dispute      Kind = "TERMINAL_DISPUTE" // one record that two say they gave service for
)

// Severities of kinds. 3 suspends the wallet, 2 restricts it, 1 is remembered. A
// copy and a dispute open a case against the terminal and do nothing to the wallet.
var Severities = map[Kind]int{
	Fork: 3, Denied: 3, NeverIssued: 3, Tamper: 3, Repeated: 3,
	Order: 2, Velocity: 2, TwoAtOnce: 2,
	OrderOnce: 1, PhoneOnly: 1, StaleList: 1, ManyTaps: 1, Chain: 1, WrongPIN: 1, TerminalCopy: 1, Dispute: 1,
}

// Limits.
const (
	regression = 10 * time.Minute // that a lower slot may be used after a higher one
	atOnce     = 5 * time.Second
	topSpeed   = 120.0 // km/h
	dayTaps    = 20
)

// Signal is one sign.
type Signal struct {
	ID       string
	Kind     Kind
	Ref      token.Ref
	Ctr      uint16
	Terminal [6]byte // of the record that it is about
}

// AgainstTerminal reports whether the kind says nothing of a wallet.
func (k Kind) AgainstTerminal() bool { return k == TerminalCopy || k == Dispute }

// Severity is what the signal weighs.
func (s Signal) Severity() int { return Severities[s.Kind] }

// New names a signal about a token, and about what tells it from others of its
// kind there.
func New(k Kind, ref token.Ref, ctr uint16, terminal [6]byte, about ...string) Signal {
	sum := sha256.Sum256(fmt.Appendf(nil, "signal\x00%s\x00%s\x00%d\x00%q", k, ref, ctr, about))
	return Signal{hex.EncodeToString(sum[:16]), k, ref, ctr, terminal}
}

// Tap is one record of a slot that stands, as far as detection is concerned.
type Tap struct {
	ID       string
	Ctr      uint16
	Class    byte
	Bundle   string
	Moment   time.Time
	Misdated bool // it came before Moment: the terminal's clock is ahead
	Terminal [6]byte
	TACGood  bool
	Served   bool   // a terminal vouches for it
	Fresh    bool   // and its list was new enough
	Left     uint32 // what the phone said its slots could pay, before this one
}

// Point is a place on the earth, in degrees.
type Point struct{ Lat, Lon float64 }

// Known says where terminals stand; ok is false where nobody knows.
type Known func(terminal [6]byte) (p Point, ok bool)

// Token looks at the standing taps of one token, in any order. where may be nil.
func Token(ref token.Ref, taps []Tap, where Known, zone *time.Location) (found []Signal) {
	taps = slices.SortedFunc(slices.Values(taps), func(a, b Tap) int {
		return cmp.Or(a.Moment.Compare(b.Moment), cmp.Compare(a.ID, b.ID))
	})
	var sure, dated []Tap // what a phone vouches for; of it, whose times can be
	for _, t := range taps {
		if t.TACGood {
			sure = append(sure, t)
		}
		if t.TACGood && !t.Misdated {
			dated = append(dated, t)
		}
		if t.Served && !t.Fresh {
			found = append(found, New(StaleList, ref, t.Ctr, t.Terminal, t.ID))
		}
	}
	found = append(found, order(ref, dated)...)
	found = append(found, pairs(ref, dated, where)...)
	found = append(found, days(ref, sure, zone)...)
	found = append(found, chain(ref, sure)...)
	return append(found, again(ref, found)...)
}

// order looks for slots of one class that were used long after a later one.
func order(ref token.Ref, taps []Tap) (found []Signal) {
	byCtr := slices.SortedStableFunc(slices.Values(taps), func(a, b Tap) int { return cmp.Compare(a.Ctr, b.Ctr) })
	earliest := make(map[byte]time.Time) // of later slots, by class
	var late []Tap
	for _, t := range slices.Backward(byCtr) {
		at, ok := earliest[t.Class]
		if ok && t.Moment.Sub(at) > regression {
			late = append(late, t)
		}
		if !ok || t.Moment.Before(at) {
			earliest[t.Class] = t.Moment
		}
	}
	if len(late) > 0 {
		found = append(found, New(OrderOnce, ref, 0, late[0].Terminal))
	}
	if len(late) > 1 {
		found = append(found, New(Order, ref, 0, late[1].Terminal))
	}
	return found
}

// pairs looks at taps that follow each other.
func pairs(ref token.Ref, taps []Tap, where Known) (found []Signal) {
	for i := 1; i < len(taps); i++ {
		a, b := taps[i-1], taps[i]
		if a.Terminal != b.Terminal && b.Moment.Sub(a.Moment) < atOnce && a.Ctr != b.Ctr {
			found = append(found, New(TwoAtOnce, ref, b.Ctr, b.Terminal, a.ID, b.ID))
		}
	}
	if where == nil {
		return found
	}
	return append(found, travels(ref, taps, where)...)
}

// travels looks at taps that follow each other where terminals stand. A tap where nobody
// knows, between two others, must not hide how far those are apart.
func travels(ref token.Ref, taps []Tap, where Known) (found []Signal) {
	var last Tap
	var from Point
	for i, any := 0, false; i < len(taps); i++ {
		t := taps[i]
		to, ok := where(t.Terminal)
		if !ok {
			continue
		}
		gap := max(t.Moment.Sub(last.Moment), time.Second)
		if far := from.km(to); any && far > 1 && far > topSpeed*gap.Hours() {
			found = append(found, New(Velocity, ref, t.Ctr, t.Terminal, last.ID, t.ID))
		}
		last, from, any = t, to, true
	}
	return found
}

// days counts taps by the day.
func days(ref token.Ref, taps []Tap, zone *time.Location) (found []Signal) {
	count := make(map[string]int)
	for _, t := range taps {
		day := t.Moment.In(zone).Format(time.DateOnly)
		if count[day]++; count[day] == dayTaps+1 {
			found = append(found, New(ManyTaps, ref, 0, t.Terminal, day))
		}
	}
	return found
}

// chain looks for a phone that says it has more left than before, inside one
// bundle. Nothing vouches for what it says.
func chain(ref token.Ref, taps []Tap) (found []Signal) {
	last := make(map[string]Tap)
	for _, t := range taps {
		if before, ok := last[t.Bundle]; ok && t.Bundle != "" && t.Left > before.Left && t.Ctr > before.Ctr {
			found = append(found, New(Chain, ref, t.Ctr, t.Terminal, t.ID))
		}
		last[t.Bundle] = t
	}
	return found
}

// again adds a signal where one of severity 2 was found twice.
func again(ref token.Ref, found []Signal) (more []Signal) {
	count := make(map[Kind]int)
	for _, s := range found {
		if s.Severity() != 2 {
			continue
		}
		if count[s.Kind]++; count[s.Kind] == 2 {
			more = append(more, New(Repeated, ref, 0, s.Terminal, string(s.Kind)))
		}
	}
	return more
}

// km is the distance on a sphere.
func (p Point) km(q Point) float64 {
	const rad = math.Pi / 180
	h := hav((q.Lat-p.Lat)*rad) + math.Cos(p.Lat*rad)*math.Cos(q.Lat*rad)*hav((q.Lon-p.Lon)*rad)
	return 2 * 6371 * math.Asin(math.Sqrt(min(1, h)))
}

func hav(x float64) float64 { s := math.Sin(x / 2); return s * s }
