package velocity

import (
	"strconv"
	"testing"
)

// TestHeldIsBounded: however many callers there are, memory is not theirs.
func TestHeldIsBounded(t *testing.T) {
	l := &Limiter{held: map[string]*purse{}}
	for i := range mostHeld + 10 {
		name := strconv.Itoa(i)
		if p := l.purse(name); p == nil || p != l.purse(name) {
			t.Fatalf("caller %d has no purse of its own", i)
		}
	}
	if n := len(l.held); n != 10 {
		t.Errorf("%d purses are held", n)
	}
}
