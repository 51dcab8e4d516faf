package api

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/stream"
	"github.com/tapvault/tapvault/identity"
)

// Last is the position of the backend's one event.
func (b *backend) Last(context.Context) (int64, error) { return 100, b.act() }

// streams is a hub over the backend's list.
func (e *edge) streams() *stream.Hub {
	e.t.Helper()
	h, err := stream.New(stream.Config{Source: e.back, PerCaller: 100})
	if err != nil {
		e.t.Fatal(err)
	}
	return h
}

// row is a source of numbered events.
type row struct{ n atomic.Int64 }

func (r *row) Last(context.Context) (int64, error) { return r.n.Load(), nil }

func (r *row) List(_ context.Context, f event.Filter, after int64, limit int) (all []event.Event, err error) {
	for p := after + 1; p <= r.n.Load() && len(all) < limit; p++ {
		e := event.Event{ID: "ev", Type: event.Updated, Ref: "r1", Requestor: "50120834693", At: now, Seq: p, Position: p}
		if f.Matches(e) {
			all = append(all, e)
		}
	}
	return all, nil
}

// door is an identity whose token can end.
type door struct {
	*backend
	shut atomic.Bool
}

func (d *door) Check(ctx context.Context, bearer string) (access.Caller, error) {
	if d.shut.Load() {
		return access.Caller{}, identity.ErrRefused
	}
	return d.backend.Check(ctx, bearer)
}

// streaming is the API on a server with the deadlines of a real one, so short
// that a stream has to lift them.
func streaming(t *testing.T) (*httptest.Server, *row, *door, *stream.Hub) {
	t.Helper()
	source, d := &row{}, &door{}
	hub, err := stream.New(stream.Config{Source: source, Every: 5 * time.Millisecond, PerCaller: 3})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go hub.Run(ctx)
	e := newEdge(t, func(c *Config) { d.backend, c.Identity, c.Streams = c.Identity.(*backend), d, hub })
	srv := httptest.NewUnstartedServer(e.handler)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 2*time.Second, 3*time.Second // a handshake must fit, also on a busy machine
	srv.Config.RegisterOnShutdown(hub.Close)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(func() { hub.Close(); srv.Close(); cancel() })
	return srv, source, d, hub
}

// follow opens a stream and returns its lines that are not empty.
func follow(t *testing.T, srv *httptest.Server, query, last string) func() string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/v1/events/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer good")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		for lines.Scan() {
			if lines.Text() != "" {
				return lines.Text()
			}
		}
		return "EOF"
	}
}

// expect reads n events that begin with number from.
func expect(t *testing.T, line func() string, from, n int64) {
	t.Helper()
	for p := from; p < from+n; p++ {
		id, name, data := line(), line(), line()
		if id != "id: "+places.format(p) || name != "event: token.updated" || !strings.HasPrefix(data, `data: {"event_id":"ev"`) {
			t.Fatalf("event %d: %q %q %q", p, id, name, data)
		}
	}
}

// TestQuietStream: nothing happens for longer than a reader may take for one
// write, and the stream goes on.
func TestQuietStream(t *testing.T) {
	srv, source, _, _ := streaming(t)
	source.n.Store(1)
	line := follow(t, srv, "", "")
	line()
	line()
	expect(t, line, 1, 1)
	time.Sleep(streamWrite + time.Second)
	source.n.Store(2)
	expect(t, line, 2, 1)
}

func TestStream(t *testing.T) {
	srv, source, d, hub := streaming(t)
	source.n.Store(3)
	line := follow(t, srv, "", "")
	if a, b := line(), line(); a != "retry: 3000" || b != ": from "+places.format(0) {
		t.Errorf("%q %q", a, b)
	}
	expect(t, line, 1, 3)
	time.Sleep(3500 * time.Millisecond) // past the deadlines of a request
	source.n.Store(5)
	expect(t, line, 4, 2)

	for _, c := range [][2]string{{"?cursor=" + places.format(4), ""}, {"?cursor=" + places.format(1), places.format(4)}} {
		line := follow(t, srv, c[0], c[1])
		line()
		if at := line(); at != ": from "+places.format(4) {
			t.Errorf("%v: %q", c, at)
		}
		expect(t, line, 5, 1)
	}
	d.shut.Store(true)
	source.n.Store(6)
	if name, data := line(), line(); name != "event: end" || data != `data: {"reason":"token-expired"}` || line() != "EOF" {
		t.Errorf("a stream goes on after its token: %q %q", name, data)
	}
	hub.Close()
}

// TestStreamStops: a service that stops tells its readers, and does not wait
// for them.
func TestStreamStops(t *testing.T) {
	srv, _, _, _ := streaming(t)
	line := follow(t, srv, "", "")
	line()
	line()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := srv.Config.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if name, data := line(), line(); name != "event: end" || data != `data: {"reason":"shutdown"}` {
		t.Errorf("%q %q", name, data)
	}
}

// TestStreamRefusals: what can be refused is refused before the first byte.
func TestStreamRefusals(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/events/stream")
	for _, last := range [][]string{{"x"}, {places.format(1), places.format(2)}, {cardDigits}} {
		r := s.request()
		r.Header["Last-Event-Id"] = last
		if p := e.problem(s, r, 400, "malformed"); p.Field != "Last-Event-ID" || strings.Contains(p.Detail, cardDigits) {
			t.Errorf("%q: %+v", last, p)
		}
	}
	s.path = "/v1/events/stream?requestor=50120834694"
	e.problem(s, s.request(), 403, "denied")
	s.path = "/v1/events/stream?limit=5"
	e.problem(s, s.request(), 400, "malformed")
	s = find(t, "/v1/events/stream")
	e.back.err = errors.New("the source is away")
	e.problem(s, s.request(), 500, "internal")
	e.back.err = event.ErrAhead
	for field, r := range map[string]*http.Request{"cursor": s.request(), "Last-Event-ID": s.request()} {
		if field != "cursor" {
			r.Header["Last-Event-Id"] = []string{places.format(1)}
		}
		if p := e.problem(s, r, 400, "malformed"); p.Field != field {
			t.Errorf("a position that no event has had: %+v", p)
		}
	}
	list := find(t, "/v1/events")
	if p := e.problem(list, list.request(), 400, "malformed"); p.Field != "cursor" {
		t.Errorf("a position that no event has had: %+v", p)
	}
	srv, _, _, hub := streaming(t)
	follow(t, srv, "", "")
	follow(t, srv, "", "")
	follow(t, srv, "", "")
	if _, err := hub.Open("c", event.Filter{}, 0); !errors.Is(err, stream.ErrMany) {
		t.Errorf("a fourth stream: %v", err)
	}
}
