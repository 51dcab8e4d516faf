//go:build linux && cgo

// Package faults_test breaks the module under a running service. It is apart
// from the other tests of the lab, since a process uses a module or its shim.
package faults_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
	"github.com/tapvault/tapvault/token"
)

// made is the one shim of this process.
var made *shim.Shim

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shim-")
	if err == nil {
		defer os.RemoveAll(dir)
		var module string
		if module, err = softhsmconfig.Module(); err == nil {
			made, err = shim.Build(dir, module)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

const (
	callers = 8
	// within is the bound on recovery: so many calls after a fault has ended,
	// everything is answered again.
	within = 3
)

var master = keyref.Ref{Realm: "bank", Usage: keyref.ACMaster, Version: 1}

// bank is a running service behind the shim, and a card of its issuer.
type bank struct {
	*lab.Lab
	bearer  http.Header
	cards   *softkey.Ring
	profile emv.Profile
	digits  string
	counter byte
}

func newBank(t *testing.T) *bank {
	t.Helper()
	made.Heal()
	t.Cleanup(made.Heal)
	value := []byte("a master of EMV!")
	b := &bank{cards: &softkey.Ring{}, digits: "621212345678901"}
	b.digits += string(token.LuhnDigit(b.digits))
	if err := b.cards.ImportScratch(t.Context(), master, value); err != nil {
		t.Fatal(err)
	}
	var err error
	b.profile, err = emv.ParseProfile([]byte(`{"name":"city","master":"a","session":"csk","padding":2,"fields":["9F02:6","9F36:2"],"response":{"method":1,"master":false}}`))
	if err != nil {
		t.Fatal(err)
	}
	b.Lab = lab.New(t, lab.Options{Module: made.Module, Keys: map[keyref.Ref][]byte{master: value}, Config: func(c *assembly.Config) {
		c.HSM.Workers = 2
		c.EMV = assembly.EMV{Profiles: []emv.Profile{b.profile}, Issuers: []assembly.EMVIssuer{{Realm: "bank", Prefixes: []string{"6212"},
			Profiles: []string{"city"}, ATCBehind: 63}}}
	}})
	b.bearer = b.Bearer(t, "issuer")
	return b
}

// pay is a transaction with the card's next counter, as it is sent.
func (b *bank) pay(t *testing.T) []byte {
	t.Helper()
	b.counter++
	card, err := emv.NewCard(b.digits, "01")
	if err != nil {
		t.Fatal(err)
	}
	d := emv.Data{"9F02": {0, 0, 0, 0, 2, 0}, "9F36": {0, b.counter}}
	ac, err := b.profile.AC(t.Context(), b.cards, master, card, d)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(wire.EMVRequest{EMVTransaction: wire.EMVTransaction{PAN: wire.NewDigits(b.digits), PSN: "01", Profile: "city",
		Cryptogram: ac, Data: wire.EMVData{"9F02": d["9F02"], "9F36": d["9F36"]}}, Answer: &wire.EMVAnswer{ARC: &wire.Hex2{'0', '0'}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (b *bank) send(t *testing.T, body []byte, key string) lab.Answer {
	t.Helper()
	h := b.bearer.Clone()
	h.Set("Idempotency-Key", key)
	return b.Send(t, "POST", "/v1/emv/arqc", h, body)
}

// retriable reports whether a fault was answered as one that passes.
func retriable(a lab.Answer) bool {
	return a.Status == 503 && a.Type == "hsm-unavailable" && a.Again != ""
}

// TestFaults: while the module is broken callers are told to come back, when it is
// whole again everything works at once without a restart, no session in which
// something failed was used again, and each counter was taken exactly once.
func TestFaults(t *testing.T) {
	b := newBank(t)
	fail := func(c shim.Call, code uint, done bool) func() {
		return func() { made.Fail(c, shim.Fault{Code: code, Done: done}) }
	}
	for _, f := range []struct {
		name   string
		begin  func()
		always bool // every call meets it
	}{
		{"no cipher", fail(shim.EncryptInit, pkcs11.CKR_DEVICE_ERROR, false), true},
		{"a cipher fails", fail(shim.Encrypt, pkcs11.CKR_FUNCTION_FAILED, false), true},
		{"a cipher does, then fails", fail(shim.Encrypt, pkcs11.CKR_GENERAL_ERROR, true), true},
		{"a derivation does, then fails", fail(shim.DeriveKey, pkcs11.CKR_DEVICE_MEMORY, true), false},
		{"a MAC fails", fail(shim.Sign, pkcs11.CKR_DEVICE_ERROR, false), true},
		{"a MAC is made, then fails", fail(shim.Sign, pkcs11.CKR_DEVICE_ERROR, true), true},
		{"no session", func() { made.DropSessions(); fail(shim.OpenSession, pkcs11.CKR_SESSION_COUNT, false)() }, true},
		{"removed", made.Remove, true},
		{"sessions dropped", made.DropSessions, false},
		{"login lost", made.LoseLogin, false},
		{"slow", func() { made.DelayCall(shim.Encrypt, 5*time.Millisecond) }, false},
	} {
		t.Run(f.name, func(t *testing.T) { b.breaks(t, f.name, f.begin, f.always) })
	}
}

func (b *bank) breaks(t *testing.T, name string, begin func(), always bool) {
	bodies := make([][]byte, callers)
	for i := range bodies {
		bodies[i] = b.pay(t)
	}
	key := func(i int) string {
		return fmt.Sprintf("%s.%d", strings.NewReplacer(" ", "-", ",", "").Replace(name), i)
	}
	made.Forget()
	begin()
	b.parallel(func(i int) {
		switch a := b.send(t, bodies[i], key(i)); {
		case a.Status == 200 && !always, retriable(a):
		default:
			t.Errorf("while it lasts: %d %s, Retry-After %q", a.Status, a.Type, a.Again)
		}
	})
	made.Heal()
	b.recovers(t)
	b.parallel(func(i int) {
		if a := b.send(t, bodies[i], key(i)); a.Status != 200 {
			t.Errorf("the same again: %d %s", a.Status, a.Type)
		}
		if a := b.send(t, bodies[i], key(i)+".other"); a.Status != 409 || a.Type != "counter-replayed" {
			t.Errorf("its counter for another: %d %s", a.Status, a.Type)
		}
	})
	if n := made.Reused(); n != 0 {
		t.Errorf("%d calls were made in a session in which one had failed", n)
	}
}

// recovers pays until it is answered, which is within the bound.
func (b *bank) recovers(t *testing.T) {
	t.Helper()
	for range within {
		if b.send(t, b.pay(t), fmt.Sprintf("fresh.%d", b.counter)).Status == 200 {
			return
		}
	}
	t.Fatalf("%d calls after the fault nothing is answered", within)
}

func (b *bank) parallel(do func(i int)) {
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}
