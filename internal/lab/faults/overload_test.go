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

// TestOverload asks a service whose HSM is slow for five times as much as it
// can do. It goes on doing what it can, and tells everybody else at once to come
// back. The two rates are of one run, and it is the HSM that bounds both, not the
// processors: it is far slower than any.
func TestOverload(t *testing.T) {
	made.Heal()
	t.Cleanup(made.Heal)
	l := lab.New(t, lab.Options{Module: made.Module, Config: func(c *assembly.Config) { c.MaxInFlight = 32 }})
	f := &flood{url: l.URL + "/v1/cryptograms/purchase/mac1", header: l.Bearer(t, "terminal"), http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.Roots(), MinVersion: tls.VersionTLS13},
		MaxConnsPerHost: 128, MaxIdleConnsPerHost: 128}}}
	defer f.http.CloseIdleConnections()
	made.DelayCall(shim.DeriveKey, 40*time.Millisecond)
	f.keen(t, 16, time.Second/2) // until all have connections
	most := f.keen(t, 16, 2*time.Second)
	good, told := f.rush(t, 5*most, 3*time.Second)
	t.Logf("at most %.0f/s; asked for five times as much: %.0f/s, and %d were told to come back", most, good, told)
	if good < 0.6*most {
		t.Errorf("under overload %.0f/s are answered, of %.0f/s", good, most)
	}
	if told == 0 {
		t.Error("nobody was told to come back")
	}
	if n := f.odd.Load(); n != 0 {
		t.Errorf("%d answers were neither good nor to come back", n)
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
	odd    atomic.Int64
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

// keen has some callers ask again as soon as they are answered, and returns how
// many answers a second there were.
func (f *flood) keen(t *testing.T, callers int, d time.Duration) float64 {
	t.Helper()
	var good atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(began) < d {
				if code, _ := f.ask(t.Context()); code == http.StatusOK {
					good.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return float64(good.Load()) / time.Since(began).Seconds()
}

// rush asks at a rate, whether answers come or not.
func (f *flood) rush(t *testing.T, perS float64, d time.Duration) (goodPerS float64, told int64) {
	t.Helper()
	var good, back atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for sent := 0; time.Since(began) < d; time.Sleep(time.Millisecond) {
		for ; float64(sent) < perS*time.Since(began).Seconds(); sent++ {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				switch code, again := f.ask(ctx); {
				case code == http.StatusOK:
					good.Add(1)
				case code == http.StatusServiceUnavailable && again != "":
					back.Add(1)
				default:
					f.odd.Add(1)
				}
			})
		}
	}
	wg.Wait()
	return float64(good.Load()) / time.Since(began).Seconds(), back.Load()
}
