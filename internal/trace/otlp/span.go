package otlp

import (
	"context"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tapvault/tapvault/internal/trace"
)

// span is a step on its way to the collector.
type span struct {
	t      *Tracer
	began  time.Time
	span   oteltrace.Span
	waited atomic.Bool
}

func (t *Tracer) begin(above context.Context, name string, kind oteltrace.SpanKind) *span {
	began := time.Now()
	_, s := t.tracer.Start(above, plain(name), oteltrace.WithTimestamp(began), oteltrace.WithSpanKind(kind))
	return &span{t: t, began: began, span: s}
}

func (s *span) Child(step trace.Step) trace.Recording {
	return s.t.begin(oteltrace.ContextWithSpan(context.Background(), s.span), string(step), oteltrace.SpanKindInternal)
}

func (s *span) Set(key trace.Key, value string) {
	s.span.SetAttributes(attribute.String(string(key), plain(value)))
}

func (s *span) Waited() {
	if s.waited.CompareAndSwap(false, true) {
		s.span.SetAttributes(attribute.Int64(string(trace.Wait), time.Since(s.began).Microseconds()))
	}
}

func (s *span) Fail() { s.span.SetStatus(codes.Error, "") }

func (s *span) End() { s.span.End() }

// longest is how long a value may be.
const longest = 64

// plain is the second line, as the logger has one: what is said of a span comes
// from constants, and what does not look like one is not sent.
func plain(value string) string {
	digits := 0
	for i := range len(value) {
		c := value[i]
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte(" -_.:/", c) >= 0:
			digits = 0
		default:
			return "hidden"
		}
		if digits > 4 || i >= longest {
			return "hidden"
		}
	}
	return value
}

// parse reads a traceparent as W3C's Trace Context has it; what is not one is
// as good as none. An id of decimal digits alone is not believed: it may be the
// number of a card.
func parse(s string) (oteltrace.SpanContext, bool) {
	var none oteltrace.SpanContext
	if len(s) != 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s != strings.ToLower(s) || s[:2] == "ff" {
		return none, false
	}
	var c oteltrace.SpanContextConfig
	var rest [1]byte
	for _, part := range []struct {
		to   []byte
		text string
	}{{rest[:], s[:2]}, {c.TraceID[:], s[3:35]}, {c.SpanID[:], s[36:52]}, {rest[:], s[53:]}} {
		if _, err := hex.Decode(part.to, []byte(part.text)); err != nil || len(part.text) > 2 && strings.Trim(part.text, "0123456789") == "" {
			return none, false
		}
	}
	c.Remote, c.TraceFlags = true, oteltrace.FlagsSampled // of ours; that of the caller is not asked
	p := oteltrace.NewSpanContext(c)
	return p, p.IsValid()
}
