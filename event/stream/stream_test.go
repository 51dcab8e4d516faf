package stream_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/event/stream"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

const mine, others = token.Requestor("12345678901"), token.Requestor("10987654321")

type world struct {
	db     *store.DB
	outbox *outbox.Outbox
	hub    *stream.Hub
}

func newWorld(t *testing.T, cfg stream.Config) *world {
	t.Helper()
	w := &world{db: storetest.New(t)}
	var err error
	if w.outbox, err = outbox.New(outbox.Config{DB: w.db}); err != nil {
		t.Fatal(err)
	}
	cfg.Source = w.outbox
	if w.hub, err = stream.New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) emit(t *testing.T, r token.Requestor, n int) {
	t.Helper()
	ref := token.Ref("tr" + strings.Repeat("A", 25) + string(rune('A'+int(r[1]-'0'))))
	err := w.db.Tx(t.Context(), func(tx *gorm.DB) error {
		for range n {
			if err := w.outbox.Emit(tx, event.Event{Type: event.Updated, Ref: ref, Requestor: r}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) look(t *testing.T) {
	t.Helper()
	if err := w.hub.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) open(t *testing.T, after int64) *stream.Reader {
	t.Helper()
	r, err := w.hub.Open("bank", event.Filter{Requestor: mine}, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func next(t *testing.T, r *stream.Reader) []event.Event {
	t.Helper()
	got, err := r.Next(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// seqs are the events' numbers of their token: a reader sees each once.
func seqs(t *testing.T, r *stream.Reader, from, to int64) {
	t.Helper()
	for want := from; want <= to; {
		got := next(t, r)
		if len(got) == 0 {
			t.Fatalf("event %d does not come", want)
		}
		for _, e := range got {
			if e.Seq != want || e.Requestor != mine {
				t.Fatalf("event %d of %s, want %d", e.Seq, e.Requestor, want)
			}
			want++
		}
	}
	if got := next(t, r); len(got) > 0 {
		t.Fatalf("%d events more than there are", len(got))
	}
}

// TestCatchUpThenLive: what was there, what comes, and nothing of others.
func TestCatchUpThenLive(t *testing.T) {
	w := newWorld(t, stream.Config{})
	w.emit(t, mine, 250)
	w.emit(t, others, 3)
	w.look(t)
	r := w.open(t, 0)
	seqs(t, r, 1, 250)
	w.emit(t, others, 2)
	w.emit(t, mine, 120)
	w.look(t)
	seqs(t, r, 251, 370)
	all, err := w.outbox.List(t.Context(), event.Filter{Requestor: mine}, 0, 300)
	if err != nil {
		t.Fatal(err)
	}
	late := w.open(t, all[299].Position)
	seqs(t, late, 301, 370)
}

// TestPutBack: a database that was put back to an earlier day gives positions
// that were given before to other events. Readers that stand behind its end are
// told so, and do not wait there while events go by.
func TestPutBack(t *testing.T) {
	w := newWorld(t, stream.Config{})
	w.emit(t, mine, 5)
	w.look(t)
	r := w.open(t, 0)
	seqs(t, r, 1, 5)
	err := w.db.Tx(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Exec("DELETE FROM events WHERE position > 2").Error; err != nil {
			return err
		}
		return tx.Exec("UPDATE event_head SET position = 2 WHERE id = 1").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.hub.Look(t.Context()); !errors.Is(err, event.ErrAhead) {
		t.Errorf("the hub looked on: %v", err)
	}
	if _, err := r.Next(t.Context(), 0); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("a stream goes on: %v", err)
	}
	if _, err := w.open(t, 5).Next(t.Context(), 0); !errors.Is(err, event.ErrAhead) {
		t.Errorf("a reader that comes back: %v", err)
	}
	w.emit(t, mine, 2)
	w.look(t)
	seqs(t, w.open(t, 0), 1, 4)
	held := w.open(t, 2)
	next(t, held)
	w.emit(t, mine, 1)
	w.look(t)
	if got := next(t, held); len(got) != 1 || got[0].Seq != 5 {
		t.Errorf("a reader at the end: %v", got)
	}
}

// TestNothingMissed joins and reads while others write and look.
func TestNothingMissed(t *testing.T) {
	w := newWorld(t, stream.Config{Every: time.Millisecond, Buffer: 10_000})
	ctx, cancel := context.WithCancel(t.Context())
	var running, reading sync.WaitGroup
	running.Go(func() { w.hub.Run(ctx) })
	const n, readers = 300, 3
	running.Go(func() {
		for range n / 3 {
			w.emit(t, mine, 3)
		}
	})
	for range readers {
		r := w.open(t, 0)
		reading.Go(func() {
			want := int64(1)
			for quiet := 0; want <= n && quiet < 30; quiet++ {
				got, err := r.Next(t.Context(), time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range got {
					if e.Seq != want {
						t.Errorf("event %d, want %d", e.Seq, want)
						return
					}
					want, quiet = want+1, 0
				}
			}
			if want <= n {
				t.Errorf("event %d never came", want)
			}
		})
	}
	reading.Wait()
	cancel()
	running.Wait()
}

func TestSlowReaderIsDropped(t *testing.T) {
	w := newWorld(t, stream.Config{Buffer: 4})
	w.look(t)
	slow, quick := w.open(t, 0), w.open(t, 0)
	next(t, slow)
	next(t, quick)
	for range 2 {
		w.emit(t, mine, 3)
		w.look(t)
		if got := next(t, quick); len(got) != 3 {
			t.Fatalf("%d events", len(got))
		}
	}
	if _, err := slow.Next(t.Context(), 0); !errors.Is(err, stream.ErrSlow) {
		t.Errorf("got %v, want %v", err, stream.ErrSlow)
	}
	again := w.open(t, 0) // from the last position that it saw
	seqs(t, again, 1, 6)
}

func TestBounds(t *testing.T) {
	w := newWorld(t, stream.Config{PerCaller: 2, InAll: 3})
	first := w.open(t, 0)
	w.open(t, 0)
	if _, err := w.hub.Open("bank", event.Filter{}, 0); !errors.Is(err, stream.ErrMany) {
		t.Errorf("a third stream of one caller: %v", err)
	}
	if r, err := w.hub.Open("other", event.Filter{}, 0); err != nil {
		t.Fatal(err)
	} else {
		defer r.Close()
	}
	if _, err := w.hub.Open("third", event.Filter{}, 0); !errors.Is(err, stream.ErrFull) {
		t.Errorf("a fourth stream: %v", err)
	}
	first.Close()
	first.Close()
	if r, err := w.hub.Open("bank", event.Filter{}, 0); err != nil {
		t.Errorf("a place that was given back: %v", err)
	} else {
		r.Close()
	}
}

func TestClose(t *testing.T) {
	w := newWorld(t, stream.Config{})
	w.look(t)
	r := w.open(t, 0)
	next(t, r)
	time.AfterFunc(10*time.Millisecond, w.hub.Close)
	if _, err := r.Next(t.Context(), time.Minute); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("got %v, want %v", err, stream.ErrClosed)
	}
	if _, err := w.hub.Open("bank", event.Filter{}, 0); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("opened after the end: %v", err)
	}
	if _, err := stream.New(stream.Config{}); err == nil {
		t.Error("a hub without a source was made")
	}
}

// broken fails where it is told to.
type broken struct{ err error }

func (b broken) List(context.Context, event.Filter, int64, int) ([]event.Event, error) {
	return nil, b.err
}
func (b broken) Last(context.Context) (int64, error) { return 0, b.err }

func TestSourceFails(t *testing.T) {
	stop := errors.New("stop")
	h, err := stream.New(stream.Config{Source: broken{stop}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.Open("bank", event.Filter{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := h.Look(t.Context()); !errors.Is(err, stop) {
		t.Error(err)
	}
	if _, err := r.Next(t.Context(), 0); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// panicky panics at its first look.
type panicky struct {
	stream.Source
	asked atomic.Int64
}

func (p *panicky) Last(ctx context.Context) (int64, error) {
	if p.asked.Add(1) == 1 {
		panic("no events")
	}
	return p.Source.Last(ctx)
}

// TestLookThatPanics: a look that panics ends no stream, and the next one is taken.
func TestLookThatPanics(t *testing.T) {
	w := newWorld(t, stream.Config{})
	p := &panicky{Source: w.outbox}
	h, err := stream.New(stream.Config{Source: p, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	for end := time.Now().Add(time.Minute); p.asked.Load() < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	r, err := h.Open("bank", event.Filter{Requestor: mine}, 0)
	if err != nil {
		t.Fatalf("after a look that panicked: %v", err)
	}
	r.Close()
	cancel()
	<-ended
}
