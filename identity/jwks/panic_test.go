package jwks

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// panicky is a connection whose reading panics, with what the other site said.
type panicky struct{ asked atomic.Int64 }

func (p *panicky) RoundTrip(*http.Request) (*http.Response, error) {
	p.asked.Add(1)
	panic("what the other site said")
}

// TestFetchThatPanics: what another site answers ends no process, neither while a caller
// waits for it nor beside requests: the keys at hand go on serving, and it is told.
func TestFetchThatPanics(t *testing.T) {
	var log bytes.Buffer
	s, err := New(Config{URL: "https://idp.example/keys", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	p := &panicky{}
	s.http = &http.Client{Transport: p}
	if _, err := s.Key(t.Context(), "a"); !errors.Is(err, errNoKeys) || p.asked.Load() != 1 {
		t.Errorf("%v after asking %d times", err, p.asked.Load())
	}
	s.fetching.Lock() // and not left locked
	tried := s.tried
	s.fetching.Unlock()
	if out := log.String(); !strings.Contains(out, "a panic of type string") || strings.Contains(out, "the other site said") {
		t.Errorf("the log says:\n%s", out)
	}
	if tried.Before(time.Now().Add(-time.Minute)) {
		t.Error("it is asked again at once")
	}
}
