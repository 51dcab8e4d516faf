package api

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/api/wire"
)

// places are those of a service under test.
var places, _ = newPositions(bytes.Repeat([]byte{7}, 32))

// TestPlacesTellNothing: from cursors nobody learns how much lies between them, nor makes
// one of a place that it was not told.
func TestPlacesTellNothing(t *testing.T) {
	other, err := newPositions(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, at := range []int64{0, 1, 2, 100, 101, 1 << 40, 1<<63 - 1} {
		s := places.format(at)
		if got, err := places.parse(s); err != nil || got != at || seen[s] || len(s) != len(places.format(0)) {
			t.Errorf("%d: %s, %d, %v", at, s, got, err)
		}
		seen[s] = true
		if strings.HasPrefix(s, places.format(at ^ 1)[:4]) {
			t.Errorf("neighbours look alike: %s, %s", s, places.format(at^1))
		}
		again, err := newPositions(bytes.Repeat([]byte{7}, 32))
		if err != nil || again.format(at) != s {
			t.Errorf("another process tells %d otherwise", at)
		}
		bad := []string{other.format(at), s + "A", s[:len(s)-1], strings.ToLower(s), "q" + s[1:]}
		for i := 1; i < len(s); i++ { // also of the bits that the last letter has too many
			for _, c := range "ABQZ7" {
				if byte(c) != s[i] {
					bad = append(bad, s[:i]+string(c)+s[i+1:])
				}
			}
		}
		for _, b := range bad {
			var field *wire.FieldError
			if got, err := places.parse(b); !errors.As(err, &field) {
				t.Errorf("%s is taken for %d, %v", b, got, err)
			}
		}
	}
	for _, b := range []string{"p", "p0", "p2s", "100", "-1", "p" + strings.Repeat("A", 26), "p" + strings.Repeat("A", 255)} {
		if got, err := places.parse(b); err == nil {
			t.Errorf("%s is taken for %d", b, got)
		}
	}
}
