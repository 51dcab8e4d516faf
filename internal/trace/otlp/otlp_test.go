package otlp

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/trace"
	"github.com/tapvault/tapvault/internal/trace/tracetest"
)

// log is a log that is read while it is written.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func roots(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

func open(t *testing.T, c Config) *Tracer {
	t.Helper()
	tr, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := tr.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

// TestSpans: what is recorded arrives, with its parents; a caller's traceparent
// is one of them.
func TestSpans(t *testing.T) {
	c := tracetest.New(t)
	tr := open(t, Config{Endpoint: c.URL, Roots: roots(t, c.CAFile), Sample: 1})
	ctx, root := tr.Request(t.Context(), "requestToken", "00-"+traceID+"-"+spanID+"-00")
	inner, tx := trace.Start(ctx, trace.Transaction)
	tx.Waited()
	_, call := trace.Start(inner, trace.HSM)
	call.Set(trace.Usage, "pan-seal")
	call.Set(trace.Call, "card 6222021234567894")
	call.Done(context.Canceled)
	tx.Done(nil)
	root.End()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := c.Spans()
	top := slices.IndexFunc(all, func(s tracetest.Span) bool { return s.Name == "requestToken" })
	if top < 0 || all[top].Trace != traceID || all[top].Parent != spanID {
		t.Fatalf("the request: %+v", all)
	}
	want := []string{"requestToken", ">store transaction", ">>hsm"}
	if got := tracetest.Tree(all, all[top]); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, s := range all {
		switch s.Name {
		case "hsm":
			if !s.Failed || s.Wait != -1 || s.Attributes["tapvault.usage"] != "pan-seal" || s.Attributes["tapvault.call"] != "hidden" {
				t.Errorf("%+v", s)
			}
		case "store transaction":
			if s.Failed || s.Wait < 0 {
				t.Errorf("%+v", s)
			}
		}
	}
	if strings.Contains(string(c.Bytes()), "6222") {
		t.Error("a number was sent")
	}
	_, late := tr.Request(t.Context(), "late", "")
	late.End()
	sent, dropped, failed := tr.Counts()
	if sent() != 3 || dropped() != 1 || failed() != 0 {
		t.Errorf("%v sent, %v dropped, %v failed", sent(), dropped(), failed())
	}
}

// TestStrangersDecideNothing: whether a request is recorded does not depend on
// what came with it, neither on its flag nor on its id.
func TestStrangersDecideNothing(t *testing.T) {
	c := tracetest.New(t)
	none := open(t, Config{Endpoint: c.URL, Roots: roots(t, c.CAFile)})
	some := open(t, Config{Endpoint: c.URL, Roots: roots(t, c.CAFile), Sample: .2, Queue: 1})
	for _, parent := range []string{"", "00-" + traceID + "-" + spanID + "-01", "00-00000000000000000000000000000a01-" + spanID + "-01"} {
		n := 0
		for range 4000 {
			if _, s := none.Request(t.Context(), "x", parent); s.On() {
				t.Fatal("a request is recorded though none is")
			}
			if _, s := some.Request(t.Context(), "x", parent); s.On() {
				s.End()
				n++
			}
		}
		if n < 500 || n > 1200 { // 800 of 4000; 12 standard deviations are 304
			t.Errorf("%q: %d of 4000 are recorded", parent, n)
		}
	}
	free := testing.AllocsPerRun(100, func() {
		ctx, s := none.Request(t.Context(), "x", "00-"+traceID+"-"+spanID+"-01")
		_, inner := trace.Start(ctx, trace.HSM)
		inner.Done(nil)
		s.End()
	})
	if free != 0 {
		t.Errorf("%v allocations for a request that is not recorded", free)
	}
}

// TestCollectorHangs: nobody waits for a collector that does not answer; what
// has no room is dropped and counted, and the end of the service is not held up.
func TestCollectorHangs(t *testing.T) {
	c := tracetest.New(t)
	c.Hang()
	said := &log{}
	tr := open(t, Config{Endpoint: c.URL, Roots: roots(t, c.CAFile), Sample: 1, Queue: 10, Log: slog.New(slog.NewTextHandler(said, nil))})
	send := func() {
		_, s := tr.Request(t.Context(), "x", "")
		s.End()
	}
	sent, dropped, failed := tr.Counts()
	send()
	until(t, "the collector was asked", func() bool { return c.Asked() > 0 })
	for range 1000 {
		send()
	}
	if n := dropped(); n < 900 || len(tr.queue.in) > 10 {
		t.Errorf("%v of 1000 are dropped, %d wait", n, len(tr.queue.in))
	}
	until(t, "the collector is given up", func() bool { return failed() > 0 && strings.Contains(said.String(), "takes none") })
	c.Free()
	until(t, "it is sent to again", func() bool { send(); return sent() > 0 && strings.Contains(said.String(), "takes them again") })
	c.Hang()
	asked := c.Asked()
	until(t, "the collector was asked again", func() bool { send(); return c.Asked() > asked })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Close(ctx); err != nil { // returns though the collector hangs
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	good := "00-" + traceID + "-" + spanID + "-01"
	for text, want := range map[string]bool{
		good:                        true,
		"cc" + good[2:]:             true,
		good[:53] + "00":            true,
		"":                          false,
		"ff" + good[2:]:             false,
		good + "-":                  false,
		good[:54]:                   false,
		strings.ToUpper(good):       false,
		" " + good[1:]:              false,
		good[:10] + "g" + good[11:]: false,
		"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01":  false,
		"00-" + traceID + "-0000000000000000-01":                false,
		"00-" + traceID + "-6222021234567894-01":                false,
		"00-00000000000000006222021234567894-" + spanID + "-01": false,
		strings.Repeat("00-"+traceID, 1000):                     false,
	} {
		if _, ok := parse(text); ok != want {
			t.Errorf("%.80q: believed: %v", text, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("00-" + traceID + "-" + spanID + "-01")
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := parse(s); ok && (!strings.Contains(s, p.TraceID().String()) || !strings.Contains(s, p.SpanID().String())) {
			t.Errorf("%q became %v", s, p)
		}
	})
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"https://collector:4318": true, "https://collector.example/otel/": true, "http://127.0.0.1:4318": true, "http://[::1]:4318": true, "http://localhost:4318": true,
		"": false, "collector:4318": false, "http://collector:4318": false, "http://10.0.0.1:4318": false, "https://u:p@collector": false, "https://c/?x=1": false, "ftp://c": false,
	} {
		if err := CheckEndpoint(endpoint); (err == nil) != ok {
			t.Errorf("%q: %v", endpoint, err)
		}
		if ok {
			continue
		}
		if _, err := Open(t.Context(), Config{Endpoint: endpoint}); err == nil {
			t.Errorf("%q was opened", endpoint)
		}
	}
	c := tracetest.New(t)
	if err := Check(t.Context(), Config{Endpoint: c.URL, Roots: roots(t, c.CAFile)}); err != nil {
		t.Error(err)
	}
	for _, wrong := range []Config{{Endpoint: c.URL}, {Endpoint: c.URL + "/elsewhere", Roots: roots(t, c.CAFile)}} {
		if err := Check(t.Context(), wrong); err == nil {
			t.Errorf("%v is said to be well", wrong)
		}
	}
}
