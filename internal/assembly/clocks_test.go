package assembly

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestClockWatch: a clock that is off is seen in the metrics, where there is another one.
func TestClockWatch(t *testing.T) {
	cfg := storetest.Postgres(t)(t)
	p := &parts{db: storetest.Open(t, cfg)}
	p.cfg.Store.DSN = cfg.DSN
	for _, off := range []time.Duration{-24 * time.Hour, 0, time.Hour} {
		p.opt.Now, p.gauges = func() time.Time { return time.Now().Add(off) }, nil
		w := p.clocks()
		if err := w.look(t.Context(), p.db); err != nil {
			t.Fatal(err)
		}
		// The server's is this machine's clock, which may be asked late.
		if got := p.gauges[0].Value() - off.Seconds(); got < -60 || got > 60 {
			t.Errorf("a clock that is off by %v is seen %v s beside that", off, got)
		}
	}
	p.cfg.Store.DSN = "tapvault.db"
	if p.clocks() != nil {
		t.Error("a file has no clock of its own")
	}
}
