package load_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/load"
)

var errLost = errors.New("lost")

// breaking is a store that can fail once, before a write or after it.
type breaking struct {
	load.Store
	before, after bool
}

func (b *breaking) Begin(ctx context.Context, r load.Record, a access.Attempt) (load.Record, error) {
	return broken(b, func() (load.Record, error) { return b.Store.Begin(ctx, r, a) })
}

func (b *breaking) Finish(ctx context.Context, id string, revision int64, f load.Finding) (load.Record, error) {
	return broken(b, func() (load.Record, error) { return b.Store.Finish(ctx, id, revision, f) })
}

func (b *breaking) Decide(ctx context.Context, d load.Decision) (load.Record, error) {
	return broken(b, func() (load.Record, error) { return b.Store.Decide(ctx, d) })
}

func broken(b *breaking, write func() (load.Record, error)) (load.Record, error) {
	if b.before {
		b.before = false
		return load.Record{}, errLost
	}
	r, err := write()
	if b.after {
		b.after = false
		return load.Record{}, errLost
	}
	return r, err
}

// loss is what happens to one message between terminal and service.
type loss string

var losses = []loss{"arrives", "request lost", "crash before commit", "crash after commit", "answer lost"}

// send makes one call under a loss.
func send[T any](w *world, l loss, call func() (T, error)) (out T, err error) {
	switch l {
	case "request lost":
		return out, errLost
	case "crash before commit":
		w.store.before = true
	case "crash after commit":
		w.store.after = true
	}
	out, err = call()
	w.store.before, w.store.after = false, false
	if l == "answer lost" {
		var none T
		return none, errLost
	}
	return out, err
}

// TestCrashes stops a load and an unload between every two steps, in every
// combination, and lets the terminal recover as it would: it asks again for what
// it has no answer to, and shows the card when the acknowledgement is lost. In
// the end no money was made or lost.
func TestCrashes(t *testing.T) {
	w := newWorld(t)
	asn := byte(0)
	for _, kind := range []load.Order{credit(1), debit(1)} {
		for _, onBegin := range losses {
			for _, onCard := range []string{"obeys", "torn before", "torn after"} {
				for _, onConfirm := range losses {
					for _, onReverse := range losses {
						if onCard != "obeys" && onConfirm != "arrives" {
							continue // there is nothing to confirm
						}
						asn++
						crash(w, newCard(t, asn), kind, fate{onBegin, onCard, onConfirm, onReverse})
					}
				}
			}
		}
	}
}

// fate is what goes wrong at each step of an order.
type fate struct {
	begin            loss
	card             string // obeys, or is torn from the terminal before or after it
	confirm, reverse loss
}

func crash(w *world, c *card, o load.Order, f fate) {
	w.t.Helper()
	name := fmt.Sprintf("%s: begin %s, card %s, confirm %s, reverse %s", o.Kind, f.begin, f.card, f.confirm, f.reverse)
	p := o.Purse()
	total := func() int64 {
		b := w.balances(mine)
		return b.Available + b.CardLoad + int64(c.balance[p])
	}
	before, stood := total(), false
	o, mac1 := c.start(o)
	b, err := send(w, f.begin, func() (load.Begun, error) { return w.begin(c, o, mac1) })
	if err != nil { // asked again, with the same words
		if b, err = w.begin(c, o, mac1); err != nil {
			w.t.Fatalf("%s: asked again: %v", name, err)
		}
	}
	var ack [4]byte
	if f.card != "torn before" {
		if ack, err = c.obey(b.At, b.MAC2); err != nil {
			w.t.Fatalf("%s: the card does not obey", name)
		}
		stood = true
	}
	var r load.Record
	err = errLost
	if f.card == "obeys" {
		r, err = send(w, f.confirm, func() (load.Record, error) { return w.confirm(c, b.ID, ack) })
	}
	if err != nil {
		shown, mac := c.show(b.Record)
		reverse := func() (load.Record, error) { return w.service.Reverse(w.t.Context(), bank, b.ID, c.name, shown, mac) }
		if r, err = send(w, f.reverse, reverse); err != nil {
			r, err = reverse()
		}
	}
	want := map[bool]load.State{true: load.Settled, false: load.Reversed}[stood]
	if err != nil || r.State != want {
		w.t.Fatalf("%s: %s, %v; want %s", name, r.State, err, want)
	}
	if after := total(); after != before || w.balances(mine).CardLoad != 0 {
		w.t.Fatalf("%s: %d before, %d after, %d on its way", name, before, after, w.balances(mine).CardLoad)
	}
	sums, err := ledgerdb.Sums(w.db.Read(w.t.Context()), mine)
	if err != nil || sums[ledger.Suspense] != 0 || sums[ledger.FraudLoss] != 0 {
		w.t.Fatalf("%s: %v, %v", name, sums, err)
	}
}
