package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/webhook"
)

// TestDeadEndpointsHoldUpNoOther: a hundred endpoints take what they are sent and never
// answer, nobody breaks the requests off, and the events of the one that answers go to it meanwhile,
// although all are of one requestor.
func TestDeadEndpointsHoldUpNoOther(t *testing.T) {
	const dead, tokens, each = 100, 2, 3
	r := newRig(t)
	var hanging atomic.Int64
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hanging.Add(1)
		<-release
	}))
	t.Cleanup(srv.Close)
	ends := []webhook.Endpoint{r.end}
	for i := range dead {
		ends = append(ends, webhook.Endpoint{Name: fmt.Sprint("dead-", i), Requestor: requestor, URL: srv.URL})
	}
	k, key := newKey(t)
	r.recv.public = &k.PublicKey
	d, err := webhook.New(webhook.Config{Endpoints: ends, Queue: r.queue, Key: key, Rehearsal: true, HTTP: &http.Client{},
		Now: func() time.Time { return r.now }, Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ends { // its queue begins
		if _, err := d.Step(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for range each {
		for n := range tokens {
			r.emit(n, requestor)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	defer running.Wait()
	defer stop()
	defer close(release)
	for hanging.Load() < dead*tokens || len(r.recv.seen()) < tokens*each {
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if n := hanging.Load(); n != dead*tokens {
		t.Errorf("%d requests hang, of each token one at each of %d endpoints is allowed", n, dead)
	}
}
