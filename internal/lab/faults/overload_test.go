//go:build linux && cgo

package faults_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
)

// TestOverload has five times as many callers as may be in flight ask a service
// whose HSM is slow. It goes on doing what it can, tells everybody else at once
// to come back, and spends no call to the HSM, which is what there is too little
// of, on those: so what it does under overload is what it does at its best. The
// rates are told, not judged: they are those of a machine with other work.
func TestOverload(t *testing.T) {
	const inFlight, enough = 32, 160
	made.Heal()
	t.Cleanup(made.Heal)
	l := lab.New(t, lab.Options{Module: made.Module, Config: func(c *assembly.Config) { c.MaxInFlight = inFlight }})
	f := &flood{url: l.URL + "/v1/cryptograms/purchase/mac1", header: l.Bearer(t, "terminal"), http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.Roots(), MinVersion: tls.VersionTLS13},
		MaxConnsPerHost: 5 * inFlight, MaxIdleConnsPerHost: 5 * inFlight}}}
	defer f.http.CloseIdleConnections()
	if code, _ := f.ask(t.Context()); code != http.StatusOK {
		t.Fatalf("one request: %d", code)
	}
	f.until(t, 5*inFlight, 5*inFlight) // all have connections
	made.DelayCall(shim.DeriveKey, 10*time.Millisecond)
	calm := f.until(t, inFlight/2, enough)
	rush := f.until(t, 5*inFlight, enough)
	t.Logf("%d callers: %.0f/s; %d callers: %.0f/s, and %d times somebody was told to come back",
		inFlight/2, calm.perS, 5*inFlight, rush.perS, rush.told)
	if calm.told != 0 || rush.told == 0 {
		t.Errorf("told to come back: %d at half of what may be in flight, %d at five times as much", calm.told, rush.told)
	}
	if calm.odd != 0 || rush.odd != 0 {
		t.Errorf("%d and %d answers were neither good nor to come back", calm.odd, rush.odd)
	}
	const kept = 16 // a session key each; the card's own key is kept for a while
	if calm.derived > calm.good+kept || rush.derived > rush.good+kept {
		t.Errorf("the HSM derived %d keys for %d answers, %d for %d under overload", calm.derived, calm.good, rush.derived, rush.good)
	}
	made.Heal()
	if code, _ := f.ask(t.Context()); code != http.StatusOK {
		t.Errorf("afterwards: %d", code)
	}
}

// flood is callers of one operation.
type flood struct {
	url    string
	header http.Header
	http   *http.Client
}

var order = []byte(`{"card":{"realm":"transit","issuer":"1000000000000001","asn":"00003104870000000017","key_version":1,"algorithm_id":0},` +
	`"rand":"584633C9","offline_seq":0,"amount":1,"txn_type":6,"term_id":"001122334455","term_seq":0,"date":"20161216","time":"134600"}`)

// ask asks once and returns the status and Retry-After.
func (f *flood) ask(ctx context.Context) (int, string) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(order))
	if err != nil {
		return 0, ""
	}
	q.Header = f.header.Clone()
	q.Header.Set("Content-Type", "application/json")
	resp, err := f.http.Do(q)
	if err != nil {
		return 0, ""
	}
	_, _ = io.Copy(io.Discard, resp.Body) // else its connection is given up
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// outcome is how callers were answered.
type outcome struct {
	good, told, odd int64
	derived         int64 // keys, by the HSM
	perS            float64
}

// until has some callers ask until there were so many good answers. Who is told
// to come back does, a little later.
func (f *flood) until(t *testing.T, callers int, enough int64) outcome {
	t.Helper()
	var good, told, odd atomic.Int64
	var wg sync.WaitGroup
	began, derived := time.Now(), made.Calls(shim.DeriveKey)
	for range callers {
		wg.Go(func() {
			for good.Load() < enough && odd.Load() == 0 {
				switch code, again := f.ask(t.Context()); {
				case code == http.StatusOK:
					good.Add(1)
				case code == http.StatusServiceUnavailable && again != "":
					told.Add(1)
					time.Sleep(20 * time.Millisecond)
				default:
					odd.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return outcome{good: good.Load(), told: told.Load(), odd: odd.Load(),
		derived: int64(made.Calls(shim.DeriveKey) - derived), perS: float64(good.Load()) / time.Since(began).Seconds()}
}
