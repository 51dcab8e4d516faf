package assembly

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/vault"
)

// lookEvery is how often token ranges are looked at.
const lookEvery = 5 * time.Minute

// rangeWatch keeps what was last seen of the token ranges, for metrics, and
// raises an alarm in the log while one of them runs low.
type rangeWatch struct {
	vault *vault.Vault
	log   *slog.Logger
	alarm int // days left
	mu    sync.Mutex
	seen  map[string]vault.Capacity
}

// watchRanges begins to watch, until stop is called.
func watchRanges(ctx context.Context, v *vault.Vault, alarmDays int, c *chores) (gauges []obs.Gauge, stop func() error) {
	if alarmDays == 0 {
		alarmDays = 14
	}
	w := &rangeWatch{vault: v, log: c.log, alarm: alarmDays, seen: map[string]vault.Capacity{}}
	return w.gauges(), c.look(ctx, "range-capacity", lookEvery, w.look)
}

// look takes one look.
func (w *rangeWatch) look(ctx context.Context) {
	all, err := w.vault.Capacity(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.log.WarnContext(ctx, "token ranges could not be looked at", "error", err.Error())
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range all {
		w.seen[c.Name] = c
		if c.Issuing && c.DaysLeft < w.alarm {
			w.log.ErrorContext(ctx, "token range runs low: configure another one", "range", c.Name,
				"days_left", c.DaysLeft, "numbers_left", c.Fresh+c.Ready, "tokens_per_day", c.PerDay)
		}
	}
}

// gauges are two numbers for each range that issues.
func (w *rangeWatch) gauges() (all []obs.Gauge) {
	for _, r := range w.vault.Ranges() {
		label := map[string]string{"range": r.Name}
		all = append(all,
			obs.Gauge{Name: "range_numbers_left", Help: "Numbers of a token range that can be given out now.", Labels: label,
				Value: func() float64 { c := w.of(r.Name); return float64(c.Fresh + c.Ready) }},
			obs.Gauge{Name: "range_days_left", Help: "Days until a token range is used up; 400 is out of sight.", Labels: label,
				Value: func() float64 { return float64(w.of(r.Name).DaysLeft) }})
	}
	return all
}

func (w *rangeWatch) of(name string) vault.Capacity {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[name]
}
