package progress_test

import (
	"bytes"
	"testing"

	"github.com/tapvault/tapvault/internal/progress"
)

// TestLines is what a log gets: no bar, and the last state once.
func TestLines(t *testing.T) {
	var b bytes.Buffer
	p := progress.New(&b, "tapsim", "riding", 4)
	p.At(1)
	p.At(3)
	p.End()
	if got := b.String(); got != "tapsim: riding: 3 of 4 (75 %)\n" {
		t.Errorf("%q", got)
	}
	b.Reset()
	p = progress.New(&b, "tapsim", "nothing", 0)
	p.At(2) // more than was counted
	p.End()
	if got := b.String(); got != "tapsim: nothing: 2 of 2 (100 %)\n" {
		t.Errorf("%q", got)
	}
}
