package deny

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// TestCounts: a count is of what follows, and of no more than a list may hold.
func TestCounts(t *testing.T) {
	for _, tc := range []struct {
		count  uint32
		follow int
		ok     bool
	}{{0, 0, true}, {0, 1, true}, {1, 0, false}, {1, 1, true}, {2, 1, false}, {2, 3, true},
		{MaxEntries, MaxEntries, true}, {MaxEntries + 1, MaxEntries + 1, false}, {1<<32 - 1, MaxEntries, false}} {
		b := append(binary.BigEndian.AppendUint32(nil, tc.count), make([]byte, tc.follow)...)
		n := uint32(0)
		all, rest, err := parseAll(b, 1, func([]byte) (uint32, error) { n++; return n, nil }, func(n uint32) (k Key) {
			binary.BigEndian.PutUint32(k.Value[:], n)
			return k
		})
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, ErrMalformed) || err == nil && (len(all) != int(tc.count) || len(rest) != tc.follow-len(all)) {
			t.Errorf("%d of %d: %d were read, %d are left, %v", tc.count, tc.follow, len(all), len(rest), err)
		}
	}
}

// TestCutAndSigned: a document that ends early is refused, also under a signature that
// holds.
func TestCutAndSigned(t *testing.T) {
	s, at := newSigner(t), time.Unix(1e9, 0)
	for name, tc := range map[string]struct {
		doc   []byte
		parse func([]byte) error
	}{
		"snapshot": {s.snapshot(t, at, 3, of(t, 1, 2)...), func(b []byte) error { _, err := ParseSnapshot(b); return err }},
		"delta": {s.delta(t, Delta{Head: head(at), From: 1, To: 2, Adds: of(t, 1), Removes: []Key{of(t, 2)[0].Key}}),
			func(b []byte) error { _, err := ParseDelta(b); return err }},
	} {
		if err := tc.parse(tc.doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body := unsigned(tc.doc)
		for i := range body {
			if err := tc.parse(mustSignRaw(t, s, body[:i:i])); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, %d bytes of %d: %v", name, i, len(body), err)
			}
		}
		if err := tc.parse(mustSignRaw(t, s, append(body[:len(body):len(body)], 0))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s and a byte more: %v", name, err)
		}
	}
}

// TestNumbersAreDigits: each half of each byte of a token's number is a digit.
func TestNumbersAreDigits(t *testing.T) {
	for _, kind := range []Kind{Token, MinCtr} {
		for i := range 20 {
			for n := byte(1); n < 16; n++ {
				k := Key{Kind: kind}
				k.Value[i/2] = n << (4 * (i % 2))
				if err := k.check(); (err == nil) != (n <= 9) {
					t.Errorf("%d at %d: %v", n, i, err)
				}
			}
		}
		if err := (Key{Kind: kind}).check(); !errors.Is(err, ErrMalformed) {
			t.Errorf("no number: %v", err)
		}
	}
}
