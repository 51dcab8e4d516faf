package bench

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHTTP: the benches over HTTP work, with every answer good. What counts is
// measured by the command, on a quiet machine.
func TestHTTP(t *testing.T) {
	for name, callers := range map[string]int{"http": 16, "http-durable": 16, "batch": 4} {
		apart := name != "batch"
		r, err := Run(t.Context(), name, Options{Rounds: 9, Round: 12 * time.Millisecond, Apart: apart})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Name != name || r.OpsPerS <= 0 || r.LimitPerS <= 0 || r.Ratio <= 0 || len(r.Ratios) != 9 || r.Callers != callers || r.MemoryMiB <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
		if r.ModuleCPUUS <= 0 || r.LoopCPUUS <= 0 || (r.EchoCPUUS > 0) != (name != "batch") {
			t.Errorf("%s: the module took %.0f µs, the loop %.0f, the echo %.0f", name, r.ModuleCPUUS, r.LoopCPUUS, r.EchoCPUUS)
		}
		if r.CPUOutsideByLoop == 0 || (r.CPUOutsideByLoop > 0) != (r.CPUOutsideModuleUS > 0) {
			t.Errorf("%s: %.0f µs outside the module, %.2f of the loop's", name, r.CPUOutsideModuleUS, r.CPUOutsideByLoop)
		}
		if apart != (r.ClientCPUUS > 0) {
			t.Errorf("%s: the client took %.0f µs by itself", name, r.ClientCPUUS)
		}
		t.Logf("%s: %.0f/s of %.0f/s", name, r.OpsPerS, r.LimitPerS)
	}
}

// TestMemory: memory is sampled as long as there is load.
func TestMemory(t *testing.T) {
	r, err := Run(t.Context(), "memory", Options{For: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Memory == nil || r.OpsPerS <= 0 || r.Ratio <= 0 || r.MemoryMiB <= 0 {
		t.Fatalf("%+v", r)
	}
	for i, s := range r.Memory.Thirds {
		if s.Min <= 0 || s.Min > s.Median || s.Median > s.Max || s.Max > r.MemoryMiB {
			t.Errorf("third %d: %+v", i, s)
		}
	}
}

// TestClientTellsOfRefusals: an answer that is not 200 ends a bench, whichever
// process the client is in.
func TestClientTellsOfRefusals(t *testing.T) {
	for _, apart := range []bool{false, true} {
		b := &httpBench{ask: ask{callers: 2}, bodies: [][]byte{[]byte("{}")}, options: Options{Apart: apart}}
		b.head = func(path string) []byte {
			return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: example.com\r\nContent-Length: ", path)
		}
		s := b.serve(&http.Server{Handler: echo()})
		if v, err := b.visit(t.Context(), s, "/elsewhere"); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("a client that is told 404: %+v, %v", v, err)
		}
		v, err := b.visit(t.Context(), s, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		if done, err := v.run(t.Context(), 50*time.Millisecond); err != nil || done.N == 0 || apart != (done.CPU > 0) {
			t.Errorf("%+v, %v", done, err)
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}
}
