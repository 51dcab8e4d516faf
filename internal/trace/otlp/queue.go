package otlp

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// queue hands finished spans to the collector, many at a time. Whoever ends a
// span never waits.
type queue struct {
	to  sdk.SpanExporter
	log *slog.Logger
	in  chan sdk.ReadOnlySpan

	sent, dropped, failed atomic.Uint64

	stop   chan struct{} // closed: send what waits, and end
	once   sync.Once
	cancel context.CancelFunc // breaks off what is being sent
	done   chan struct{}
}

// What is sent at a time: so many spans, or those of so long.
const (
	atATime = 512
	pause   = time.Second
)

func newQueue(to sdk.SpanExporter, size int, log *slog.Logger) *queue {
	ctx, cancel := context.WithCancel(context.Background())
	q := &queue{to: to, log: log, in: make(chan sdk.ReadOnlySpan, size), stop: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	go q.run(ctx)
	return q
}

// OnStart implements the library's SpanProcessor, as the next three do.
func (q *queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd takes a span, or drops it.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case <-q.stop:
		q.dropped.Add(1)
		return
	default:
	}
	select {
	case q.in <- s:
	default:
		q.dropped.Add(1)
	}
}

// ForceFlush has nothing to do: nobody asks for it.
func (q *queue) ForceFlush(context.Context) error { return nil }

// Shutdown sends what waits. When ctx ends first, the rest is dropped.
func (q *queue) Shutdown(ctx context.Context) error {
	q.once.Do(func() { close(q.stop) })
	defer q.cancel()
	select {
	case <-q.done:
	case <-ctx.Done():
		q.cancel()
		<-q.done
	}
	return nil // what could not be sent is counted, and no failure of the service
}

// run is the one sender.
func (q *queue) run(ctx context.Context) {
	defer close(q.done)
	well := true
	for more := true; more; {
		var batch []sdk.ReadOnlySpan
		batch, more = q.gather()
		if len(batch) == 0 {
			continue
		}
		if ctx.Err() != nil {
			q.dropped.Add(uint64(len(batch)))
			more = len(q.in) > 0
			continue
		}
		well = q.send(ctx, batch, well)
		if !more {
			more = len(q.in) > 0
		}
	}
}

// gather waits for spans. There are no more once the queue was stopped.
func (q *queue) gather() (batch []sdk.ReadOnlySpan, more bool) {
	select {
	case s := <-q.in:
		batch = append(batch, s)
	case <-q.stop:
		return q.left(nil), false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for len(batch) < atATime {
		select {
		case s := <-q.in:
			batch = append(batch, s)
		case <-timer.C:
			return batch, true
		case <-q.stop:
			return q.left(batch), false
		}
	}
	return batch, true
}

// left adds what waits and has room.
func (q *queue) left(batch []sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	for len(batch) < atATime {
		select {
		case s := <-q.in:
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

// send sends once: spans are not worth a second try, which others would wait for.
func (q *queue) send(ctx context.Context, batch []sdk.ReadOnlySpan, well bool) bool {
	bound, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := q.to.ExportSpans(bound, batch)
	if err != nil {
		q.failed.Add(uint64(len(batch)))
	} else {
		q.sent.Add(uint64(len(batch)))
	}
	switch {
	case err != nil && well:
		// Not what the collector said: its words are not ours.
		q.log.Warn("the collector of traces takes none; the service goes on", "spans", len(batch))
	case err == nil && !well:
		q.log.Info("the collector of traces takes them again")
	}
	return err == nil
}
