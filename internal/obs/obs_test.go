package obs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/token"
)

// pan passes its check digit; a log line may hold its last four digits.
const pan = "6222021234567894"

func TestLogsHoldNoCardNumber(t *testing.T) {
	card, err := token.ParsePAN(pan)
	if err != nil {
		t.Fatal(err)
	}
	number, err := token.ParseNumber(pan)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Card   token.PAN
		number token.Number
		text   string
	}
	lines := map[string]func(*slog.Logger){
		"message":       func(l *slog.Logger) { l.Info("card " + pan) },
		"grouped":       func(l *slog.Logger) { l.Info("card 6222 0212 3456 7894") },
		"dashes":        func(l *slog.Logger) { l.Info("card 6222-0212-3456-7894") },
		"string":        func(l *slog.Logger) { l.Info("x", "v", pan) },
		"key":           func(l *slog.Logger) { l.Info("x", pan, "v") },
		"integer":       func(l *slog.Logger) { l.Info("x", "v", 6222021234567894) },
		"error":         func(l *slog.Logger) { l.Info("x", "v", errors.New("reading "+pan)) },
		"wrapped":       func(l *slog.Logger) { l.Info("x", "v", fmt.Errorf("a: %w", errors.New(pan))) },
		"card":          func(l *slog.Logger) { l.Info("x", "v", card) },
		"number":        func(l *slog.Logger) { l.Info("x", "v", number) },
		"struct":        func(l *slog.Logger) { l.Info("x", "v", holder{card, number, pan}) },
		"pointer":       func(l *slog.Logger) { l.Info("x", "v", &holder{card, number, pan}) },
		"slice":         func(l *slog.Logger) { l.Info("x", "v", []any{card, pan}) },
		"bytes":         func(l *slog.Logger) { l.Info("x", "v", []byte(pan)) },
		"group":         func(l *slog.Logger) { l.WithGroup("g").Info("x", slog.Group("h", "v", pan)) },
		"with":          func(l *slog.Logger) { l.With("v", pan).Info("card " + pan) },
		"wire":          func(l *slog.Logger) { l.Info("x", "v", wire.NewDigits(pan)) },
		"wire request":  func(l *slog.Logger) { l.Info("x", "v", wire.TokenRequest{PAN: wire.NewDigits(pan)}) },
		"wire answer":   func(l *slog.Logger) { l.Info("x", "v", &wire.Detokenized{PAN: wire.NewDigits(pan)}) },
		"log value":     func(l *slog.Logger) { l.Info("x", "v", valuer{}) },
		"below a level": func(l *slog.Logger) { l.Debug(pan) },
	}
	for _, format := range []string{"json", "text"} {
		for name, write := range lines {
			var b bytes.Buffer
			l, err := NewLogger(&b, format, slog.LevelDebug)
			if err != nil {
				t.Fatal(err)
			}
			write(l)
			flat := strings.NewReplacer(" ", "", "-", "").Replace(b.String())
			if b.Len() == 0 || strings.Contains(flat, pan[4:]) || strings.Contains(flat, pan[:8]) {
				t.Errorf("%s, %s: %s", format, name, b.String())
			}
		}
	}
}

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.StringValue(pan) }

func TestLogsKeepTheRest(t *testing.T) {
	var b bytes.Buffer
	l, err := NewLogger(&b, "json", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	l.Debug("not written")
	l.Warn("request failed", "status", 503, "took", 20*time.Millisecond, "ok", true, "error", context.Canceled)
	for _, want := range []string{`"level":"WARN"`, `"msg":"request failed"`, `"status":503`, `"ok":true`, `"error":"context canceled"`, `"time":"20`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "not written") {
		t.Error("a line below the level was written")
	}
	if _, err := NewLogger(&b, "xml", slog.LevelInfo); err == nil {
		t.Error("an unknown format was taken")
	}
}

func TestMetrics(t *testing.T) {
	m := NewMetrics(Gauge{Name: "hsm_sessions_in_use", Help: "Sessions of the HSM that are at work.",
		Value: func() float64 { return 3 }})
	m.Observe("/v1/tokens", 201, 3*time.Millisecond)
	m.Observe("/v1/tokens", 403, time.Millisecond)
	m.Observe("none", 999, time.Millisecond)
	m.Observe("none", 499, time.Millisecond)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`tapvault_http_requests_total{route="/v1/tokens",status="2xx"} 1`,
		`tapvault_http_requests_total{route="/v1/tokens",status="4xx"} 1`,
		`tapvault_http_requests_total{route="none",status="other"} 1`,
		`tapvault_http_requests_total{route="none",status="gone"} 1`,
		`tapvault_http_request_seconds_count{route="/v1/tokens"} 2`,
		`tapvault_hsm_sessions_in_use 3`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}
