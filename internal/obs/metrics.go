package obs

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts what the service does. Labels come from closed sets: route
// templates and status classes, never what a caller sent. It is safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
}

// Gauge is a number that is asked for when metrics are read.
type Gauge struct {
	Name   string // such as hsm_sessions_in_use; "tapvault_" is put before it
	Help   string
	Labels map[string]string // from a closed set, such as the names of ranges; may be nil
	Value  func() float64    // safe for concurrent use, and quick
	Counts bool              // it only grows
}

// NewMetrics returns metrics with the given gauges, and those of the process.
func NewMetrics(gauges ...Gauge) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapvault_http_requests_total", Help: "Requests by route and class of status, or gone where the caller left before the answer.",
		}, []string{"route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tapvault_http_request_seconds", Help: "How long answers took, by route.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"route"}),
	}
	m.registry.MustRegister(m.requests, m.latency, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, g := range gauges {
		m.registry.MustRegister(g.collector())
	}
	return m
}

func (g Gauge) collector() prometheus.Collector {
	o := prometheus.Opts{Name: "tapvault_" + g.Name, Help: g.Help, ConstLabels: g.Labels}
	if g.Counts {
		return prometheus.NewCounterFunc(prometheus.CounterOpts(o), g.Value)
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts(o), g.Value)
}

// classes are the labels of statuses, by their first digit.
var classes = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// statusGone stands for requests whose callers left before they were answered. It is api's
// StatusGone, which this package may not import; assembly tests that it is.
const statusGone = 499

// Observe counts one request.
func (m *Metrics) Observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, class(status)).Inc()
	m.latency.WithLabelValues(route).Observe(took.Seconds())
}

func class(status int) string {
	if status == statusGone {
		return "gone"
	}
	if c := status / 100; c > 0 && c < len(classes) {
		return classes[c]
	}
	return classes[0]
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
