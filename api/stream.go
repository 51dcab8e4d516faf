package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/stream"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Streams lets callers follow events.
type Streams interface {
	// Open begins a stream behind a position; its taker closes it.
	Open(caller string, f event.Filter, after int64) (*stream.Reader, error)
}

// Pace of a stream.
const (
	streamLook  = time.Second      // between two looks at whether the caller is still believed
	streamBeat  = 15 * time.Second // between two signs of life when nothing happens
	streamWrite = 10 * time.Second // for a reader to take what is written
)

// Why a stream ended, as its last event says.
const (
	endExpired  = "token-expired"
	endSlow     = "too-slow"
	endShutdown = "shutdown"
	endFailed   = "failed"
)

// eventStream follows events as server-sent events. What can be refused is
// refused before the first byte; later a stream can only end.
func (s *server) eventStream(c *gin.Context, q *request) error {
	ctx := c.Request.Context()
	f, err := q.eventFilter()
	if err != nil {
		return err
	}
	after, from, err := s.streamStart(c.Request.Header, q.query["cursor"])
	if err != nil {
		return err
	}
	if f, err = s.ownEvents(ctx, q.caller, f); err != nil {
		return err
	}
	r, err := s.Streams.Open(q.caller.ID, f, after)
	if err != nil {
		return err
	}
	defer r.Close()
	first, err := r.Next(ctx, 0)
	if ctx.Err() != nil {
		return nil // whoever asked has gone
	}
	if err != nil {
		return placed(err, from)
	}
	w := newSSE(c.Writer, s.places)
	if w.begin(after) == nil {
		s.follow(ctx, w, r, first, c.Request.Header["Authorization"][0])
	}
	return nil
}

// streamStart is where to go on, and which field says so: Last-Event-ID, which a
// browser sends by itself when it comes back, goes before the cursor that it
// began with.
func (s *server) streamStart(h http.Header, cursor string) (after int64, field string, err error) {
	field = "Last-Event-ID"
	last := h["Last-Event-Id"]
	if len(last) > 1 {
		return 0, field, &wire.FieldError{Path: field, Text: "stands twice"}
	}
	if len(last) == 0 || last[0] == "" {
		after, err = s.places.parse(cursor)
		return after, "cursor", err
	}
	if after, err = s.places.parse(last[0]); err != nil {
		err = &wire.FieldError{Path: field, Text: "must be the id of an event of this stream"}
	}
	return after, field, err
}

// ownEvents narrows f to what a caller may see, or refuses.
func (s *server) ownEvents(ctx context.Context, c access.Caller, f event.Filter) (event.Filter, error) {
	if err := s.Gate.Allow(ctx, c, access.EventRead, "events"); err != nil {
		return f, err
	}
	if c.Role == access.Issuer || c.Requestor != "" {
		if c.Requestor == "" || f.Requestor != "" && string(f.Requestor) != c.Requestor {
			return f, s.Gate.Refuse(ctx, c, access.EventRead, "events", "other-requestor", access.ErrDenied)
		}
		f.Requestor = token.Requestor(c.Requestor)
	}
	return f, nil
}

// follow writes events until the stream ends, and says why it did. No event is
// written after the access token has ended, or its client was disabled.
func (s *server) follow(ctx context.Context, w *sse, r *stream.Reader, events []event.Event, authorization string) {
	_, bearer, _ := cutScheme(authorization)
	for quiet := time.Duration(0); ; {
		if _, err := s.Identity.Check(ctx, bearer); err != nil {
			w.end(endOf(err))
			return
		}
		var err error
		switch {
		case len(events) > 0:
			quiet, err = 0, w.events(events)
		case quiet >= streamBeat:
			quiet, err = 0, w.beat()
		}
		if err != nil {
			return // whoever read has gone, or reads too slowly to be told
		}
		if events, err = r.Next(ctx, streamLook); err != nil {
			w.end(endOf(err))
			return
		}
		quiet += streamLook
	}
}

func endOf(err error) string {
	switch {
	case fault.KindOf(err) == fault.Unauthenticated:
		return endExpired
	case errors.Is(err, stream.ErrSlow):
		return endSlow
	case errors.Is(err, stream.ErrClosed), errors.Is(err, context.Canceled):
		return endShutdown
	}
	return endFailed
}

// sse writes server-sent events. Each write has its own deadline.
type sse struct {
	places positions
	w      http.ResponseWriter
	rc     *http.ResponseController
	buf    bytes.Buffer
}

func newSSE(w http.ResponseWriter, places positions) *sse {
	s := &sse{w: w, places: places, rc: http.NewResponseController(w)}
	_ = s.rc.SetReadDeadline(time.Time{}) // nothing more is read; a server without deadlines needs none lifted
	return s
}

// begin writes the header and where the stream stands.
func (s *sse) begin(after int64) error {
	h := s.w.Header()
	h["Content-Type"] = []string{"text/event-stream"}
	h["X-Accel-Buffering"] = []string{"no"} // proxies would hold events back
	s.w.WriteHeader(http.StatusOK)
	s.buf.WriteString("retry: 3000\n: from " + s.places.format(after) + "\n\n")
	return s.flush()
}

func (s *sse) events(events []event.Event) error {
	for _, e := range events {
		s.buf.WriteString("id: " + s.places.format(e.Position) + "\nevent: " + string(e.Type) + "\ndata: ")
		if err := json.NewEncoder(&s.buf).Encode(eventOut(e)); err != nil { // which ends the line
			return err
		}
		s.buf.WriteByte('\n')
	}
	return s.flush()
}

func (s *sse) beat() error {
	s.buf.WriteString(": alive\n\n")
	return s.flush()
}

// end says why the stream ends, to whoever still reads.
func (s *sse) end(why string) {
	s.buf.WriteString("event: end\ndata: {\"reason\":\"" + why + "\"}\n\n")
	_ = s.flush()
}

func (s *sse) flush() error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamWrite)) // the wire's clock, not the service's
	_, err := s.w.Write(s.buf.Bytes())
	s.buf.Reset()
	if err == nil {
		err = s.rc.Flush()
	}
	if err == nil {
		// HTTP/2 would end the stream when it is over, though nothing is written by then.
		_ = s.rc.SetWriteDeadline(time.Time{})
	}
	return err
}
