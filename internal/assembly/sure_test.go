package assembly

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestSure: what cannot be undone goes by the earlier of two clocks, where there are two.
func TestSure(t *testing.T) {
	cfg := storetest.Postgres(t)(t)
	p := &parts{db: storetest.Open(t, cfg)}
	p.cfg.Store.DSN = cfg.DSN
	for _, off := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		p.opt.Now = func() time.Time { return time.Now().Add(off) }
		at, err := p.sure()(t.Context())
		if err != nil || at.After(time.Now().Add(24*time.Hour)) || off < 0 && at.After(time.Now().Add(-24*time.Hour)) {
			t.Errorf("a clock that is off by %v: %v, %v", off, at, err)
		}
	}
	if p.cfg.Environment = Rehearsal; p.sure() != nil {
		t.Error("a rehearsal is held on another day")
	}
	p.cfg.Environment, p.cfg.Store.DSN = "", "tapvault.db"
	if p.sure() != nil {
		t.Error("a file has no clock of its own")
	}
}
