package gather_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/gather"
)

var errOdd = errors.New("odd")

// hall serves numbers: even ones are doubled, odd ones fail. It holds each
// serving until it is let go.
type hall struct {
	begun chan []int
	goOn  chan struct{}
}

func newHall() *hall { return &hall{make(chan []int), make(chan struct{})} }

func (h *hall) serve(_ context.Context, all []int) []gather.Answer[int] {
	h.begun <- append([]int(nil), all...)
	<-h.goOn
	out := make([]gather.Answer[int], len(all))
	for i, n := range all {
		if out[i].Value = 2 * n; n%2 == 1 {
			out[i].Err = errOdd
		}
	}
	return out
}

func TestThoseWhoComeMeanwhileAreServedTogether(t *testing.T) {
	h := newHall()
	g := gather.New(gather.Config[int, int]{Serve: h.serve, Most: 3, Lanes: 1})
	var wg sync.WaitGroup
	ask := func(n int) {
		wg.Go(func() {
			got, err := g.Do(t.Context(), n)
			if got != 2*n || (n%2 == 1) != errors.Is(err, errOdd) {
				t.Errorf("%d: %d, %v", n, got, err)
			}
		})
	}
	ask(100)
	if first := <-h.begun; len(first) != 1 {
		t.Fatalf("the first is served alone, not as %v", first)
	}
	for n := range 5 {
		ask(n)
	}
	gather.WaitFor(g, 5)
	h.goOn <- struct{}{}
	served := 0
	for _, want := range []int{3, 2} {
		all := <-h.begun
		if len(all) != want {
			t.Errorf("served together: %v, not %d", all, want)
		}
		served += len(all)
		h.goOn <- struct{}{}
	}
	wg.Wait()
	if served != 5 {
		t.Errorf("%d were served", served)
	}
}

func TestLanes(t *testing.T) {
	h := newHall()
	g := gather.New(gather.Config[int, int]{Serve: h.serve, Most: 8, Lanes: 2})
	var wg sync.WaitGroup
	for n := range 2 {
		wg.Go(func() { _, _ = g.Do(t.Context(), n) })
		<-h.begun // both at the same time
	}
	close(h.goOn)
	wg.Wait()
}

func TestWhoGoesAwayWhileWaitingIsNotServed(t *testing.T) {
	h := newHall()
	g := gather.New(gather.Config[int, int]{Serve: h.serve, Most: 8, Lanes: 1})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = g.Do(t.Context(), 2) })
	<-h.begun
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if _, err := g.Do(ctx, 4); !errors.Is(err, context.Canceled) {
			t.Errorf("who went away: %v", err)
		}
	})
	gather.WaitFor(g, 1)
	cancel()
	gather.WaitFor(g, 0)
	h.goOn <- struct{}{}
	wg.Wait()
}

func TestWhoIsBeingServedHearsTheAnswer(t *testing.T) {
	h := newHall()
	g := gather.New(gather.Config[int, int]{Serve: h.serve, Most: 8, Lanes: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if got, err := g.Do(ctx, 2); got != 4 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
	})
	<-h.begun
	cancel()
	h.goOn <- struct{}{}
	wg.Wait()
}

func TestAPanicIsEveryAskersOwn(t *testing.T) {
	begun, goOn := make(chan bool), make(chan bool)
	g := gather.New(gather.Config[int, int]{Most: 8, Lanes: 1, Serve: func(context.Context, []int) []gather.Answer[int] {
		begun <- true
		<-goOn
		panic("broken")
	}})
	var wg sync.WaitGroup
	ask := func() {
		defer func() {
			if !isBroken(recover()) {
				t.Error("it is not told of the panic")
			}
		}()
		_, err := g.Do(t.Context(), 1)
		t.Errorf("an answer: %v", err)
	}
	wg.Go(ask)
	<-begun
	wg.Go(ask)
	wg.Go(ask)
	gather.WaitFor(g, 2)
	goOn <- true
	<-begun
	goOn <- true
	wg.Wait()
}

func TestAServingEndsWithTheLastDeadline(t *testing.T) {
	begun, goOn := make(chan time.Time), make(chan bool)
	g := gather.New(gather.Config[int, int]{Most: 8, Lanes: 1, Serve: func(ctx context.Context, all []int) []gather.Answer[int] {
		at, named := ctx.Deadline()
		if !named || ctx.Err() != nil {
			t.Errorf("%d are served for ever, or not at all: %v", len(all), ctx.Err())
		}
		begun <- at
		<-goOn
		return make([]gather.Answer[int], len(all))
	}})
	var wg sync.WaitGroup
	ask := func(ctx context.Context) {
		wg.Go(func() { _, _ = g.Do(ctx, 1) })
	}
	ask(t.Context())
	<-begun
	early, late := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for _, at := range []time.Time{early, late, early} {
		ctx, cancel := context.WithDeadline(t.Context(), at)
		defer cancel()
		ask(ctx)
	}
	gather.WaitFor(g, 3)
	goOn <- true
	if at := <-begun; !at.Equal(late) {
		t.Errorf("the serving of three ends at %v, not %v", at, late)
	}
	goOn <- true
	wg.Wait()
}

func TestSpread(t *testing.T) {
	for _, n := range []int{0, 1, 3, 10} {
		var running, most atomic.Int64
		done := make([]atomic.Int64, n)
		gather.Spread(n, 3, func(i int) {
			now := running.Add(1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			done[i].Add(1)
			running.Add(-1)
		})
		for i := range done {
			if done[i].Load() != 1 {
				t.Errorf("%d of %d was done %d times", i, n, done[i].Load())
			}
		}
		if most.Load() > 3 {
			t.Errorf("%d ran at a time", most.Load())
		}
	}
}

// TestSpreadPanics: a panic comes out where somebody is there to deal with it, after
// everything that was begun has ended.
func TestSpreadPanics(t *testing.T) {
	var done atomic.Int64
	func() {
		defer func() {
			if !isBroken(recover()) {
				t.Error("it is not told of the panic")
			}
		}()
		gather.Spread(100, 2, func(i int) {
			if i == 5 {
				panic("broken")
			}
			done.Add(1)
		})
		t.Error("the panic was lost")
	}()
	if n := done.Load(); n != 99 {
		t.Errorf("%d of 99 were done", n)
	}
}

// isBroken reports whether a test's panic was carried, with where it was.
func isBroken(recovered any) bool {
	p, ok := recovered.(*fault.Panicked)
	return ok && p.Value == "broken" && strings.Contains(p.At[0], "gather_test.Test") && !strings.Contains(p.Error(), "broken")
}
