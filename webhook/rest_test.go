package webhook_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/webhook"
	"github.com/tapvault/tapvault/webhook/hookdb"
)

// counted makes the receiver answer so, and counts what it is sent.
func (r *rig) counted(code *int) (tries *int) {
	tries = new(int)
	r.recv.answer = func(wire.Event) int { *tries++; return *code }
	return tries
}

// drain steps until nothing is due.
func (r *rig) drain() {
	r.t.Helper()
	for r.step() > 0 {
		continue
	}
}

// tokens emits one event of each of n tokens.
func (r *rig) tokens(n int) {
	r.t.Helper()
	for i := range n {
		r.emit(i, requestor)
	}
}

// dead makes the endpoint rest: it has failed as often as it takes.
func (r *rig) dead() {
	r.t.Helper()
	for range 3 {
		r.drain()
		r.now = r.now.Add(10 * time.Second)
	}
}

// TestDeadEndpointCostsLittle: an endpoint that takes nothing is asked by one
// event a minute at most, however many wait. When it is back, what is new comes
// within about a minute, and the rest when each one's own pause is over.
func TestDeadEndpointCostsLittle(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { costsLittle(t, newRig(t, db(t))) })
}

func costsLittle(t *testing.T, r *rig) {
	const tokens = 12
	code := 503
	tries := r.counted(&code)
	r.tokens(tokens)
	r.dead()
	*tries = 0
	for range 15 * 60 / 10 {
		r.now = r.now.Add(10 * time.Second)
		r.drain()
	}
	if *tries < 5 || *tries > 20 {
		t.Errorf("asked %d times in a quarter of an hour", *tries)
	}
	r.emit(25, requestor)
	r.drain()
	code = 200
	for range 70 {
		r.now = r.now.Add(time.Second)
		r.drain()
	}
	if got := r.recv.seen(); !slices.Contains(got, "Z 1") {
		t.Errorf("taken by one that came back: %q", got)
	}
	r.now = r.now.Add(2 * time.Hour) // the longest of the events' own pauses
	r.drain()
	if n := len(r.recv.seen()); n != tokens+1 {
		t.Errorf("%d events were taken in the end", n)
	}
}

// TestRestIsShared: what one process found of an endpoint, others know, and one
// of them asks when the rest is over.
func TestRestIsShared(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { restIsShared(t, newRig(t, db(t))) })
}

func restIsShared(t *testing.T, r *rig) {
	code := 503
	tries := r.counted(&code)
	r.tokens(4)
	r.dead()
	r.drain() // failed once more, and rests for longer
	*tries = 0
	k, key := newKey(t)
	r.recv.public = &k.PublicKey
	other, err := webhook.New(webhook.Config{Endpoints: []webhook.Endpoint{r.end}, Queue: r.queue, Key: key, Rehearsal: true,
		Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	r.emit(5, requestor)
	if n, err := other.Step(t.Context(), r.end); err != nil || n != 1 || *tries != 0 {
		t.Errorf("of %d that were due, %d were sent, %v", n, *tries, err)
	}
	r.now = r.now.Add(time.Hour)
	r.recv.answer = func(wire.Event) int { // while one is asking, another has something to send
		*tries++
		r.emit(6, requestor)
		if n, err := r.disp.Step(t.Context(), r.end); err != nil || n != 1 {
			t.Errorf("%d were due, %v", n, err)
		}
		return 503
	}
	if _, err := other.Step(t.Context(), r.end); err != nil || *tries != 1 {
		t.Errorf("%d asked when the rest was over, %v", *tries, err)
	}
}

// TestRestedEventsAreGivenUp: what is not sent to an endpoint that rests does not
// wait for ever.
func TestRestedEventsAreGivenUp(t *testing.T) {
	r := newRig(t)
	code := 503
	r.counted(&code)
	r.tokens(3)
	for range 13 {
		r.drain()
		r.now = r.now.Add(7 * time.Hour)
	}
	code = 200
	r.now = r.now.Add(7 * time.Hour)
	r.drain()
	r.wants()
}

// TestOwnFailureIsNotTheEndpoints: while the HSM signs nothing, no endpoint comes
// to rest.
func TestOwnFailureIsNotTheEndpoints(t *testing.T) {
	r := newRig(t)
	_, key := newKey(t)
	key.Sign = func(context.Context, [32]byte) (out [64]byte, err error) { return out, errors.New("no HSM") }
	d, err := webhook.New(webhook.Config{Endpoints: []webhook.Endpoint{r.end}, Queue: r.queue, Key: key, Rehearsal: true,
		Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	r.tokens(1)
	for range 5 {
		if n, err := d.Step(t.Context(), r.end); err != nil || n != 1 {
			t.Fatalf("%d were tried, %v", n, err)
		}
		r.now = r.now.Add(time.Minute)
	}
	if rest, err := r.queue.Rest(t.Context(), r.end); err != nil || rest != (webhook.Rest{}) {
		t.Errorf("%+v, %v", rest, err)
	}
	r.drain()
	r.wants("A 1")
}

// TestRestOfAWrongClock: a rest that a clock which was a year ahead wrote holds
// nobody up.
func TestRestOfAWrongClock(t *testing.T) {
	r := newRig(t)
	if ok, err := r.queue.Change(t.Context(), r.end, webhook.Rest{}, webhook.Rest{Failures: 7, Until: r.now.Add(365 * 24 * time.Hour)}); err != nil || !ok {
		t.Fatalf("%t, %v", ok, err)
	}
	r.tokens(2)
	r.drain()
	r.wants("A 1", "B 1")
	if rest, err := r.queue.Rest(t.Context(), r.end); err != nil || rest != (webhook.Rest{}) {
		t.Errorf("%+v, %v", rest, err)
	}
}

// TestPauseOfAWrongClock: what a process whose clock was a day ahead had in hand when it
// ended, and what it put off, is sent by the others.
func TestPauseOfAWrongClock(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) { pauseOfAWrongClock(t, newRig(t, db(t))) })
}

func pauseOfAWrongClock(t *testing.T, r *rig) {
	ahead := r.now.Add(24 * time.Hour)
	wrong := hookdb.New(r.db, r.events, func() time.Time { return ahead })
	r.tokens(2)
	if err := wrong.Fill(t.Context(), r.end); err != nil {
		t.Fatal(err)
	}
	both, err := wrong.Claim(t.Context(), r.end, ahead.Add(time.Minute), 2)
	if err != nil || len(both) != 2 {
		t.Fatalf("%v, %v", both, err)
	}
	if err := wrong.Later(t.Context(), both[1], ahead.Add(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.wants("A 1", "B 1")
}

// TestLiveBesideDead: while an endpoint rests, one beside it is sent its events
// as they come.
func TestLiveBesideDead(t *testing.T) {
	r := newRig(t)
	code := 503
	r.counted(&code)
	live := r.end
	live.Name = "live"
	if _, err := r.disp.Step(t.Context(), live); err != nil { // its queue begins
		t.Fatal(err)
	}
	r.tokens(3)
	r.dead()
	code = 200
	if n, err := r.disp.Step(t.Context(), live); err != nil || n != 3 {
		t.Errorf("%d were sent, %v", n, err)
	}
	r.wants("A 1", "B 1", "C 1")
}
