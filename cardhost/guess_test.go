package cardhost

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
)

// blameless knows nobody who got anything wrong.
type blameless struct{ Guesses }

func (blameless) Standing(context.Context, string) (Standing, error) { return Standing{}, nil }

// TestSeenIsBounded: however many callers there are, memory is not theirs.
func TestSeenIsBounded(t *testing.T) {
	g := &guard{guesses: blameless{}, now: time.Now, seen: map[string]look{}}
	for i := range mostSeen + 10 {
		if err := g.may(t.Context(), access.Caller{ID: strconv.Itoa(i)}, Card{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(g.seen); n != 10 {
		t.Errorf("%d callers are remembered", n)
	}
}
