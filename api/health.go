package api

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/fault"
)

// Paths that are asked without end.
const (
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	metricsPath = "/metrics"
)

// healthz says that the process answers.
func (s *server) healthz(context.Context, *request) (any, error) {
	return wire.Health{Status: "ok"}, nil
}

// readyz says whether every part answers, and which does not; why stands in
// the log. Anyone may ask, so the parts are asked once a second at most.
func (s *server) readyz(ctx context.Context, _ *request) (any, error) {
	h, errs := s.ready.look(ctx)
	for name, err := range errs {
		s.Log.ErrorContext(ctx, "not ready", "part", name, "error", err.Error())
	}
	if h.Status != "ok" {
		return withStatus{503, h}, nil
	}
	return h, nil
}

// readiness remembers the last look at the parts.
type readiness struct {
	parts []Part
	now   func() time.Time
	down  atomic.Bool // by the last look

	mu   sync.Mutex
	at   time.Time
	last wire.Health
	asks map[string]chan error // what parts were asked, and have not answered
}

// partTimeout bounds how long a part may take to answer; lateBy is what one may take
// longer that minds its time, to say what it waited for.
const (
	partTimeout = 2 * time.Second
	lateBy      = 100 * time.Millisecond
)

var errNoAnswer = errors.New("it does not answer, nor give up")

func (r *readiness) look(ctx context.Context) (wire.Health, map[string]error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.last.Status != "" && now.Sub(r.at) < time.Second && !now.Before(r.at) {
		return r.last, nil
	}
	// A caller that goes away must not make the parts look down to the next.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), partTimeout+lateBy)
	defer cancel()
	for _, p := range r.parts {
		r.ask(end, p)
	}
	h, errs := wire.Health{Status: "ok", Parts: map[string]string{}}, map[string]error{}
	for _, p := range r.parts {
		h.Parts[p.Name] = "ok"
		if err := r.answer(end, p); err != nil {
			h.Parts[p.Name] = "down"
			if !p.Spare {
				h.Status, errs[p.Name] = "down", err
			}
		}
	}
	r.last, r.at = h, r.now()
	r.down.Store(h.Status != "ok")
	return h, errs
}

// ask has a part answer beside the others, so that one that hangs makes no other look
// down. One that still hangs is not asked again.
func (r *readiness) ask(ctx context.Context, p Part) {
	if r.asks == nil {
		r.asks = map[string]chan error{}
	}
	if said := r.asks[p.Name]; said != nil && len(said) == 0 {
		return
	}
	said := make(chan error, 1)
	r.asks[p.Name] = said
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partTimeout)
	go func() {
		defer cancel()
		said <- fault.Safely(func() error { return p.Check(ctx) })
	}()
}

// answer waits for a part's until ctx ends. One that is there counts, though others took
// all the time.
func (r *readiness) answer(ctx context.Context, p Part) error {
	said := r.asks[p.Name]
	select {
	case <-ctx.Done():
	case err := <-said:
		delete(r.asks, p.Name)
		return err
	}
	if len(said) == 0 {
		return errNoAnswer
	}
	delete(r.asks, p.Name)
	return <-said
}
