package webhook_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/webhook"
)

// TestDeliveryThatPanics: a delivery that panics is put off, and those of other tokens go
// out beside it; a queue that panics is asked again.
func TestDeliveryThatPanics(t *testing.T) {
	r := newRig(t)
	_, key := newKey(t)
	key.Sign = func(context.Context, [32]byte) ([64]byte, error) { panic("no HSM") }
	q := &panickyQueue{Queue: r.queue}
	d, err := webhook.New(webhook.Config{Endpoints: []webhook.Endpoint{r.end}, Queue: q, Key: key, Rehearsal: true,
		Now: func() time.Time { return r.now }, Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.tokens(2)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx) }()
	for end := time.Now().Add(time.Minute); q.put.Load() < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	if q.filled.Load() < 2 || q.put.Load() != 2 {
		t.Errorf("the queue was asked %d times, %d deliveries were put off", q.filled.Load(), q.put.Load())
	}
	r.now = r.now.Add(time.Minute)
	r.drain()
	r.wants("A 1", "B 1")
}

// panickyQueue panics the first time, and counts.
type panickyQueue struct {
	webhook.Queue
	filled, put atomic.Int64
}

func (q *panickyQueue) Fill(ctx context.Context, e webhook.Endpoint) error {
	if q.filled.Add(1) == 1 {
		panic("no queue")
	}
	return q.Queue.Fill(ctx, e)
}

func (q *panickyQueue) Later(ctx context.Context, one webhook.Delivery, at time.Time) error {
	defer q.put.Add(1)
	return q.Queue.Later(ctx, one, at)
}

// TestUnreadableEvent: an event that cannot be read is sent without its data, and holds up
// none of its token nor of others, wherever it is met: when the queue is filled, and after.
func TestUnreadableEvent(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		r := newRig(t, db(t))
		r.emit(0, requestor)
		r.emit(0, requestor)
		r.emit(1, requestor)
		storetest.Exec(t, r.db, "UPDATE events SET data = '{' WHERE seq = 1")
		r.drain()
		r.wants("A 1", "A 2", "B 1")
		for _, e := range r.recv.got {
			if e.Unreadable != (e.Seq == 1) || e.Data != nil {
				t.Errorf("%+v", e)
			}
		}
	})
}
