package cli_test

import (
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/cli"
)

// TestFit: nothing is wider than a terminal, nothing is lost, and what fits stays.
func TestFit(t *testing.T) {
	key, words := "p256:"+strings.Repeat("0123456789ABCDEF", 8)+"AB", strings.Repeat("word ", 20)
	for text, starts := range map[string][]string{
		"short  as it  is":                                    {"short  as it  is"},
		"  9. " + words:                                       {"  9. word", "     word"},
		"2026-11-24T21:53:35.096Z  " + words:                  {"2026-11-24T21:53:35.096Z  word", strings.Repeat(" ", 26) + "word"},
		"Signed by the token: " + key + "\n\nend":             {"Signed by the token: p256:", "0123456789ABCDEF", "0123456789ABCDEF", "", "end"},
		"  carol        custodian         " + key:             {"  carol        custodian p256:", strings.Repeat(" ", 15) + "0123"},
		strings.Repeat("x", 30) + " [block: " + key[5:] + "]": {strings.Repeat("x", 30) + " [block:", "0123456789ABCDEF", "0123456789ABCDEF"},
	} {
		got := cli.Fit(text)
		lines := strings.Split(got, "\n")
		for i, l := range lines {
			if len(l) > cli.Columns {
				t.Errorf("%d columns: %s", len(l), l)
			}
			if i < len(starts) && !strings.HasPrefix(l, starts[i]) {
				t.Errorf("line %d is %q, want it to begin with %q", i, l, starts[i])
			}
		}
		bare := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if bare(got) != bare(text) || len(lines) < len(starts) {
			t.Errorf("%q became %q", text, got)
		}
	}
}
