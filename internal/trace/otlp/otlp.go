// Package otlp sends the steps of some requests to an OpenTelemetry collector,
// by OTLP over HTTP.
//
// It never holds a request up: what is recorded goes into a bounded queue, what
// has no room there is dropped and counted, and a collector that does not answer
// is not asked again for the same spans.
package otlp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tapvault/tapvault/internal/trace"
)

// Config says where spans go.
type Config struct {
	Endpoint string         // of the collector, such as https://collector:4318; /v1/traces is put behind it
	Roots    *x509.CertPool // of its certificate; nil: those of the system
	Sample   float64        // share of requests that are recorded, 0 to 1
	Queue    int            // spans that may wait; 0: 2048
	Log      *slog.Logger   // is told when the collector fails, and when it answers again
}

// Tracer records requests. It is safe for concurrent use.
type Tracer struct {
	sample float64
	queue  *queue
	tracer oteltrace.Tracer
}

// CheckEndpoint refuses what is no address of a collector. In the clear it has
// to be on this machine.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must be an address such as https://collector:4318")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return errors.New("must begin with https://")
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("must begin with https:// unless the collector is on this machine")
	}
	return nil
}

// address is where spans are posted.
func (c Config) address() string { return strings.TrimRight(c.Endpoint, "/") + "/v1/traces" }

// How long a collector is waited for.
const patience = 5 * time.Second

// client asks no proxy, follows nowhere and reads little.
func (c Config) client() *http.Client {
	return &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           2,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
		},
	}
}

// Open begins to send. The collector need not be there.
func Open(ctx context.Context, c Config) (*Tracer, error) {
	if err := CheckEndpoint(c.Endpoint); err != nil {
		return nil, fmt.Errorf("opening traces: the endpoint %w", err)
	}
	if c.Queue <= 0 {
		c.Queue = 2048
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	// What is set here goes before the environment, which is no part of the configuration.
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.address()), otlptracehttp.WithHTTPClient(c.client()),
		otlptracehttp.WithHeaders(nil), otlptracehttp.WithCompression(otlptracehttp.NoCompression),
		otlptracehttp.WithTimeout(patience), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	if err != nil {
		return nil, fmt.Errorf("opening traces: %w", err)
	}
	// The library would print what it meets to standard error, past our logger.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	q := newQueue(exporter, c.Queue, c.Log)
	provider := sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(q),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "tapvault"))),
		sdk.WithRawSpanLimits(sdk.SpanLimits{AttributeValueLengthLimit: longest, AttributeCountLimit: 16, EventCountLimit: 0, LinkCountLimit: 0}))
	return &Tracer{c.Sample, q, provider.Tracer("tapvault")}, nil
}

// Request decides whether a request is recorded. If so, its steps are, and the
// taker of the span ends it. parent is the traceparent that came with it: who it
// names becomes the parent, and has no say in whether anything is recorded.
func (t *Tracer) Request(ctx context.Context, operation, parent string) (context.Context, trace.Span) {
	if t.sample < 1 && rand.Float64() >= t.sample {
		return ctx, trace.Span{}
	}
	above := context.Background()
	if p, ok := parse(parent); ok {
		above = oteltrace.ContextWithRemoteSpanContext(above, p)
	}
	r := t.begin(above, operation, oteltrace.SpanKindServer)
	r.Set(trace.Operation, operation)
	return trace.With(ctx, r)
}

// Counts are how many spans were sent, were dropped because too many waited,
// and were refused by the collector or lost on the way to it.
func (t *Tracer) Counts() (sent, dropped, failed func() float64) {
	read := func(n interface{ Load() uint64 }) func() float64 { return func() float64 { return float64(n.Load()) } }
	return read(&t.queue.sent), read(&t.queue.dropped), read(&t.queue.failed)
}

// Close sends what waits, as far as ctx lets it.
func (t *Tracer) Close(ctx context.Context) error { return t.queue.Shutdown(ctx) }

// Check asks the collector whether it takes spans, with a request of none.
func Check(ctx context.Context, c Config) error {
	if err := CheckEndpoint(c.Endpoint); err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address(), http.NoBody)
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/x-protobuf")
	client := c.client()
	defer client.CloseIdleConnections()
	resp, err := client.Do(q)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %d to POST /v1/traces", resp.StatusCode)
	}
	return nil
}
