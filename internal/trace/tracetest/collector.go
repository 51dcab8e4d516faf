// Package tracetest is a collector of traces for tests: it takes OTLP over HTTP
// as a real one does, and remembers every byte.
package tracetest

import (
	"encoding/hex"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is what a collector was told of a step.
type Span struct {
	Trace, ID, Parent string // hex; Parent is "" at the top
	Name              string
	Failed            bool
	Attributes        map[string]string
	Wait              int64 // microseconds, -1: nothing was said
}

// Collector listens until the test ends.
type Collector struct {
	URL    string
	CAFile string

	mu    sync.Mutex
	spans []Span
	bytes []byte
	hang  chan struct{} // not nil: answers wait until it is closed
	asked int
}

// New starts a collector with TLS.
func New(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{}
	s := httptest.NewTLSServer(c)
	t.Cleanup(func() { c.Free(); s.Close() })
	c.URL, c.CAFile = s.URL, filepath.Join(t.TempDir(), "collector.pem")
	if err := os.WriteFile(c.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// Hang keeps whoever sends waiting, until [Collector.Free].
func (c *Collector) Hang() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hang = make(chan struct{})
}

// Free ends [Collector.Hang].
func (c *Collector) Free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hang != nil {
		close(c.hang)
		c.hang = nil
	}
}

// ServeHTTP takes spans.
func (c *Collector) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	var sent collector.ExportTraceServiceRequest
	if err != nil || q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &sent) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.asked++
	hang := c.hang
	c.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-q.Context().Done():
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, body...)
	for _, r := range sent.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, one := range s.Spans {
				c.spans = append(c.spans, spanOf(one))
			}
		}
	}
}

func spanOf(s *wire.Span) Span {
	out := Span{Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId), Name: s.Name,
		Failed: s.Status.GetCode() == wire.Status_STATUS_CODE_ERROR, Attributes: map[string]string{}, Wait: -1}
	for _, a := range s.Attributes {
		if n, ok := a.Value.Value.(*common.AnyValue_IntValue); ok {
			out.Wait = n.IntValue
			continue
		}
		out.Attributes[a.Key] = a.Value.GetStringValue()
	}
	return out
}

// Spans are those that came until now.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Bytes is all that came until now.
func (c *Collector) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bytes)
}

// Asked is how often somebody sent something.
func (c *Collector) Asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// Until waits until the spans are as they should be.
func (c *Collector) Until(t testing.TB, what string, ok func([]Span) bool) []Span {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if s := c.Spans(); ok(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("in vain waited for %s: %+v", what, c.Spans())
		}
	}
}

// Tree prints spans with their children, each child after a > for each level,
// in the order of their ends.
func Tree(all []Span, top Span) (lines []string) {
	return tree(all, top, "")
}

func tree(all []Span, s Span, at string) (lines []string) {
	lines = []string{at + s.Name}
	for _, child := range all {
		if child.Parent == s.ID && child.Trace == s.Trace {
			lines = append(lines, tree(all, child, at+">")...)
		}
	}
	return lines
}
