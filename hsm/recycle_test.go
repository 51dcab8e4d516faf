//go:build cgo

package hsm_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// signing has a signature last as long as it is held.
type signing struct {
	hsm.Cryptoki
	begun, held chan struct{}
}

func (s *signing) Sign(h pkcs11.SessionHandle, mech uint, key pkcs11.ObjectHandle, data []byte) ([]byte, error) {
	if mech == pkcs11.CKM_ECDSA {
		s.begun <- struct{}{}
		<-s.held
	}
	return s.Cryptoki.Sign(h, mech, key, data)
}

// TestLongCall: a call that does not end puts recycling off, and the others go on.
// When it has ended, the module is recycled.
func TestLongCall(t *testing.T) {
	said := make(chan error, 1)
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{ref(keyref.PurchaseMaster), ref(keyref.CredSign)}, Config: func(c *hsm.Config) {
		c.RecycleAfter, c.OnRecycle = 50, func(_ time.Duration, err error) { said <- err }
	}})
	long := &signing{begun: make(chan struct{}), held: make(chan struct{})}
	restore := tok.Inject(func(c hsm.Cryptoki) hsm.Cryptoki { long.Cryptoki = c; return long })
	path := mustPath(t, ref(keyref.PurchaseMaster), keyref.Factor{1}, keyref.Factor{2})
	heard := func() error {
		t.Helper()
		for {
			if _, err := tok.ProcessMAC(t.Context(), path, [8]byte{1}, []byte("m")); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-said:
				return err
			default:
			}
		}
	}
	var signed sync.WaitGroup
	signed.Go(func() {
		if _, err := tok.Sign(context.Background(), ref(keyref.CredSign), [32]byte{1}); err != nil {
			t.Errorf("the long call: %v", err)
		}
	})
	<-long.begun
	if err := heard(); err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("it was recycled under a call: %v", err)
	}
	if n := tok.Recycled().Times; n != 0 {
		t.Errorf("it was recycled %d times", n)
	}
	close(long.held)
	signed.Wait()
	go func() {
		for range long.begun { // its key is tried when it is found again
		}
	}()
	for heard() != nil { // put off again, on a slow machine
	}
	tok.RecycleAfter(0)
	restore()
	close(long.begun)
}

// TestWhatIsRecycled: only a module that is known to keep objects is, unless it is
// told otherwise.
func TestWhatIsRecycled(t *testing.T) {
	usual := int64(0)
	if hsmtest.On(t) == "softhsm" {
		usual = 200_000
	}
	for said, want := range map[int]int64{0: usual, 7: 7, -1: 0} {
		cfg := hsmtest.Empty(t)
		cfg.RecycleAfter = said
		tok, err := hsm.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.RecycleAfter(-1); got != want {
			t.Errorf("told %d: after %d objects, want %d", said, got, want)
		}
		if err := tok.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
