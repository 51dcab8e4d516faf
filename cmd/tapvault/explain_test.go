package main

import (
	"strings"
	"testing"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/cli"
)

// TestExplanationFits: whatever is explained, no line is longer than 80 columns
// and nothing that was found is left out.
func TestExplanationFits(t *testing.T) {
	used := wire.EMVMethod{Profile: "mchip-21", Key: "bank-of-a-long-name.imk-ac.v255", Master: "b-hash", Session: "mchip",
		Algorithm: "iso-9797-1-algorithm-3", Padding: 2, PSN: "01", Length: 52, Padded: 56}
	for _, n := range strings.Fields("9F02 9F03 9F1A 95 5F2A 9A 9C 9F37 82 9F36 CVR COUNTERS") {
		used.Fields = append(used.Fields, wire.EMVField{Name: n, Length: 6})
	}
	used.Fields[3].Wants = "5"
	e := wire.EMVExplanation{Used: used, Tried: 900, Remarks: []wire.EMVRemark{{Code: "iad-version", Field: "9F10",
		Text: strings.Repeat("the issuer application data names another cryptogram version ", 3)}},
		Variants: []wire.EMVVariant{{Changes: []wire.EMVChange{{What: "psn", Used: "00", Held: "01", Note: "one side left it out"},
			{What: "padding", Used: "2", Held: "1", Note: "zeros"}}}}}
	var out strings.Builder
	if err := writeExplanation(&out, e); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if len(strings.TrimSuffix(line, "\n")) > cli.Columns {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	for _, want := range []string{"does not hold", "900 ways", "bank-of-a-long-name.imk-ac.v255", "95(6)!=5", "COUNTERS(6)", "! 9F10", "1. psn: 00 was used, 01 holds", "1. padding"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := writeExplanation(&out, wire.EMVExplanation{Used: used}); err != nil || !strings.Contains(out.String(), "no known way") {
		t.Errorf("%s, %v", out.String(), err)
	}
}
