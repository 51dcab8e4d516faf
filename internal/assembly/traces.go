package assembly

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/internal/trace/otlp"
)

// Traces says which requests are recorded step by step, and where that goes.
type Traces struct {
	// Endpoint is an OpenTelemetry collector that takes OTLP over HTTP, such as
	// https://collector:4318. http:// is for a collector on this machine. Empty:
	// nothing is recorded.
	Endpoint string `yaml:"endpoint"`
	// Sample is the share of requests that are recorded, above 0 and up to 1. 0:
	// 0.01.
	Sample float64 `yaml:"sample"`
	// CAFile holds the roots of the collector's certificate, PEM. Empty: those of
	// the system.
	CAFile string `yaml:"ca_file"`
}

func (c Config) validateTraces(v *checker) {
	t := c.Traces
	if t.Endpoint == "" {
		if t != (Traces{}) {
			v.add("traces.endpoint: is required where anything else of traces is there")
		}
		return
	}
	if err := otlp.CheckEndpoint(t.Endpoint); err != nil {
		v.add("traces.endpoint: %v", err)
	}
	if !(t.Sample >= 0 && t.Sample <= 1) {
		v.add("traces.sample: must be above 0 and up to 1")
	}
}

// collector is how the collector is spoken to.
func (c Config) collector() (otlp.Config, error) {
	out := otlp.Config{Endpoint: c.Traces.Endpoint, Sample: c.Traces.Sample}
	if out.Sample == 0 {
		out.Sample = 0.01
	}
	if c.Traces.CAFile == "" {
		return out, nil
	}
	file := c.Path(c.Traces.CAFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return out, fmt.Errorf("reading traces.ca_file: %w", err)
	}
	out.Roots = x509.NewCertPool()
	if !out.Roots.AppendCertsFromPEM(text) {
		return out, fmt.Errorf("reading traces.ca_file: there is no certificate in %s", file)
	}
	return out, nil
}

// CheckCollector asks the collector of traces whether it takes them.
func (c Config) CheckCollector(ctx context.Context) error {
	o, err := c.collector()
	if err != nil {
		return err
	}
	return otlp.Check(ctx, o)
}

// lastSpans is how long the end of the service waits for the collector.
const lastSpans = 2 * time.Second

// openTraces begins to record, if anything is.
func (p *parts) openTraces(ctx context.Context, s *Service) error {
	if p.cfg.Traces.Endpoint == "" {
		return nil
	}
	o, err := p.cfg.collector()
	if err != nil {
		return err
	}
	o.Log = p.opt.Log
	t, err := otlp.Open(ctx, o)
	if err != nil {
		return err
	}
	p.traces = t.Request
	sent, dropped, failed := t.Counts()
	for outcome, value := range map[string]func() float64{"sent": sent, "dropped": dropped, "failed": failed} {
		p.gauges = append(p.gauges, obs.Gauge{Name: "trace_spans_total", Help: "Spans sent to the collector, dropped because too many waited, or lost on their way.",
			Labels: map[string]string{"outcome": outcome}, Value: value, Counts: true})
	}
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
		defer cancel()
		return t.Close(ctx)
	})
	return nil
}
