package lab_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/trace/tracetest"
)

// named is the only span of a name, with what is below it.
func named(t *testing.T, all []tracetest.Span, name string) (top tracetest.Span, below []tracetest.Span) {
	t.Helper()
	n := 0
	for _, s := range all {
		if s.Name == name {
			top = s
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d spans are called %s", n, name)
	}
	for _, s := range all {
		if s.Parent == top.ID && s.Trace == top.Trace {
			below = append(below, s)
		}
	}
	return top, below
}

func names(all []tracetest.Span) (out []string) {
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out
}

// TestTraces: the steps of a tap and of a check arrive at a collector, each
// below its request, and hold nothing of what callers sent.
func TestTraces(t *testing.T) {
	collector := tracetest.New(t)
	clock := &watch{at: noon()}
	l := lab.New(t, lab.Options{Now: clock.now, Config: func(c *assembly.Config) {
		c.Traces = assembly.Traces{Endpoint: collector.URL, CAFile: collector.CAFile, Sample: 1}
	}})
	tok := newToken(t, l, cardRequest())
	phone, reader := newPhone(t, l, tok.Ref, clock.now), newReader(t, l, clock.now)
	if r := upload(t, l, tapOnce(t, reader, phone)); r.Outcome != "POSTED" {
		t.Fatalf("a tap was answered %+v", r)
	}
	const caller, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	body, err := json.Marshal(wire.PurchaseVerify{Purchase: wire.Purchase{Card: wire.Card{Realm: lab.Realm, Issuer: wire.Hex8{0x10, 7: 1}, ASN: wire.Hex10{2: 0x33, 9: 1}, KeyVersion: 1},
		Amount: 200, TxnType: 6, Date: wire.Date{0x20, 0x26, 5, 0x20}, Time: wire.Time{8, 0x30, 0}}, MAC2: wire.Hex4{0xAB, 0xCD, 0xEF, 0x01}})
	if err != nil {
		t.Fatal(err)
	}
	h := l.Bearer(t, "terminal")
	h.Set("Traceparent", "00-"+caller+"-"+parent+"-00")
	if a := l.Send(t, http.MethodPost, "/v1/cryptograms/purchase/verify", h, body); a.Type != "refused" {
		t.Fatalf("a wrong MAC was answered %d %s", a.Status, a.Type)
	}
	if a := l.Send(t, http.MethodGet, "/v1/tokens/"+testPAN+"/"+tok.Number+"?x="+testPAN, h, nil); a.Status != http.StatusNotFound {
		t.Fatalf("no operation answered %d", a.Status)
	}
	l.Send(t, http.MethodGet, "/readyz", nil, nil)
	l.Stop(t) // sends what waits
	all := collector.Spans()

	check, below := named(t, all, "purchaseVerify")
	if check.Trace != caller || check.Parent != parent || check.Failed || check.Attributes["tapvault.status"] != "4xx" ||
		check.Attributes["tapvault.problem"] != "refused" || check.Attributes["tapvault.role"] != "terminal" {
		t.Errorf("the check: %+v", check)
	}
	if got := names(below); !slices.Contains(got, "authorise") || !slices.Contains(got, "hsm") || !slices.Contains(got, "audit record") {
		t.Errorf("the check has %q", got)
	}
	for _, s := range below {
		if s.Name == "hsm" && s.Attributes["tapvault.call"] == "process-mac" && (s.Attributes["tapvault.usage"] != "mpk" || s.Wait < 0) {
			t.Errorf("the HSM's part: %+v", s)
		}
	}
	tap, below := named(t, all, "uploadTaps")
	if got := names(below); tap.Parent != "" || tap.Attributes["tapvault.status"] != "2xx" || !slices.Contains(got, "authorise") || !slices.Contains(got, "hsm") ||
		!slices.Contains(got, "store transaction") || !slices.Contains(got, "audit record") {
		t.Errorf("the tap: %+v with %q", tap, got)
	}
	for _, s := range all {
		if s.Name == "readyz" || s.Name == "hidden" || slices.ContainsFunc([]string{s.Name, s.Attributes["tapvault.problem"]}, func(v string) bool { return v == "hidden" }) {
			t.Errorf("%+v", s)
		}
		for key, value := range s.Attributes {
			if !strings.HasPrefix(key, "tapvault.") || value == "hidden" {
				t.Errorf("%s has %s=%s", s.Name, key, value)
			}
		}
	}
	sent := string(collector.Bytes())
	for _, secret := range []string{testPAN, tok.Number, tok.Ref, h.Get("Authorization")[20:], "310000000001", "issuer\"", "ABCDEF01", "abcdef01"} {
		if strings.Contains(sent, secret) {
			t.Errorf("a span holds %.8s…", secret)
		}
	}
	if !strings.Contains(sent, "tapvault.status") {
		t.Error("nothing was searched")
	}
}

// TestCollectorOut: with a collector that takes spans and never answers, or that
// is not there, the service answers as ever and can be stopped.
func TestCollectorOut(t *testing.T) {
	collector := tracetest.New(t)
	collector.Hang()
	l := lab.New(t, lab.Options{Config: func(c *assembly.Config) {
		c.Traces = assembly.Traces{Endpoint: collector.URL, CAFile: collector.CAFile, Sample: 1}
	}})
	issuer, tok := l.Client(t, "issuer"), newToken(t, l, cardRequest())
	read := func() {
		if _, err := issuer.Token(t.Context(), tok.Ref); err != nil {
			t.Fatal(err)
		}
	}
	for collector.Asked() == 0 {
		read()
	}
	lost := regexp.MustCompile(`(?m)^tapvault_trace_spans_total\{outcome="(dropped|failed)"\} [1-9]`)
	for !lost.Match(l.Send(t, http.MethodGet, "/metrics", nil, nil).Body) { // the collector is given up, or too many wait
		for range 100 {
			read()
		}
	}
	l.Stop(t)
}
