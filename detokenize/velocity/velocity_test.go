package velocity_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/detokenize/velocity"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

var _ detokenize.Limiter = (*velocity.Limiter)(nil)

// clock is a clock that tests move.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Date(2026, time.March, 2, 4, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time      { return time.UnixMilli(c.ms.Load()) }
func (c *clock) add(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func limiter(t *testing.T, db *store.DB, c *clock, r velocity.Rate) *velocity.Limiter {
	t.Helper()
	l, err := velocity.New(velocity.Config{DB: db, Default: r, Now: c.now,
		Callers: map[string]velocity.Rate{"free": {}, "slow": {PerMinute: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// takes reports whether a caller is given n.
func takes(t *testing.T, l *velocity.Limiter, caller string, n int) bool {
	t.Helper()
	wait, err := l.Take(t.Context(), caller, n)
	if err != nil {
		t.Fatal(err)
	}
	return wait == 0
}

// given counts what a caller is given, one by one, up to a bound.
func given(t *testing.T, l *velocity.Limiter, caller string, most int) (n int) {
	t.Helper()
	for n < most && takes(t, l, caller, 1) {
		n++
	}
	return n
}

// TestEachDatabase holds both kinds of database to the same.
func TestEachDatabase(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		for name, test := range map[string]func(*testing.T, *store.DB){
			"Bucket": bucket, "Restart": restart, "Processes": processes, "Batches": batches, "Clocks": clocks, "Ahead": ahead, "Would": would, "Nothing": nothing,
			"Partly": partly, "Early": early, "Near": near,
		} {
			t.Run(name, func(t *testing.T) { test(t, db(t)) })
		}
	})
}

// would: asking beforehand says what taking would, and takes nothing.
func would(t *testing.T, db *store.DB) {
	c := newClock()
	l := limiter(t, db, c, velocity.Rate{PerMinute: 60, Burst: 100})
	asks := func(n int, want time.Duration) {
		t.Helper()
		for range 3 {
			if wait, err := l.Would(t.Context(), "bank", n); err != nil || wait != want {
				t.Errorf("%d: wait %v, want %v, %v", n, wait, want, err)
			}
		}
	}
	asks(101, -1)
	asks(100, 0)
	asks(99, 0)
	asks(1, 0)
	if !takes(t, l, "bank", 98) {
		t.Fatal("asking took something")
	}
	asks(2, 0)
	asks(5, 3*time.Second)
	c.add(3 * time.Second)
	asks(5, 0)
	if !takes(t, l, "bank", 5) || takes(t, l, "bank", 1) {
		t.Error("what was told does not hold")
	}
}

// nothing, and less than nothing, is always given, takes nothing and brings nothing back.
func nothing(t *testing.T, db *store.DB) {
	c := newClock()
	l := limiter(t, db, c, velocity.Rate{PerMinute: 60, Burst: 100})
	for _, n := range []int{0, -1, -1000} {
		if wait, err := l.Would(t.Context(), "bank", n); wait != 0 || err != nil {
			t.Errorf("%d: would wait %v, %v", n, wait, err)
		}
		if !takes(t, l, "bank", n) {
			t.Errorf("%d is not given", n)
		}
	}
	if n := given(t, l, "bank", 1000); n != 100 {
		t.Errorf("%d were given of a bucket of 100", n)
	}
	if !takes(t, l, "bank", 0) || !takes(t, l, "bank", -1) || takes(t, l, "bank", 1) {
		t.Error("an empty bucket")
	}
}

// partly: who wants more than a bucket holds waits for the rest only.
func partly(t *testing.T, db *store.DB) {
	c := newClock()
	l := limiter(t, db, c, velocity.Rate{PerMinute: 60, Burst: 100})
	if !takes(t, l, "bank", 90) {
		t.Fatal("ninety of a hundred")
	}
	const rest = 10 * time.Second // for 20 where 10 are left
	if wait, err := l.Would(t.Context(), "bank", 20); wait != rest || err != nil {
		t.Errorf("would wait %v, %v", wait, err)
	}
	if wait, err := l.Take(t.Context(), "bank", 20); wait != rest || err != nil {
		t.Errorf("wait %v, %v", wait, err)
	}
	c.add(rest - time.Millisecond)
	if wait, err := l.Would(t.Context(), "bank", 20); wait != time.Millisecond || err != nil || takes(t, l, "bank", 20) {
		t.Errorf("a millisecond too early: wait %v, %v", wait, err)
	}
	c.add(time.Millisecond)
	if !takes(t, l, "bank", 20) || takes(t, l, "bank", 1) {
		t.Error("after the time that was told")
	}
}

// early: who asks too early, over and over, waits no longer for it.
func early(t *testing.T, db *store.DB) {
	c := newClock()
	l := limiter(t, db, c, velocity.Rate{PerMinute: 60})
	if !takes(t, l, "slow", 1) {
		t.Fatal("the first")
	}
	for range 119 {
		c.add(500 * time.Millisecond)
		if takes(t, l, "slow", 1) {
			t.Fatal("given too early")
		}
	}
	c.add(500 * time.Millisecond)
	if !takes(t, l, "slow", 1) {
		t.Error("a minute later, still nothing")
	}
}

// near: processes whose clocks disagree by no more than they may give no more than one.
func near(t *testing.T, db *store.DB) {
	right, wrong := newClock(), newClock()
	wrong.add(2 * time.Minute)
	rate := velocity.Rate{PerMinute: 60}
	a, b := limiter(t, db, right, rate), limiter(t, db, wrong, rate)
	total := 0
	for range 30 {
		right.add(20 * time.Second)
		wrong.add(20 * time.Second)
		total += given(t, a, "bank", 1000) + given(t, b, "bank", 1000)
	}
	if total < 600 || total > 720 { // a full bucket, once more for the difference, and what flowed in
		t.Errorf("%d in ten minutes, at 60 a minute", total)
	}
}

func bucket(t *testing.T, db *store.DB) {
	c := newClock()
	l := limiter(t, db, c, velocity.Rate{PerMinute: 60, Burst: 100})
	if n := given(t, l, "bank", 1000); n != 100 {
		t.Errorf("at once: %d", n)
	}
	wait, err := l.Take(t.Context(), "bank", 1)
	if err != nil || wait != time.Second {
		t.Errorf("empty: wait %v, %v", wait, err)
	}
	if !takes(t, l, "other", 1) {
		t.Error("one caller empties another's bucket")
	}
	c.add(wait - time.Millisecond)
	if takes(t, l, "bank", 1) {
		t.Error("given too early")
	}
	c.add(time.Millisecond)
	if n := given(t, l, "bank", 1000); n != 1 {
		t.Errorf("after a second: %d", n)
	}
	c.add(10 * time.Second)
	if n := given(t, l, "bank", 1000); n != 10 {
		t.Errorf("after ten seconds: %d", n)
	}
	c.add(time.Hour)
	if n := given(t, l, "bank", 1000); n != 100 {
		t.Errorf("after an hour: %d", n)
	}
	if n := given(t, l, "free", 5000); n != 5000 {
		t.Errorf("without a limit: %d", n)
	}
	if n := given(t, l, "slow", 10); n != 1 {
		t.Errorf("one a minute: %d", n)
	}
}

// restart: a process that ends gives nothing back, and the next one gives no
// more than was left.
func restart(t *testing.T, db *store.DB) {
	c := newClock()
	r := velocity.Rate{PerMinute: 60, Burst: 100}
	total := 0
	for range 50 {
		total += given(t, limiter(t, db, c, r), "bank", 3)
	}
	if total == 0 || total > 100 {
		t.Errorf("%d were given over restarts", total)
	}
	if takes(t, limiter(t, db, c, r), "bank", 1) {
		t.Error("a restart fills the bucket")
	}
}

// processes share one bucket.
func processes(t *testing.T, db *store.DB) {
	c := newClock()
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		l := limiter(t, db, c, velocity.Rate{PerMinute: 60, Burst: 200})
		for range 4 {
			wg.Go(func() {
				for range 100 {
					wait, err := l.Take(t.Context(), "bank", 1)
					if err != nil {
						t.Error(err)
					}
					if wait == 0 && err == nil {
						total.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := total.Load(); n > 200 || n < 200-3*10 {
		t.Errorf("%d were given", n)
	}
}

// batches are given whole or not at all.
func batches(t *testing.T, db *store.DB) {
	c := newClock()
	l := limiter(t, db, c, velocity.Rate{PerMinute: 600, Burst: 600})
	if !takes(t, l, "bank", 500) {
		t.Fatal("a batch within the limit")
	}
	if takes(t, l, "bank", 500) {
		t.Error("a batch over the limit")
	}
	if n := given(t, l, "bank", 1000); n != 100 {
		t.Errorf("after a refused batch: %d", n)
	}
	if wait, err := l.Take(t.Context(), "bank", 1000); err != nil || wait >= 0 {
		t.Errorf("more than there can ever be: %v, %v", wait, err)
	}
}

// clocks: one that is set back gives nothing twice, and one far ahead does no
// harm.
func clocks(t *testing.T, db *store.DB) {
	c := newClock()
	l := limiter(t, db, c, velocity.Rate{PerMinute: 60})
	if n := given(t, l, "bank", 1000); n != 60 {
		t.Errorf("a minute's worth at once: %d", n)
	}
	c.add(-time.Hour)
	if takes(t, l, "bank", 1) {
		t.Error("given by a clock that was set back")
	}
	c.add(time.Hour)
	if takes(t, l, "bank", 1) {
		t.Error("given again when it came back")
	}
	c.ms.Store(math.MaxInt64 / 4)
	if n := given(t, l, "bank", 1000); n != 60 {
		t.Errorf("at the end of time: %d", n)
	}
}

func TestConfig(t *testing.T) {
	if _, err := velocity.New(velocity.Config{}); err == nil {
		t.Error("no database")
	}
	db := storetest.New(t)
	for _, r := range []velocity.Rate{{PerMinute: -1}, {Burst: -1}, {PerMinute: 1 << 40}, {PerMinute: 1, Burst: 1 << 40}} {
		if _, err := velocity.New(velocity.Config{DB: db, Default: r}); err == nil {
			t.Errorf("%+v passes", r)
		}
		if _, err := velocity.New(velocity.Config{DB: db, Callers: map[string]velocity.Rate{"a": r}}); err == nil {
			t.Errorf("%+v passes for a caller", r)
		}
	}
	timed, err := velocity.New(velocity.Config{DB: db, Default: velocity.Rate{PerMinute: 1}})
	if err != nil || !takes(t, timed, "without a clock", 1) {
		t.Error("a limiter that is given no clock", err)
	}
	l := limiter(t, db, newClock(), velocity.Rate{PerMinute: 1_000_000_000, Burst: 1_000_000_000})
	if !takes(t, l, "bank", 500) {
		t.Error("the greatest rate gives nothing")
	}
	held := limiter(t, db, newClock(), velocity.Rate{PerMinute: 60, Burst: 100})
	if !takes(t, held, "bank", 10) { // and four more, for those who come next
		t.Fatal("ten of a hundred")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{3, 1} { // what a process holds is given without the database
		if wait, err := held.Would(t.Context(), "bank", n); wait != 0 || err != nil || !takes(t, held, "bank", n) {
			t.Errorf("%d of what is held: %v, %v", n, wait, err)
		}
	}
	if _, err := held.Take(t.Context(), "bank", 1); fault.KindOf(err) != fault.StoreDown {
		t.Errorf("more than is held: %v", err)
	}
	if _, err := l.Would(t.Context(), "other", 1); fault.KindOf(err) != fault.StoreDown {
		t.Errorf("asking a closed database: %v", err)
	}
	if _, err := l.Take(t.Context(), "other", 1); fault.KindOf(err) != fault.StoreDown {
		t.Errorf("a closed database: %v", err)
	}
}

// ahead: a process whose clock is a day ahead neither keeps a caller from the
// others for that day, nor is the caller given more than twice a full bucket for
// it.
func ahead(t *testing.T, db *store.DB) {
	right, wrong := newClock(), newClock()
	wrong.add(24 * time.Hour)
	rate := velocity.Rate{PerMinute: 60}
	a, b := limiter(t, db, right, rate), limiter(t, db, wrong, rate)
	pass := func(d time.Duration) { right.add(d); wrong.add(d) }

	first := given(t, a, "bank", 1000)
	if first += given(t, b, "bank", 1000); first > 120 {
		t.Errorf("%d at once", first)
	}
	takes(t, a, "bank", 1)
	pass(time.Minute)
	if n := given(t, a, "bank", 1000); n < 50 {
		t.Errorf("a minute later, %d: the clock of the other is believed", n)
	}
	total := 0
	for range 30 {
		pass(20 * time.Second)
		total += given(t, a, "bank", 1000) + given(t, b, "bank", 1000)
	}
	if total < 300 || total > 700 {
		t.Errorf("%d in ten minutes of two clocks that disagree, at 60 a minute", total)
	}
}
