// Package webhook tells token requestors what happened to their tokens.
//
// Each event is sent as JSON by POST until the endpoint answers 2xx, with
// longer and longer pauses. Of one token, no event is sent before the one
// before it was taken. An event may be sent twice, after an answer that was
// lost: its id stays the same. Every message is signed inside the HSM.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Endpoint is where one requestor wants to be told.
type Endpoint struct {
	Name      string // unique and stable: the queue is kept under it
	Requestor token.Requestor
	URL       string
}

// check refuses what is no endpoint. Plain HTTP is for rehearsals.
func (e Endpoint) check(rehearsal bool) error {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || e.Name == "" {
		return errors.New("configuring webhooks: an endpoint has a name and a URL without user and fragment")
	}
	if u.Scheme != "https" && !(rehearsal && u.Scheme == "http") {
		return fmt.Errorf("configuring webhooks: %s: the URL must be https", e.Name)
	}
	if _, err := token.ParseRequestor(string(e.Requestor)); err != nil {
		return fmt.Errorf("configuring webhooks: %s: %w", e.Name, err)
	}
	return nil
}

// Check refuses what are no endpoints, or two of one name.
func Check(rehearsal bool, all ...Endpoint) error {
	names := map[string]bool{}
	for _, e := range all {
		if err := e.check(rehearsal); err != nil {
			return err
		}
		if names[e.Name] {
			return fmt.Errorf("configuring webhooks: %s is there twice", e.Name)
		}
		names[e.Name] = true
	}
	return nil
}

// Delivery is one event on its way to one endpoint.
type Delivery struct {
	Endpoint string
	Attempt  int // from 1
	Event    event.Event
}

// Queue keeps what was not taken yet. It is safe for concurrent use, also by
// several processes.
type Queue interface {
	// Fill puts new events of e's requestor into its queue. An endpoint that was
	// never seen begins with the events that come after.
	Fill(ctx context.Context, e Endpoint) error
	// Claim returns deliveries that are due, of each token the first at most,
	// and keeps them from others until the moment until.
	Claim(ctx context.Context, e Endpoint, until time.Time, limit int) ([]Delivery, error)
	// Done forgets a delivery.
	Done(ctx context.Context, d Delivery) error
	// Later gives a claimed delivery back, to be tried from the moment at on.
	Later(ctx context.Context, d Delivery, at time.Time) error
	// Rest tells how an endpoint fared, whoever found out.
	Rest(ctx context.Context, e Endpoint) (Rest, error)
	// Change changes that from what it was. It reports false, and nothing is
	// changed, when somebody else changed it before.
	Change(ctx context.Context, e Endpoint, was, is Rest) (bool, error)
}

// Config is what a [Dispatcher] is made of. Queue and Key are required.
type Config struct {
	Endpoints []Endpoint
	Queue     Queue
	Key       Key
	Issuer    string // who speaks, such as https://tapvault.example

	// Rehearsal allows plain HTTP and addresses that are not public.
	Rehearsal bool
	HTTP      *http.Client     // nil: see [NewHTTP]
	Interval  time.Duration    // between looks at the queue; 0: 1 s
	GiveUp    time.Duration    // age at which an event that was tried often is no longer sent; 0: 72 h
	Log       *slog.Logger     // nil: nothing is logged
	Now       func() time.Time // nil: time.Now
}

// Dispatcher sends events. It is safe for concurrent use.
type Dispatcher struct {
	cfg   Config
	keyID string
}

// New checks cfg and returns a dispatcher; [Dispatcher.Run] makes it send.
func New(cfg Config) (*Dispatcher, error) {
	if cfg.Queue == nil || cfg.Key.Public == nil || cfg.Key.Sign == nil {
		return nil, errors.New("configuring webhooks: a queue and a signing key are required")
	}
	if err := Check(cfg.Rehearsal, cfg.Endpoints...); err != nil {
		return nil, err
	}
	id, err := cfg.Key.id()
	if err != nil {
		return nil, err
	}
	if cfg.HTTP == nil {
		cfg.HTTP = NewHTTP(cfg.Rehearsal)
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.GiveUp == 0 {
		cfg.GiveUp = 72 * time.Hour
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Dispatcher{cfg, id}, nil
}

// Run sends until ctx ends. Each endpoint is served by itself: one that is slow
// or down holds up no other.
func (d *Dispatcher) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, e := range d.cfg.Endpoints {
		wg.Go(func() { d.serve(ctx, e) })
	}
	wg.Wait()
}

func (d *Dispatcher) serve(ctx context.Context, e Endpoint) {
	for {
		var sent int
		err := fault.Safely(func() (err error) { sent, err = d.Step(ctx, e); return err })
		if err != nil && ctx.Err() == nil {
			d.cfg.Log.ErrorContext(ctx, "webhook queue failed", "endpoint", e.Name, "error", err.Error())
		}
		if sent > 0 && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.cfg.Interval):
		}
	}
}

const (
	batch = 32               // deliveries at once, to one endpoint
	lease = 60 * time.Second // much longer than one delivery may take
)

// Step sends what is due to an endpoint now, and returns how much that was.
func (d *Dispatcher) Step(ctx context.Context, e Endpoint) (int, error) {
	if err := d.cfg.Queue.Fill(ctx, e); err != nil {
		return 0, err
	}
	due, err := d.cfg.Queue.Claim(ctx, e, d.cfg.Now().Add(lease), batch)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	return len(due), d.spare(ctx, e, due)
}

// word is what was heard of an endpoint.
type word int

const (
	nothing word = iota // it was not asked
	failed
	took // at least something
)

// all delivers at the same time.
func (d *Dispatcher) all(ctx context.Context, e Endpoint, due []Delivery) (heard word, err error) {
	errs := make([]error, len(due))
	words := make([]word, len(due)+1)
	var wg sync.WaitGroup
	for i, one := range due {
		wg.Go(func() {
			errs[i] = fault.Safely(func() (err error) { words[i], err = d.deliver(ctx, e, one); return err })
		})
	}
	wg.Wait()
	return slices.Max(words), errors.Join(errs...)
}

// deliver tries once and notes how it went. What happened is noted even when
// ctx ends: the endpoint may have taken the event.
func (d *Dispatcher) deliver(ctx context.Context, e Endpoint, one Delivery) (heard word, err error) {
	note := context.WithoutCancel(ctx)
	if one.Event.Requestor != e.Requestor { // the name of e was another requestor's before
		d.cfg.Log.ErrorContext(ctx, "webhook dropped: the event is of another requestor", "endpoint", e.Name, "event", one.Event.ID)
		return nothing, d.cfg.Queue.Done(note, one)
	}
	asked := false
	err = fault.Safely(func() error { // one that panics is put off like any other
		r, err := d.request(ctx, e, one.Event)
		if asked = err == nil; asked {
			err = d.send(r)
		}
		return err
	})
	if err == nil {
		return took, d.cfg.Queue.Done(note, one)
	}
	if asked && ctx.Err() == nil {
		heard = failed
	}
	d.log(e, one, err).WarnContext(ctx, "webhook not taken")
	return heard, d.again(note, e, one, time.Time{}, err)
}

// again has an event that was not taken tried later, and not before the moment
// from, or gives it up.
func (d *Dispatcher) again(ctx context.Context, e Endpoint, one Delivery, from time.Time, why error) error {
	now := d.cfg.Now()
	if one.Attempt >= leastTries && now.Sub(one.Event.At) >= d.cfg.GiveUp {
		d.log(e, one, why).ErrorContext(ctx, "webhook given up")
		return d.cfg.Queue.Done(ctx, one)
	}
	at := now.Add(pause(one.Attempt, rand.Float64()))
	if at.Before(from) {
		at = from
	}
	return d.cfg.Queue.Later(ctx, one, at)
}

func (d *Dispatcher) log(e Endpoint, one Delivery, err error) *slog.Logger {
	return d.cfg.Log.With("endpoint", e.Name, "event", one.Event.ID, "attempt", one.Attempt, "error", err.Error())
}

// Pauses between tries double from the first to the longest, and differ by up
// to a fifth, so that endpoints that came back are not stormed.
const (
	firstPause   = 2 * time.Second
	longestPause = time.Hour
)

// leastTries is how often an event is tried however old it is: until pauses are
// the longest. An event may have waited behind another, and a clock may be wrong.
const leastTries = 12

func pause(attempt int, r float64) time.Duration {
	p := longestPause
	if attempt < 12 {
		p = min(longestPause, firstPause<<max(0, attempt-1))
	}
	return p + time.Duration((r-0.5)*0.4*float64(p))
}
