package api

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/fault"
)

// TestPartThatHangs: a part that neither answers nor gives up makes itself look down,
// and no other, each time it is looked at; it is asked once, and again when it is back.
func TestPartThatHangs(t *testing.T) {
	var asked atomic.Int64
	hang := make(chan struct{})
	clock := time.Unix(0, 0)
	r := readiness{now: func() time.Time { return clock }, parts: []Part{
		{Name: "hsm", Check: func(context.Context) error { asked.Add(1); <-hang; return nil }},
		{Name: "tardy", Check: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, Spare: true},
		{Name: "store", Check: func(ctx context.Context) error { return ctx.Err() }},
	}}
	look := func() (wire.Health, map[string]error) {
		clock = clock.Add(time.Minute)
		ended := make(chan struct{})
		var h wire.Health
		var errs map[string]error
		go func() { defer close(ended); h, errs = r.look(t.Context()) }()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("the look hangs too")
		}
		return h, errs
	}
	for range 2 {
		h, errs := look()
		if h.Status != "down" || h.Parts["hsm"] != "down" || h.Parts["store"] != "ok" || len(errs) != 1 || !errors.Is(errs["hsm"], errNoAnswer) {
			t.Errorf("while it hangs: %v, %v", h, errs)
		}
	}
	close(hang)
	for end := time.Now().Add(time.Minute); len(r.asks["hsm"]) == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if h, errs := look(); h.Status != "ok" || asked.Load() != 2 {
		t.Errorf("when it is back: %v, %v, asked %d times", h, errs, asked.Load())
	}
}

// TestPartThatPanics: a part whose check panics is down; the process stays.
func TestPartThatPanics(t *testing.T) {
	r := readiness{now: time.Now, parts: []Part{{Name: "store", Check: func(context.Context) error { panic("no rows") }}}}
	h, errs := r.look(t.Context())
	if p := (*fault.Panicked)(nil); h.Status != "down" || h.Parts["store"] != "down" || !errors.As(errs["store"], &p) {
		t.Errorf("%v, %v", h, errs)
	}
}

// TestCallersOfAProcessThatIsNotReady: what fails there for want of a part ends its
// connection, so that the next one is made where the balancer sends it. Nothing else
// does, nor what fails while the process is ready.
func TestCallersOfAProcessThatIsNotReady(t *testing.T) {
	e := newEdge(t)
	keys, ready := find(t, "/v1/keys"), find(t, "/readyz")
	ends := func(kind fault.Kind) bool {
		e.back.err = fault.New(kind, "a part is away")
		defer func() { e.back.err = nil }()
		return e.do(keys, keys.request()).Header().Get("Connection") == "close"
	}
	if ends(fault.HSMUnavailable) {
		t.Error("a process that is ready sends its callers away")
	}
	e.down = errors.New("out")
	e.do(ready, ready.request())
	for kind, want := range map[fault.Kind]bool{fault.HSMUnavailable: true, fault.HSMKey: true, fault.StoreDown: true, fault.StoreReadOnly: true, fault.AuditDown: true,
		fault.Overloaded: false, fault.Internal: false} {
		if got := ends(kind); got != want {
			t.Errorf("%s at a process that is not ready: the connection ends %t", kind, got)
		}
	}
	if w := e.do(keys, keys.request()); w.Header().Get("Connection") != "" {
		t.Error("what succeeds ends its connection")
	}
}
