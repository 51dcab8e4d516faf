// Package deny is what readers are told of whom not to take: entries of the
// deny list, its signed snapshots and deltas, and the signed policy of
// terminals. Service and reader share it.
//
// Everything here is read strictly and is worth nothing before the signature
// of a pinned key holds. Entries die with the tokens they are about, so a list
// stays as long as a day's denials and never grows for good.
package deny

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Sentinels.
var (
	// ErrMalformed reports bytes that are not in their format.
	ErrMalformed = fault.New(fault.Malformed, "not in the format of deny lists and terminal policies")
	// ErrUntrusted reports that no pinned key vouches for a document.
	ErrUntrusted = fault.New(fault.Refused, "no pinned key signed this")
	// ErrOrder reports a document that does not follow on what is held: an
	// older one, or a delta from another version.
	ErrOrder = fault.New(fault.TransactionBad, "does not follow on the list that is held")
)

// Kind says what an entry is about.
type Kind byte

// Kinds.
const (
	Token  Kind = 1 // a token: none of its slots pay
	KeyID  Kind = 2 // an issuer key: no credential that it signed counts
	MinCtr Kind = 3 // a token: slots with lower counters do not pay
	SAM    Kind = 4 // a terminal number: its security module is not to be used
)

// String is the kind's name on the wire.
func (k Kind) String() string {
	if k < Token || k > SAM {
		return "?"
	}
	return [...]string{"TOKEN", "KID", "MIN_CTR", "SAM"}[k-1]
}

// Sizes of an entry and of what names it.
const (
	EntrySize = KeySize + 2 + 4
	KeySize   = 1 + 10
)

// Key names an entry: a list holds one of each.
type Key struct {
	Kind Kind
	// Value is right-aligned and filled with zeros: a token number in BCD as
	// file 0015 shows it, a key id, a terminal number.
	Value [10]byte
}

// Entry is one line of the list.
type Entry struct {
	Key
	Ctr    uint16 // of MinCtr: the first counter that pays; else 0
	Expiry uint32 // seconds since 1970: from then on the entry says nothing
}

// OfToken denies a token until a moment.
func OfToken(n token.Number, until time.Time) Entry {
	return Entry{Key: Key{Token, n.ASN()}, Expiry: seconds(until)}
}

// Below denies the slots of a token whose counters are lower than first.
func Below(n token.Number, first uint16, until time.Time) Entry {
	return Entry{Key: Key{MinCtr, n.ASN()}, Ctr: first, Expiry: seconds(until)}
}

// OfKeyID denies every credential of an issuer key.
func OfKeyID(id uint16, until time.Time) Entry {
	e := Entry{Key: Key{Kind: KeyID}, Expiry: seconds(until)}
	binary.BigEndian.PutUint16(e.Value[8:], id)
	return e
}

// OfSAM denies a terminal's security module.
func OfSAM(terminal [6]byte, until time.Time) Entry {
	e := Entry{Key: Key{Kind: SAM}, Expiry: seconds(until)}
	copy(e.Value[4:], terminal[:])
	return e
}

// Until is when the entry ends.
func (e Entry) Until() time.Time { return time.Unix(int64(e.Expiry), 0).UTC() }

// live reports whether the entry still says something.
func (e Entry) live(now time.Time) bool { return now.Unix() < int64(e.Expiry) }

// Compare orders keys as lists hold them.
func (k Key) Compare(o Key) int {
	if c := cmp.Compare(k.Kind, o.Kind); c != 0 {
		return c
	}
	return bytes.Compare(k.Value[:], o.Value[:])
}

// check reports a key that no entry can have.
func (k Key) check() error {
	zeros, ok := 0, true
	switch k.Kind {
	case Token, MinCtr:
		for _, b := range k.Value {
			ok = ok && b>>4 <= 9 && b&0x0F <= 9
		}
		ok = ok && k.Value != [10]byte{}
	case KeyID:
		zeros = 8
	case SAM:
		zeros = 4
	default:
		ok = false
	}
	for _, b := range k.Value[:zeros] {
		ok = ok && b == 0
	}
	if !ok {
		return fmt.Errorf("%w: an entry of kind %d", ErrMalformed, k.Kind)
	}
	return nil
}

func (e Entry) check() error {
	if err := e.Key.check(); err != nil {
		return err
	}
	if (e.Kind == MinCtr) != (e.Ctr != 0) || e.Expiry == 0 {
		return fmt.Errorf("%w: counter or expiry of an entry", ErrMalformed)
	}
	return nil
}

// ParseEntry reads exactly [EntrySize] bytes.
func ParseEntry(b []byte) (Entry, error) {
	if len(b) != EntrySize {
		return Entry{}, fmt.Errorf("%w: an entry has %d bytes", ErrMalformed, EntrySize)
	}
	e := Entry{Key: Key{Kind(b[0]), [10]byte(b[1:])}, Ctr: binary.BigEndian.Uint16(b[11:]), Expiry: binary.BigEndian.Uint32(b[13:])}
	return e, e.check()
}

// Append prints e behind b; it is the inverse of [ParseEntry].
func (e Entry) Append(b []byte) []byte {
	b = e.Key.Append(b)
	b = binary.BigEndian.AppendUint16(b, e.Ctr)
	return binary.BigEndian.AppendUint32(b, e.Expiry)
}

// ParseKey reads exactly [KeySize] bytes.
func ParseKey(b []byte) (Key, error) {
	if len(b) != KeySize {
		return Key{}, fmt.Errorf("%w: the name of an entry has %d bytes", ErrMalformed, KeySize)
	}
	k := Key{Kind(b[0]), [10]byte(b[1:])}
	return k, k.check()
}

// Append prints k behind b; it is the inverse of [ParseKey].
func (k Key) Append(b []byte) []byte { return append(append(b, byte(k.Kind)), k.Value[:]...) }

// seconds clamps t to what four bytes hold.
func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), 1<<32-1))
}
