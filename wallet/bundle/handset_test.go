package bundle_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

// quick stretches at once; a handset in the field takes mask.Argon2id.
func quick(p mask.PIN, salt [mask.SaltSize]byte) mask.Secret {
	return mask.Secret(sha256.Sum256(p.AppendTo(salt[:])))
}

// A handset enrols, syncs, and pays while a PIN window is open. It makes no
// calls: whoever drives it carries what it says to the service, and the answers
// back.
func ExampleHandset() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "handset-")
	if err != nil {
		log.Panic(err)
	}
	defer os.RemoveAll(dir)
	issuer, err := wallettest.New(ctx, dir, noon)
	if err != nil {
		log.Panic(err)
	}
	defer issuer.Close()
	service, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // in the field: /.well-known/sync.json and intake.json
	if err != nil {
		log.Panic(err)
	}

	h, err := bundle.NewHandset(bundle.HandsetConfig{Wallet: wallettest.WalletID, Slots: wallettest.Slots,
		SyncKey: &service.PublicKey, PINKey: &service.PublicKey, Stretch: quick, Now: func() time.Time { return noon }})
	if err != nil {
		log.Panic(err)
	}
	// h.Keys goes into POST /v1/devices, h.SealPIN into POST /v1/wallets/{wallet}/pin.
	h.Enrolled(wallettest.DeviceID)
	h.PINChanged(1)

	request, err := h.Sync(wallettest.Ref) // POST /v1/sync
	if err != nil {
		log.Panic(err)
	}
	pin, err := mask.ParsePIN([]byte("482915"))
	if err != nil {
		log.Panic(err)
	}
	answer, err := issuer.Sync(ctx, h, request, quick(pin, mask.Salt(wallettest.WalletID, 1)))
	if err != nil {
		log.Panic(err)
	}
	if err := h.Apply(wallettest.Ref, answer); err != nil {
		log.Panic(err)
	}
	fmt.Println(h.Count(wallettest.Ref), "slots,", h.Remaining(wallettest.Ref), "fen")

	show := []byte{0x80, 0xCA, 0xDF, 0x01, 0x00}
	tap := func() []byte {
		h.Reset()
		if _, err := h.Transmit(ctx, []byte{0x00, 0xA4, 0x04, 0x00, 8, 0xA0, 0x00, 0x00, 0x06, 0x32, 0x01, 0x01, 0x05, 0x00}); err != nil {
			log.Panic(err)
		}
		out, err := h.Transmit(ctx, show)
		if err != nil {
			log.Panic(err)
		}
		return out
	}
	fmt.Printf("locked: %X\n", tap())
	if err := h.EnterPIN("123456"); err != nil { // any six digits: it cannot tell
		log.Panic(err)
	}
	fmt.Println("open:", len(tap()), "bytes")
	// Output:
	// 3 slots, 3000 fen
	// locked: 6985
	// open: 214 bytes
}

// unread is a journal that cannot be read at times.
type unread struct {
	bundle.Memory
	down bool
}

func (f *unread) Records() ([]bundle.Record, error) {
	if f.down {
		return nil, errors.New("down")
	}
	return f.Memory.Records()
}

// TestBundleNotTaken: a bundle that could not be put on its card is not acknowledged, and the
// same answer brings it once it can, with the proofs that its taps need.
func TestBundleNotTaken(t *testing.T) {
	j := &unread{}
	h, issuer, _ := enrolled(t, func(c *bundle.HandsetConfig) {
		c.Journal = func(token.Ref) (bundle.Journal, error) { return j, nil }
	})
	q, err := h.Sync(wallettest.Ref)
	if err != nil {
		t.Fatal(err)
	}
	p, err := mask.ParsePIN([]byte("482915"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := issuer.Sync(t.Context(), h, q, quick(p, mask.Salt(wallettest.WalletID, 1)))
	if err != nil {
		t.Fatal(err)
	}
	j.down = true
	if err := h.Apply(wallettest.Ref, a); err == nil || h.Card(wallettest.Ref) != nil {
		t.Errorf("taken without a journal: %v", err)
	}
	if _, _, ok := h.Ack(wallettest.Ref); ok {
		t.Error("acknowledged")
	}
	j.down = false
	if err := h.Apply(wallettest.Ref, a); err != nil || h.Count(wallettest.Ref) != 3 {
		t.Fatalf("applied again: %v, %d slots", err, h.Count(wallettest.Ref))
	}
	if _, _, ok := h.Ack(wallettest.Ref); !ok {
		t.Error("not acknowledged")
	}
}

// enrolled is a handset that has a PIN and no bundle yet.
func enrolled(t *testing.T, edit func(*bundle.HandsetConfig)) (*bundle.Handset, *wallettest.Issuer, *time.Time) {
	t.Helper()
	now := noon
	issuer, err := wallettest.New(t.Context(), t.TempDir(), noon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = issuer.Close() })
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := bundle.HandsetConfig{Wallet: wallettest.WalletID, SyncKey: &k.PublicKey, PINKey: &k.PublicKey, Stretch: quick,
		Slots: wallettest.Slots, Now: func() time.Time { return now }}
	edit(&cfg)
	h, err := bundle.NewHandset(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Enrolled(wallettest.DeviceID)
	h.PINChanged(1)
	return h, issuer, &now
}

// guarded is a handset that has a bundle of three slots.
func guarded(t *testing.T, edit func(*bundle.HandsetConfig)) (*bundle.Handset, *wallettest.Issuer, *time.Time) {
	t.Helper()
	h, issuer, now := enrolled(t, edit)
	q, err := h.Sync(wallettest.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := h.Sync(wallettest.Ref); err != nil || again != q {
		t.Errorf("another request before the answer came (%v)", err)
	}
	a, err := issuer.Sync(t.Context(), h, q, mask.Secret{1})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it does nothing
		if err := h.Apply(wallettest.Ref, a); err != nil {
			t.Fatal(err)
		}
	}
	return h, issuer, now
}

// shows reports whether the handset shows a slot, as a reader asks for it first.
func shows(t *testing.T, h *bundle.Handset) bool {
	t.Helper()
	h.Reset()
	for i, c := range [][]byte{{0x00, 0xA4, 0x04, 0x00, 8, 0xA0, 0, 0, 6, 0x32, 1, 1, 5, 0}, {0x80, 0xCA, 0xDF, 0x01, 0x00}} {
		out, err := h.Transmit(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		r, err := apdu.ParseResponse(out)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			return r.SW == apdu.OK
		}
	}
	return false
}

func TestPINWindow(t *testing.T) {
	h, _, now := guarded(t, func(*bundle.HandsetConfig) {})
	if shows(t, h) {
		t.Error("it pays before a PIN was entered")
	}
	if err := h.EnterPIN("907346"); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(299 * time.Second)
	if !shows(t, h) {
		t.Error("the window is closed after 299 s")
	}
	*now = now.Add(time.Second)
	if shows(t, h) {
		t.Error("the window is open after 300 s")
	}
	if err := h.EnterPIN("907346"); err != nil {
		t.Fatal(err)
	}
	if h.Lock(); shows(t, h) {
		t.Error("it pays when it is locked")
	}
}

func TestProofKeyWearsOut(t *testing.T) {
	h, _, now := guarded(t, func(*bundle.HandsetConfig) {})
	seen := 0
	for range 3 + payload.SpareUses + 4 { // screens that wake do not spend it: a new one each minute does
		if err := h.EnterPIN("907346"); err != nil {
			t.Fatal(err)
		}
		h.Reset()
		if _, err := h.Transmit(t.Context(), []byte{0x00, 0xA4, 0x04, 0x00, 8, 0xA0, 0, 0, 6, 0x32, 1, 1, 5, 0}); err != nil {
			t.Fatal(err)
		}
		out, err := h.Transmit(t.Context(), []byte{0x80, 0xCA, 0xDF, 0x01, 0x00})
		if err != nil || len(out) != 214 {
			t.Fatalf("%d bytes, %v", len(out), err)
		}
		for _, b := range out[140:212] {
			if b != 0 {
				seen++
				break
			}
		}
		*now = now.Add(61 * time.Second)
	}
	if seen != 3+payload.SpareUses {
		t.Errorf("%d proofs were made", seen)
	}
}

func TestForeignAnswers(t *testing.T) {
	h, issuer, _ := guarded(t, func(*bundle.HandsetConfig) {})
	other, _, _ := guarded(t, func(*bundle.HandsetConfig) {})
	q, err := h.Sync(wallettest.Ref)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := issuer.Sync(t.Context(), h, q, mask.Secret{1})
	if err != nil {
		t.Fatal(err)
	}
	oq, err := other.Sync(wallettest.Ref)
	if err != nil {
		t.Fatal(err)
	}
	bad := mine
	bad.ID = oq.ID
	if err := other.Apply(wallettest.Ref, bad); !errors.Is(err, bundle.ErrSealed) || other.Count(wallettest.Ref) != wallettest.Slots {
		t.Errorf("a bundle of another phone: %v", err)
	}
	for name, edit := range map[string]func(*bundle.SyncAnswer){
		"no hardware key": func(a *bundle.SyncAnswer) { a.Hardware = "" }, "another id": func(a *bundle.SyncAnswer) { a.BundleID = "x" },
		"the key as a bundle": func(a *bundle.SyncAnswer) { a.Bundle = a.Hardware },
	} {
		a := mine
		edit(&a)
		if err := h.Apply(wallettest.Ref, a); !errors.Is(err, bundle.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClockOfASync: a handset whose clock is ahead goes by the service's once it was told
// it: what it says of slots may wait before it gets through. One that is behind speaks for
// less than it could, which harms nobody, also when its clock was mended meanwhile.
func TestClockOfASync(t *testing.T) {
	for wrong, want := range map[time.Duration]time.Duration{0: 0, 5 * time.Minute: 0, 30 * 365 * 24 * time.Hour: 0, -time.Hour: -time.Hour} {
		h, issuer, now := enrolled(t, func(*bundle.HandsetConfig) {})
		*now = noon.Add(wrong)
		clock := func() time.Time {
			t.Helper()
			q, err := h.Sync(wallettest.Ref)
			if err != nil {
				t.Fatal(err)
			}
			said, err := payload.ReadSigned(q.Signed)
			if err != nil {
				t.Fatal(err)
			}
			a, err := issuer.Sync(t.Context(), h, q, mask.Secret{1})
			if err != nil {
				t.Fatal(err)
			}
			a.At = noon
			if err := h.Apply(wallettest.Ref, a); err != nil {
				t.Fatal(err)
			}
			return time.Unix(said.Clock, 0)
		}
		if got := clock(); !got.Equal(*now) {
			t.Errorf("%v wrong: before any answer it says %v", wrong, got)
		}
		if got := clock(); !got.Equal(noon.Add(want)) {
			t.Errorf("%v wrong: it says %v, want %v", wrong, got, noon.Add(want))
		}
		*now = noon // its clock is mended
		if got := clock(); got.After(noon) {
			t.Errorf("%v wrong, then right: it says %v", wrong, got)
		}
	}
}

// TestShownWhileSyncing: what a screen shows may be asked for while a sync is answered.
func TestShownWhileSyncing(t *testing.T) {
	h, issuer, _ := guarded(t, func(*bundle.HandsetConfig) {})
	stop := make(chan struct{})
	var screen sync.WaitGroup
	for _, look := range []func(){func() { h.Remaining(wallettest.Ref) }, func() { h.Count(wallettest.Ref) }, func() { h.Ack(wallettest.Ref) }, h.Lock, h.Reset,
		func() { h.Vouched("TRUSTED", noon) }, func() { _, _, _ = h.Keys() }, func() { _ = h.EnterPIN("907346") },
		func() {
			_, _ = h.Transmit(t.Context(), []byte{0x00, 0xA4, 0x04, 0x00, 8, 0xA0, 0, 0, 6, 0x32, 1, 1, 5, 0})
		}} {
		screen.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					look()
				}
			}
		})
	}
	for range 8 {
		q, err := h.Sync(wallettest.Ref)
		if err != nil {
			t.Fatal(err)
		}
		a, err := issuer.Sync(t.Context(), h, q, mask.Secret{1})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Apply(wallettest.Ref, a); err != nil {
			t.Fatal(err)
		}
		h.PINChanged(1)
	}
	close(stop)
	screen.Wait()
}

// TestPINChangedWhileEntered: a PIN that is stretched while the service takes another one
// opens nothing that the other one guards.
func TestPINChangedWhileEntered(t *testing.T) {
	var h *bundle.Handset
	meanwhile := func() {}
	h, _, _ = guarded(t, func(c *bundle.HandsetConfig) {
		c.Stretch = func(p mask.PIN, salt [mask.SaltSize]byte) mask.Secret {
			meanwhile()
			return quick(p, salt)
		}
	})
	meanwhile = func() { h.PINChanged(2) }
	if err := h.EnterPIN("907346"); err == nil || shows(t, h) {
		t.Errorf("the PIN of before: %v", err)
	}
	meanwhile = func() {}
	if err := h.EnterPIN("907346"); err != nil {
		t.Errorf("the PIN of now: %v", err)
	}
}
