package assembly

import (
	"context"
	"log/slog"
	"sync"
)

// repeats tells of a failure that comes again every few seconds when it begins,
// when it becomes another, and when it is over.
type repeats struct {
	mu   sync.Mutex
	said string
}

func (r *repeats) warn(ctx context.Context, log *slog.Logger, what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := ""
	if err != nil {
		said = err.Error()
	}
	switch {
	case said == r.said:
	case said == "":
		log.InfoContext(ctx, "this is over: "+what)
	default:
		log.WarnContext(ctx, what, "error", said)
	}
	r.said = said
}
