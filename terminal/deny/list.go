package deny

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/token"
)

// List is a list that a reader holds. It never changes: a newer one takes its
// place, so that one tap is judged by one version. The zero value is the list
// of a reader that has heard nothing yet. It is safe for concurrent use.
type List struct {
	head     Head
	version  uint64
	switches Switches
	entries  []Entry
}

// Open reads a snapshot that a pinned key signed.
func Open(doc []byte, pinned Keys) (*List, error) {
	if err := verify(listDomain, doc, pinned); err != nil {
		return nil, err
	}
	s, err := ParseSnapshot(doc)
	if err != nil {
		return nil, err
	}
	return &List{s.Head, s.Version, s.Switches, s.Entries}, nil
}

// Take returns the list that doc leads to: a snapshot that is no older than l,
// or a delta from l's version. [ErrOrder] says that it is neither: a recorded
// document that somebody plays again gets no further.
//
// Versions say which of two snapshots is older, and of one version the dates, unless l
// is dated after now: by a clock that was wrong, and may have left entries out. So no
// delta of an earlier date leads on from it, but a snapshot.
func (l *List) Take(doc []byte, pinned Keys, now time.Time) (*List, error) {
	if len(doc) == 0 || doc[0] != deltaFormat {
		next, err := Open(doc, pinned)
		older := err == nil && next.head.Issued.Before(l.head.Issued) && !l.Ahead(now)
		if err == nil && (next.version < l.version || next.version == l.version && older) {
			return nil, fmt.Errorf("%w: an older snapshot", ErrOrder)
		}
		return next, err
	}
	if err := verify(listDomain, doc, pinned); err != nil {
		return nil, err
	}
	d, err := ParseDelta(doc)
	if err != nil {
		return nil, err
	}
	if d.From != l.version || d.Issued.Before(l.head.Issued) {
		return nil, fmt.Errorf("%w: a delta from another version", ErrOrder)
	}
	return &List{d.Head, d.To, d.Switches, merge(l.entries, d)}, nil
}

// merge leaves out what has ended by the time the delta was issued.
func merge(old []Entry, d Delta) []Entry {
	out := make([]Entry, 0, len(old)+len(d.Adds))
	keep := func(e Entry) {
		if e.live(d.Issued) {
			out = append(out, e)
		}
	}
	adds, removes := d.Adds, d.Removes
	for _, e := range old {
		for len(adds) > 0 && adds[0].Compare(e.Key) < 0 {
			keep(adds[0])
			adds = adds[1:]
		}
		for len(removes) > 0 && removes[0].Compare(e.Key) < 0 {
			removes = removes[1:]
		}
		replaced := len(adds) > 0 && adds[0].Key == e.Key
		if !replaced && (len(removes) == 0 || removes[0] != e.Key) {
			keep(e)
		}
	}
	for _, e := range adds {
		keep(e)
	}
	return out
}

// Version grows with every change.
func (l *List) Version() uint64 { return l.version }

// Ahead reports whether l was issued after now, by more than clocks disagree: one of
// the two clocks is wrong.
func (l *List) Ahead(now time.Time) bool { return l.head.Issued.Sub(now) > ahead }

// Issued is as fresh as the list is known to be.
func (l *List) Issued() time.Time { return l.head.Issued }

// Len is how many entries there are.
func (l *List) Len() int { return len(l.entries) }

// Entries lists the entries in order.
func (l *List) Entries() []Entry { return slices.Clone(l.entries) }

// Switches is the circuit breaker.
func (l *List) Switches() Switches { return l.switches }

// Tag names what l holds and how fresh it is, as an HTTP entity tag.
func (l *List) Tag() string { return Tag(l.version, l.head.Issued) }

// Tag is the entity tag of a list's version as it was issued at a moment.
func Tag(version uint64, issued time.Time) string {
	return fmt.Sprintf(`"%d-%d"`, version, seconds(issued))
}

// Denied reports whether a slot of a token may not pay.
func (l *List) Denied(n token.Number, ctr uint16, now time.Time) bool {
	asn := n.ASN()
	if _, ok := l.find(Key{Token, asn}, now); ok {
		return true
	}
	e, ok := l.find(Key{MinCtr, asn}, now)
	return ok && ctr < e.Ctr
}

// KeyDenied reports whether credentials of an issuer key do not count.
func (l *List) KeyDenied(id uint16, now time.Time) bool {
	_, ok := l.find(keyIDKey(id), now)
	return ok
}

// SAMDenied reports whether a terminal's module is not to be used.
func (l *List) SAMDenied(terminal [6]byte, now time.Time) bool {
	k := Key{Kind: SAM}
	copy(k.Value[4:], terminal[:])
	_, ok := l.find(k, now)
	return ok
}

func keyIDKey(id uint16) Key {
	k := Key{Kind: KeyID}
	binary.BigEndian.PutUint16(k.Value[8:], id)
	return k
}

func (l *List) find(k Key, now time.Time) (Entry, bool) {
	i, ok := search(l.entries, k, Key.Compare)
	if !ok || !l.entries[i].live(now) {
		return Entry{}, false
	}
	return l.entries[i], true
}

// search halves what is left with each comparison.
func search(entries []Entry, k Key, compare func(a, b Key) int) (int, bool) {
	low, high := 0, len(entries)
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch c := compare(entries[mid].Key, k); {
		case c == 0:
			return mid, true
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false
}
