package lab_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/wallet/element/applet"
)

// TestElementOfASuspendedWallet: somebody copied a fob, chip and all. Once the
// taps of both are known its wallet is suspended, and the next courier, whoever
// that is, brings the script that makes the fob forget what it held.
func TestElementOfASuspendedWallet(t *testing.T) {
	f := newFob(t, 20000)
	f.inStep(f.phone)
	image, err := f.memory.Load()
	f.must(err)
	stolen := &applet.Banks{}
	f.must(stolen.Store(image))
	f.must(f.tap(300))
	f.upload(1)
	mine := f.memory
	f.memory, f.reader = stolen, readerOn(t, f.l, f.psam, 2, f.c.now) // where nobody has seen it
	f.power()
	f.must(f.tap(200)) // the slot that paid before
	f.memory = mine
	f.power()
	if _, err := f.reader.Upload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w, err := f.l.Client(t, "issuer").Wallet(t.Context(), f.wallet); err != nil || w.State != "SUSPENDED" {
		t.Fatalf("its wallet is %s, %v", w.State, err)
	}
	if n := f.inStep(f.terminal); n != 1 {
		t.Errorf("suspending took %d scripts", n)
	}
	if e := f.known(); e.State != "ERASED" || e.Balance != 0 {
		t.Errorf("known as %+v", e)
	}
	if err := f.tap(100); err == nil {
		t.Error("an erased fob pays")
	}
	if n := f.inStep(f.terminal); n != 0 {
		t.Errorf("%d scripts after the last", n)
	}
}

// TestElementRenewal: a fob is given its next token over the air without its PIN,
// which it keeps, as it keeps the money.
func TestElementRenewal(t *testing.T) {
	f := newFob(t, 20000)
	f.inStep(f.phone)
	f.must(f.tap(300))
	f.upload(1)
	f.inStep(f.phone)
	f.balances(20000-300-5000, 5000)
	issuer := f.l.Client(t, "issuer")
	was, err := issuer.Token(t.Context(), f.ref)
	f.must(err)
	f.c.pass(was.NotAfter.Sub(f.c.now()) + 25*time.Hour) // what nobody used is free again
	if err := f.tap(300); err == nil {
		t.Error("it pays with a token that came to its end")
	}
	next := newToken(t, f.l, cardRequest())
	_, err = issuer.BindToken(t.Context(), f.wallet, wire.WalletToken{Ref: next.Ref, Device: f.id})
	f.must(err)
	f.order(wire.ElementOrder{Verb: "ISSUE", Ref: next.Ref})
	if n := f.inStep(f.terminal); n != 2 {
		t.Errorf("renewing took %d scripts", n)
	}
	f.must(f.tap(300))
	if sw := f.verify("482915"); sw != 0x9000 {
		t.Fatalf("its PIN: %v", sw)
	}
	f.must(f.tap(900))
	f.upload(2)
	f.inStep(f.terminal)
	b, err := issuer.Balances(t.Context(), f.wallet)
	f.must(err)
	if b.Available+b.Reserve != 20000-300-300-900 || f.known().Balance != 5000 {
		t.Errorf("after it: %+v, and the fob may pay %d", b, f.known().Balance)
	}
}
