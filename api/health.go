package api

import (
	"context"
	"sync"
	"time"

	"github.com/tapvault/tapvault/api/wire"
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

	mu   sync.Mutex
	at   time.Time
	last wire.Health
}

// partTimeout bounds how long one part may take to answer.
const partTimeout = 2 * time.Second

func (r *readiness) look(ctx context.Context) (wire.Health, map[string]error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.last.Status != "" && now.Sub(r.at) < time.Second && !now.Before(r.at) {
		return r.last, nil
	}
	// A caller that goes away must not make the parts look down to the next.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partTimeout)
	defer cancel()
	h, errs := wire.Health{Status: "ok", Parts: map[string]string{}}, map[string]error{}
	for _, p := range r.parts {
		h.Parts[p.Name] = "ok"
		if err := p.Check(ctx); err != nil {
			h.Parts[p.Name] = "down"
			if !p.Spare {
				h.Status, errs[p.Name] = "down", err
			}
		}
	}
	r.last, r.at = h, r.now()
	return h, errs
}
