package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
)

// TestWhoHangsUp: a request that failed because its caller left is no fault of the
// service's, whichever part of it noticed; whoever listens on may send it again. What
// fails otherwise stays what it is.
func TestWhoHangsUp(t *testing.T) {
	var log bytes.Buffer
	var counted int
	e := newEdge(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Observe = func(_ string, status int, _ time.Duration) { counted = status }
	})
	down := fault.New(fault.StoreDown, "the database does not answer")
	for name, c := range map[string]struct {
		left             bool
		err              error
		counted, answers int
	}{
		"in the HSM's queue":                {true, fmt.Errorf("making keys: %w", context.Canceled), StatusGone, 503},
		"waiting to write":                  {true, fmt.Errorf("%w: %w", down, context.Canceled), StatusGone, 503},
		"the database is down as well":      {true, down, 503, 503},
		"refused":                           {true, fault.New(fault.Refused, "no"), 403, 403},
		"something inside was broken off":   {false, context.Canceled, 500, 500},
		"a time of the service's own is up": {true, context.DeadlineExceeded, 500, 500},
		"a fault":                           {true, errors.New("a fault"), 500, 500},
	} {
		log.Reset()
		e.back.err = c.err
		s := find(t, "/v1/keys")
		ctx, leave := context.WithCancel(t.Context())
		if c.left {
			leave()
		}
		w := e.do(s, s.request().WithContext(ctx))
		leave()
		if w.Code != c.answers || counted != c.counted {
			t.Errorf("%s: answered %d, counted as %d", name, w.Code, counted)
		}
		if faults := strings.Contains(log.String(), "level=ERROR"); faults != (c.counted >= 500) {
			t.Errorf("%s: the log says %s", name, log.String())
		}
		if c.counted == StatusGone && (!strings.Contains(log.String(), "/v1/keys") || w.Header().Get("Retry-After") == "") {
			t.Errorf("%s: the log says %s, the header %v", name, log.String(), w.Header())
		}
	}
}
