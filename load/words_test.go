package load_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/load"
)

// TestWordsOfADecision: what stands in the record can be read there, and fits.
func TestWordsOfADecision(t *testing.T) {
	for name, c := range map[string]struct {
		reason, evidence string
		want             error
	}{
		"as long as may be":      {strings.Repeat("r", load.MaxReason), strings.Repeat("e", load.MaxEvidence), nil},
		"other letters":          {"持卡人已退款", "箱 7", nil},
		"one letter":             {"r", "e", nil},
		"reason too long":        {strings.Repeat("r", load.MaxReason+1), "e", load.ErrDecision},
		"too long in bytes":      {strings.Repeat("退", load.MaxReason/3+1), "e", load.ErrDecision},
		"evidence too long":      {"r", strings.Repeat("e", load.MaxEvidence+1), load.ErrDecision},
		"no reason":              {"", "e", load.ErrDecision},
		"no evidence":            {"r", "", load.ErrDecision},
		"nothing but blanks":     {"   ", "e", load.ErrDecision},
		"a line end":             {"a\nb", "e", load.ErrDecision},
		"an escape":              {"a\x1b[2Jb", "e", load.ErrDecision},
		"another direction":      {"a\u202eb", "e", load.ErrDecision},
		"what is no UTF-8":       {"a\xffb", "e", load.ErrDecision},
		"the sign of a bad text": {"a\ufffdb", "e", load.ErrDecision},
		"eleven digits":          {"123456", "78901", nil},
		"twelve digits":          {"123456", "789012", load.ErrDigits},
	} {
		d := load.Decision{Load: "l", In: load.Started, Verdict: load.Settle, Reason: c.reason, Evidence: c.evidence}
		if err := d.Validate(); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
