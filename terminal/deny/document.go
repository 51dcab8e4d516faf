package deny

import (
	"encoding/binary"
	"fmt"
)

// Formats of documents, their first byte.
const (
	snapshotFormat = 0xD1
	deltaFormat    = 0xD2
	policyFormat   = 0xD3
)

// MaxEntries bounds a list: 17 MB on the wire.
const MaxEntries = 1 << 20

// Snapshot is a whole list.
type Snapshot struct {
	Head
	Version  uint64
	Switches Switches
	Entries  []Entry // in order, each key once
}

// Delta leads from one version to another. One from a version to itself says
// that nothing changed until it was issued.
type Delta struct {
	Head
	From, To uint64
	Switches Switches // as they are at To
	Adds     []Entry  // new, or in the place of what the key named before
	Removes  []Key
}

// Sign prints s with its signature.
func (s Snapshot) Sign(with Sign) ([]byte, error) {
	b := make([]byte, 0, headSize+8+switchesSize+4+len(s.Entries)*EntrySize+sigSize)
	b = s.append(b, snapshotFormat)
	b = binary.BigEndian.AppendUint64(b, s.Version)
	sw := s.Switches.Bytes()
	b = append(b, sw[:]...)
	return sign(listDomain, appendEntries(b, s.Entries), with)
}

// Sign prints d with its signature.
func (d Delta) Sign(with Sign) ([]byte, error) {
	b := d.append(nil, deltaFormat)
	b = binary.BigEndian.AppendUint64(b, d.From)
	b = binary.BigEndian.AppendUint64(b, d.To)
	sw := d.Switches.Bytes()
	b = appendEntries(append(b, sw[:]...), d.Adds)
	b = binary.BigEndian.AppendUint32(b, uint32(len(d.Removes)))
	for _, k := range d.Removes {
		b = k.Append(b)
	}
	return sign(listDomain, b, with)
}

func appendEntries(b []byte, es []Entry) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(es)))
	for _, e := range es {
		b = e.Append(b)
	}
	return b
}

// ParseSnapshot reads a snapshot. It checks form, not the signature.
func ParseSnapshot(doc []byte) (s Snapshot, err error) {
	h, b, _, err := parseHead(doc, snapshotFormat)
	if err != nil {
		return s, err
	}
	if len(b) < 8+switchesSize {
		return s, fmt.Errorf("%w: a snapshot that ends early", ErrMalformed)
	}
	s = Snapshot{Head: h, Version: binary.BigEndian.Uint64(b)}
	if s.Switches, err = ParseSwitches(b[8 : 8+switchesSize]); err != nil {
		return Snapshot{}, err
	}
	s.Entries, b, err = parseAll(b[8+switchesSize:], EntrySize, ParseEntry, Entry.key)
	if err == nil && len(b) != 0 {
		err = fmt.Errorf("%w: bytes follow a snapshot", ErrMalformed)
	}
	if err != nil {
		return Snapshot{}, err
	}
	return s, nil
}

// ParseDelta reads a delta. It checks form, not the signature.
func ParseDelta(doc []byte) (d Delta, err error) {
	h, b, _, err := parseHead(doc, deltaFormat)
	if err != nil {
		return d, err
	}
	if len(b) < 16+switchesSize {
		return d, fmt.Errorf("%w: a delta that ends early", ErrMalformed)
	}
	d = Delta{Head: h, From: binary.BigEndian.Uint64(b), To: binary.BigEndian.Uint64(b[8:])}
	if d.Switches, err = ParseSwitches(b[16 : 16+switchesSize]); err != nil {
		return Delta{}, err
	}
	d.Adds, b, err = parseAll(b[16+switchesSize:], EntrySize, ParseEntry, Entry.key)
	if err == nil {
		d.Removes, b, err = parseAll(b, KeySize, ParseKey, func(k Key) Key { return k })
	}
	if err == nil {
		err = d.check(len(b))
	}
	if err != nil {
		return Delta{}, err
	}
	return d, nil
}

func (d Delta) check(rest int) error {
	switch {
	case rest != 0:
		return fmt.Errorf("%w: bytes follow a delta", ErrMalformed)
	case d.From > d.To, d.From == d.To && len(d.Adds)+len(d.Removes) > 0:
		return fmt.Errorf("%w: a delta between versions that it does not change", ErrMalformed)
	}
	for i, k := 0, 0; i < len(d.Adds) && k < len(d.Removes); {
		switch c := d.Adds[i].Compare(d.Removes[k]); {
		case c == 0:
			return fmt.Errorf("%w: a delta adds and removes the same", ErrMalformed)
		case c < 0:
			i++
		default:
			k++
		}
	}
	return nil
}

func (e Entry) key() Key { return e.Key }

// parseAll reads a count and as many items, which stand in the order of their
// keys, each once.
func parseAll[T any](b []byte, size int, one func([]byte) (T, error), key func(T) Key) (all []T, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("%w: a count is missing", ErrMalformed)
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; n > MaxEntries || int(n) > len(b)/size {
		return nil, nil, fmt.Errorf("%w: more entries than bytes", ErrMalformed)
	}
	if n > 0 {
		all = make([]T, n)
	}
	for i := range all {
		if all[i], err = one(b[:size]); err != nil {
			return nil, nil, err
		}
		if i > 0 && key(all[i-1]).Compare(key(all[i])) >= 0 {
			return nil, nil, fmt.Errorf("%w: entries out of order", ErrMalformed)
		}
		b = b[size:]
	}
	return all, b, nil
}
