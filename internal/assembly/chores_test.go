package assembly

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

// until waits for something that comes soon.
func until(t *testing.T, what string, came func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !came(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// failures reads one of the counters.
func failures(c *chores, task string) float64 {
	for _, g := range c.gauges() {
		if g.Labels["task"] == task {
			return g.Value()
		}
	}
	return -1
}

// TestChoreThatPanics: what the process does beside requests is done again after a
// panic; that is told and counted, and says nothing of the value.
func TestChoreThatPanics(t *testing.T) {
	var log safeBuffer
	c := newChores(slog.New(slog.NewTextHandler(&log, nil)))
	c.rest = time.Millisecond
	var repeated, ran atomic.Int64
	stop := []func() error{
		c.repeat(t.Context(), "tokens", "tokens could not be swept", time.Millisecond, func(context.Context) error {
			switch repeated.Add(1) {
			case 1:
				panic("4761739001010010")
			case 2:
				return errors.New("no")
			}
			return nil
		}),
		c.run(t.Context(), "webhooks", func(ctx context.Context) {
			if ran.Add(1) < 3 {
				panic("4761739001010010")
			}
			<-ctx.Done()
		}),
	}
	until(t, "a third time", func() bool { return repeated.Load() > 2 && ran.Load() == 3 })
	for _, s := range stop {
		if err := s(); err != nil {
			t.Error(err)
		}
	}
	if failures(c, "tokens") != 2 || failures(c, "webhooks") != 2 || failures(c, "slots") != 0 {
		t.Errorf("counted %v, %v and %v", failures(c, "tokens"), failures(c, "webhooks"), failures(c, "slots"))
	}
	out := log.String()
	for _, want := range []string{`level=ERROR msg="tokens could not be swept" error="a panic of type string at`, `level=WARN msg="tokens could not be swept" error=no`, "TestChoreThatPanics"} {
		if !strings.Contains(out, want) {
			t.Errorf("the log lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "4761") {
		t.Errorf("the log has what a row held:\n%s", out)
	}
}

// TestChoreThatEnds: what ends by itself is not begun again.
func TestChoreThatEnds(t *testing.T) {
	c := newChores(slog.New(slog.DiscardHandler))
	c.rest = time.Microsecond
	var ran atomic.Int64
	stop := c.run(t.Context(), "events", func(context.Context) { ran.Add(1) })
	until(t, "the first time", func() bool { return ran.Load() > 0 })
	time.Sleep(20 * time.Millisecond)
	if err := stop(); err != nil || ran.Load() != 1 {
		t.Errorf("it ran %d times, %v", ran.Load(), err)
	}
}
