package attack_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/sim/attack"
)

// TestEveryRowHolds plays every attack. It is the proof that each defence of the
// design is there, all the way from phone and reader to the ledger.
func TestEveryRowHolds(t *testing.T) {
	results, err := attack.Play(t.Context(), attack.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Held {
			t.Errorf("row %s, %s: %d fen, at most %d", r.Row, r.What, r.Loss, r.Bound)
		}
	}
	var names []string
	for _, r := range results {
		names = append(names, r.Row)
	}
	if !slices.Equal(names, attack.Names()) {
		t.Errorf("played %v of %v", names, attack.Names())
	}
	// Where the design expects a loss there has to be one: an attacker who gets
	// nothing at all shows that the simulator does not work, not that it holds.
	for _, row := range []string{"3", "4P/G", "5", "6/1", "6/10", "6/100", "8", "9", "11", "12/C", "16", "17", "22"} {
		if i := slices.Index(names, row); i < 0 || results[i].Loss == 0 {
			t.Errorf("row %s: the attacker got nothing", row)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	results := []attack.Result{
		{Row: "6/10", What: strings.Repeat("words that take more than one line ", 3), Bound: 6000, Loss: 5000, Held: true},
		{Row: "14", What: "short", Loss: 100},
	}
	if err := attack.WriteTable(&b, results); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		if len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if !strings.Contains(b.String(), "60.00") || !strings.Contains(b.String(), "1.00  NO") {
		t.Errorf("%s", b.String())
	}
	if attack.Held(results) || !attack.Held(results[:1]) {
		t.Error("what held and what did not is mixed up")
	}
}

func TestUnknownRow(t *testing.T) {
	if err := attack.Check([]string{"6/1", "6/2"}); err == nil || !strings.Contains(err.Error(), "6/100") {
		t.Errorf("%v", err)
	}
	if err := attack.Check(nil); err != nil {
		t.Error(err)
	}
}
