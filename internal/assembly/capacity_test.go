package assembly

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// TestAlarm: a range that runs low is told of in the log, and metrics show it.
func TestAlarm(t *testing.T) {
	f := vaulttest.New(t, func(c *vault.Config) { c.Ranges = []vault.Range{vaulttest.Small} })
	f.Fill(t, vaulttest.Small.Name, 1_000_000-20, func(string) string { return "1" + strings.Repeat("0", 15) })
	var log bytes.Buffer
	w := &rangeWatch{vault: f.Vault, log: slog.New(slog.NewTextHandler(&log, nil)), alarm: 3, seen: map[string]vault.Capacity{}}
	w.look(t.Context())
	if log.Len() > 0 {
		t.Fatalf("an alarm about a range that nobody uses: %s", log.String())
	}
	for n := range 8 {
		if _, err := f.Writer().Issue(t.Context(), f.Order(t, n), "bank", access.Attempt{}); err != nil {
			t.Fatal(err)
		}
	}
	w.look(t.Context())
	if !strings.Contains(log.String(), "range=small days_left=1 numbers_left=12") {
		t.Fatalf("no alarm: %s", log.String())
	}
	values := map[string]float64{}
	for _, g := range w.gauges() {
		if g.Labels["range"] == vaulttest.Small.Name {
			values[g.Name] = g.Value()
		}
	}
	if values["range_numbers_left"] != 12 || values["range_days_left"] != 1 {
		t.Fatalf("metrics %v", values)
	}
}

// TestWatchStops: closing the service ends the watch.
func TestWatchStops(t *testing.T) {
	f := vaulttest.New(t)
	gauges, stop := watchRanges(t.Context(), f.Vault, 0, newChores(slog.New(slog.DiscardHandler)))
	for end := time.Now().Add(time.Minute); gauges[0].Value() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if err := stop(); err != nil || gauges[0].Value() == 0 {
		t.Fatalf("%v numbers left, %v", gauges[0].Value(), err)
	}
}
