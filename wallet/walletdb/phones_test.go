package walletdb_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/pin"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

var (
	_ enrol.Store    = (*walletdb.Devices)(nil)
	_ pin.Store      = (*walletdb.PINs)(nil)
	_ pin.Tries      = (*walletdb.PINs)(nil)
	_ wallet.Granted = (*walletdb.DB)(nil)
)

const w1 = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")

// TestPhonesOnEachDatabase holds both kinds of database to the same.
func TestPhonesOnEachDatabase(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, fresh func(testing.TB) *store.DB) {
		for name, test := range map[string]func(*testing.T, *store.DB){
			"Devices": devices, "Leaves": leaves, "Copied keys": copiedKeys, "Leaf of an attestation": attestedLeaf, "Shown again": shownAgain, "PINs": pins, "PINs that cannot be read": pinsUnreadable, "success goes forward": successGoesForward, "TriesAtOnce": triesAtOnce, "Granted": granted,
		} {
			t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
		}
	})
}

func device(t *testing.T, n int, w token.WalletID) enrol.Device {
	t.Helper()
	d := enrol.Device{ID: token.DeviceID(fmt.Sprintf("dv%026d", n)), Wallet: w, Client: "c", Tier: enrol.TierB, EnrolledAt: at,
		Reasons:     []enrol.Reason{enrol.NotTrusted, enrol.PatchOld},
		Attestation: enrol.Attestation{Verdict: enrol.Untrusted, Level: enrol.TEE, At: at, Patch: "2026-01", Leaf: "AA", SignP95: time.Second}}
	for _, k := range []**ecdsa.PublicKey{&d.WrapKey, &d.SignKey} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		*k = &key.PublicKey
	}
	return d
}

func devices(t *testing.T, s *store.DB) {
	db, d := walletdb.NewDevices(s), device(t, 1, w1)
	a := access.Attempt{Key: "k", Digest: [32]byte{1}}
	if _, err := db.Insert(t.Context(), "c", a, d); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Insert(t.Context(), "c", a, device(t, 2, w1)); err != nil || got.ID != d.ID {
		t.Errorf("a repeated enrolment made %s (%v)", got.ID, err)
	}
	got, err := db.Device(t.Context(), d.ID)
	if err != nil || !got.WrapKey.Equal(d.WrapKey) || !got.SignKey.Equal(d.SignKey) {
		t.Fatalf("other keys come back (%v)", err)
	}
	got.WrapKey, got.SignKey = d.WrapKey, d.SignKey
	if !reflect.DeepEqual(got, d) {
		t.Errorf("read back as %+v, want %+v", got, d)
	}
	if _, err := db.Device(t.Context(), "dv9"); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("no such device: %v", err)
	}
	d.Tier = enrol.TierC
	for i, want := range []bool{true, false} { // d was judged 0 times, once only
		if ok, err := db.Judge(t.Context(), d); err != nil || ok != want {
			t.Errorf("judgement %d: %v, %v", i, ok, err)
		}
	}
	if got, err := db.Device(t.Context(), d.ID); err != nil || got.Tier != enrol.TierC || got.Judged != 1 {
		t.Errorf("judged as %s, %d times (%v)", got.Tier, got.Judged, err)
	}
}

func leaves(t *testing.T, s *store.DB) {
	db := walletdb.NewDevices(s)
	for n, tc := range []struct {
		w  token.WalletID
		ok bool
	}{{"wl1", true}, {"wl2", true}, {"wl3", true}, {"wl1", true}, {"wl4", false}, {"wl3", true}} {
		_, err := db.Insert(t.Context(), "c", access.Attempt{}, device(t, n, tc.w))
		if tc.ok && err != nil || !tc.ok && !errors.Is(err, wallet.ErrRefused) {
			t.Errorf("enrolment %d of %s: %v", n, tc.w, err)
		}
	}
}

// copiedKeys: a key of a device is counted like a leaf, whatever it is attested by.
func copiedKeys(t *testing.T, s *store.DB) {
	db, copied := walletdb.NewDevices(s), device(t, 100, "")
	for n, tc := range []struct {
		w          token.WalletID
		wrap, sign *ecdsa.PublicKey
		ok         bool
	}{{"wl1", copied.WrapKey, nil, true}, {"wl2", nil, copied.WrapKey, true}, {"wl3", copied.WrapKey, nil, true}, {"wl4", copied.WrapKey, nil, false},
		{"wl4", nil, copied.WrapKey, false}, {"wl2", copied.WrapKey, nil, true}, {"wl4", nil, nil, true}} {
		d := device(t, n, tc.w)
		d.Attestation.Leaf = fmt.Sprint(n)
		d.WrapKey, d.SignKey = cmp.Or(tc.wrap, d.WrapKey), cmp.Or(tc.sign, d.SignKey)
		_, err := db.Insert(t.Context(), "c", access.Attempt{}, d)
		if tc.ok && err != nil || !tc.ok && !errors.Is(err, wallet.ErrRefused) {
			t.Errorf("enrolment %d of %s: %v", n, tc.w, err)
		}
	}
}

// attestedLeaf: a leaf that comes by a later attestation is counted like one of an enrolment.
func attestedLeaf(t *testing.T, s *store.DB) {
	db := walletdb.NewDevices(s)
	var last enrol.Device
	for n, want := range []error{nil, nil, nil, wallet.ErrRefused} {
		d := device(t, n, token.WalletID(fmt.Sprintf("wl%d", n)))
		d.Attestation.Leaf = fmt.Sprint(n)
		if _, err := db.Insert(t.Context(), "c", access.Attempt{}, d); err != nil {
			t.Fatal(err)
		}
		d.Attestation.Leaf, d.Attestation.At, d.Tier = "copied", at.Add(time.Hour), enrol.TierA
		got, ok, err := db.Attest(t.Context(), d)
		if !errors.Is(err, want) || ok != (want == nil) || ok && got.Judged != 1 {
			t.Errorf("attestation %d: %+v, %t, %v", n, got, ok, err)
		}
		last = d
	}
	for i := range 3 { // strangers name the keys of one
		d := device(t, 10+i, token.WalletID(fmt.Sprintf("wl9%d", i)))
		d.Client, d.Attestation.Leaf, d.SignKey = "another", fmt.Sprint(10+i), last.SignKey
		if _, err := db.Insert(t.Context(), "another", access.Attempt{}, d); (err == nil) != (i < 2) {
			t.Errorf("stranger %d: %v", i, err)
		}
	}
	fresh := last
	for _, leaf := range []string{"new", "new"} {
		fresh.Attestation.Leaf = leaf
		got, ok, err := db.Attest(t.Context(), fresh)
		if err != nil || !ok {
			t.Errorf("attested anew: %t, %v", ok, err)
		}
		fresh.Judged = got.Judged
	}
	last.Judged = fresh.Judged
	if got, err := db.Device(t.Context(), last.ID); err != nil || got.Tier != enrol.TierA || got.Judged != 2 {
		t.Errorf("it is kept as %+v, %v", got, err)
	}
	last.Tier = enrol.TierC
	if ok, err := db.Judge(t.Context(), last); err != nil || !ok {
		t.Errorf("a device that is to fall: %t, %v", ok, err)
	}
	if _, ok, err := db.Attest(t.Context(), enrol.Device{ID: "dv9", WrapKey: last.WrapKey, SignKey: device(t, 9, "").SignKey}); err != nil || ok {
		t.Errorf("nobody was attested: %t, %v", ok, err)
	}
}

// shownAgain: what detection took from a device is not had back with the attestation that
// it had then, by enrolling once more or by attesting another of its devices. A newer one
// gives it back.
func shownAgain(t *testing.T, s *store.DB) {
	db, first := walletdb.NewDevices(s), device(t, 1, "wl1")
	other := device(t, 2, "wl1")
	other.Attestation.Leaf, other.Attestation.At = "BB", at.Add(-time.Hour)
	for _, d := range []enrol.Device{first, other} {
		if _, err := db.Insert(t.Context(), "c", access.Attempt{}, d); err != nil {
			t.Fatal(err)
		}
	}
	first.Tier, first.Reasons = enrol.TierC, []enrol.Reason{enrol.Detected}
	if ok, err := db.Judge(t.Context(), first); err != nil || !ok {
		t.Fatalf("%t, %v", ok, err)
	}
	fallen := func(name string, d enrol.Device, err error, want enrol.Tier) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		kept, err := db.Device(t.Context(), d.ID)
		if err != nil || kept.Tier != want || d.Tier != want || slices.Contains(kept.Reasons, enrol.Detected) != (want == enrol.TierC) {
			t.Errorf("%s: tier %s, kept as %s for %v, %v", name, d.Tier, kept.Tier, kept.Reasons, err)
		}
	}
	same := device(t, 3, "wl2")
	got, err := db.Insert(t.Context(), "c", access.Attempt{}, same)
	fallen("enrolled by the same leaf", got, err, enrol.TierC)
	early := device(t, 6, "wl1")
	early.Attestation.At = at.Add(-time.Minute)
	got, err = db.Insert(t.Context(), "c", access.Attempt{}, early)
	fallen("enrolled by an earlier attestation", got, err, enrol.TierC)
	key := device(t, 4, "wl1")
	key.Attestation.Leaf, key.SignKey = "CC", first.SignKey
	got, err = db.Insert(t.Context(), "c", access.Attempt{}, key)
	fallen("enrolled with the same key", got, err, enrol.TierC)
	foreign := device(t, 5, "wl3")
	foreign.Client = "another"
	got, err = db.Insert(t.Context(), "another", access.Attempt{}, foreign)
	fallen("enrolled by another client", got, err, enrol.TierB)
	other.Attestation = first.Attestation
	got, _, err = db.Attest(t.Context(), other)
	fallen("attested by the same leaf", got, err, enrol.TierC)
	other.Judged, other.Attestation.At = 1, at.Add(time.Minute)
	got, _, err = db.Attest(t.Context(), other)
	fallen("attested anew", got, err, enrol.TierB)
}

func pins(t *testing.T, s *store.DB) {
	db, ctx := walletdb.NewPINs(s), t.Context()
	if _, err := db.Record(ctx, w1); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("no PIN: %v", err)
	}
	if last, n, err := db.Since(ctx, w1); err != nil || n != 0 || !last.IsZero() {
		t.Errorf("no PIN was tried %d times since %v (%v)", n, last, err)
	}
	first := pin.Record{Wallet: w1, Epoch: 1, Secret: []byte{1, 2}, Verifier: [32]byte{3}, LastSuccess: at}
	a := access.Attempt{Key: "k", Digest: [32]byte{1}}
	for _, want := range []bool{false, true} {
		if done, err := db.Put(ctx, "c", a, first); err != nil || done != want {
			t.Fatalf("done %v, %v", done, err)
		}
	}
	if _, err := db.Put(ctx, "c", access.Attempt{}, first); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("a second first PIN: %v", err)
	}
	for i := range 4 {
		if ok, err := db.Take(ctx, w1, 3); err != nil || ok != (i < 3) {
			t.Errorf("try %d of 3: %v, %v", i, ok, err)
		}
	}
	if ok, err := db.Take(ctx, "wl9", 3); err != nil || ok {
		t.Errorf("a try of nobody: %v, %v", ok, err)
	}
	if err := db.GiveBack(ctx, w1); err != nil {
		t.Fatal(err)
	}
	if last, n, err := db.Since(ctx, w1); err != nil || n != 2 || !last.Equal(at) {
		t.Errorf("%d tries since %v (%v)", n, last, err)
	}
	if err := db.Clear(ctx, w1, at.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if last, n, err := db.Since(ctx, w1); err != nil || n != 0 || !last.Equal(at.Add(time.Hour)) {
		t.Errorf("after the right PIN: %d tries since %v (%v)", n, last, err)
	}
	for _, want := range []int{0, 1} { // none that was forgotten meanwhile is given back
		if err := db.GiveBack(ctx, w1); err != nil {
			t.Fatal(err)
		}
		if want == 1 {
			if ok, err := db.Take(ctx, w1, 3); err != nil || !ok {
				t.Fatalf("%t, %v", ok, err)
			}
		}
		if _, n, err := db.Since(ctx, w1); err != nil || n != want {
			t.Errorf("%d tries, want %d (%v)", n, want, err)
		}
	}
	if err := db.AllowReset(ctx, w1); err != nil {
		t.Fatal(err)
	}
	if err := db.AllowReset(ctx, "wl9"); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("reset of nobody: %v", err)
	}
	next := pin.Record{Wallet: w1, Epoch: 2, Secret: []byte{9}, Verifier: [32]byte{8}, LastSuccess: at, Revoking: true}
	if _, err := db.Put(ctx, "c", access.Attempt{Key: "k2"}, next); err != nil {
		t.Fatal(err)
	}
	got, err := db.Record(ctx, w1)
	if err != nil || got.Epoch != 2 || !bytes.Equal(got.Secret, next.Secret) || got.Verifier != next.Verifier || !got.Revoking || got.Resettable || got.Tries != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := db.Revoked(ctx, w1, 1); err != nil { // of an epoch that is over
		t.Fatal(err)
	}
	if got, err := db.Record(ctx, w1); err != nil || !got.Revoking {
		t.Error("another epoch's end ends this one's")
	}
	if err := db.Revoked(ctx, w1, 2); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Record(ctx, w1); err != nil || got.Revoking {
		t.Errorf("still revoking (%v)", err)
	}
	if done, err := db.Done(ctx, "c", access.Attempt{Key: "k2"}); err != nil || !done {
		t.Errorf("the attempt is forgotten (%v)", err)
	}
}

// pinsUnreadable: a wallet whose PIN cannot be read is none without a PIN, for which a first
// one could be set, and a PIN follows the one before it only.
func pinsUnreadable(t *testing.T, s *store.DB) {
	db, ctx := walletdb.NewPINs(s), t.Context()
	first := pin.Record{Wallet: w1, Epoch: 1, Secret: []byte{1}, Verifier: [32]byte{3}, LastSuccess: at}
	put := func(epoch uint32) error {
		r := first
		r.Epoch = epoch
		_, err := db.Put(ctx, "c", access.Attempt{}, r)
		return err
	}
	if err := put(2); !errors.Is(err, wallet.ErrRefused) {
		t.Errorf("a second PIN without a first: %v", err)
	}
	if err := put(1); err != nil {
		t.Fatal(err)
	}
	for _, epoch := range []uint32{0, 1, 3} {
		if err := put(epoch); !errors.Is(err, wallet.ErrRefused) {
			t.Errorf("PIN %d behind the first: %v", epoch, err)
		}
	}
	if got, err := db.Record(ctx, w1); err != nil || got.Epoch != 1 || got.Revoking {
		t.Errorf("%+v, %v", got, err)
	}
	for _, damaged := range [][]byte{{}, make([]byte, 31), make([]byte, 33)} {
		storetest.Exec(t, s, "UPDATE pins SET verifier = ?", damaged)
		if got, err := db.Record(ctx, w1); err == nil || errors.Is(err, wallet.ErrRefused) {
			t.Errorf("a verifier of %d bytes: %+v, %v", len(damaged), got, err)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := db.Record(gone, w1); err == nil || errors.Is(err, wallet.ErrRefused) {
		t.Errorf("without a database there is no PIN: %v", err)
	}
	if _, _, err := db.Since(gone, w1); err == nil {
		t.Error("without a database nothing was tried")
	}
}

// successGoesForward: a process whose clock is behind does not bring back the wrong PINs
// from before the last right one, neither by a right PIN nor by a new one; a moment that
// is ahead of every clock is mended.
func successGoesForward(t *testing.T, s *store.DB) {
	db, ctx := walletdb.NewPINs(s), t.Context()
	now := time.Now().Truncate(time.Millisecond)
	server, two, err := s.Clock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if two {
		now = server
	}
	behind, ahead := now.Add(-24*time.Hour), now.Add(30*24*time.Hour)
	since := func(what string, want time.Time) {
		t.Helper()
		if last, n, err := db.Since(ctx, w1); err != nil || n != 0 || !last.Equal(want) {
			t.Errorf("%s: %d tries since %v, want %v (%v)", what, n, last, want, err)
		}
	}
	kept := behind // with one clock it may have been set right
	if two {
		kept = now
	}
	if _, err := db.Put(ctx, "c", access.Attempt{}, pin.Record{Wallet: w1, Epoch: 1, Secret: []byte{1}, LastSuccess: ahead}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what     string
		at, want time.Time
	}{{"ahead of every clock", now, now}, {"behind", behind, kept}, {"as before", now, now}} {
		if err := db.Clear(ctx, w1, c.at); err != nil {
			t.Fatal(err)
		}
		since(c.what, c.want)
	}
	if _, err := db.Put(ctx, "c", access.Attempt{}, pin.Record{Wallet: w1, Epoch: 2, Secret: []byte{2}, LastSuccess: behind}); err != nil {
		t.Fatal(err)
	}
	since("a new PIN", kept)
}

func triesAtOnce(t *testing.T, s *store.DB) {
	db := walletdb.NewPINs(s)
	if _, err := db.Put(t.Context(), "c", access.Attempt{}, pin.Record{Wallet: w1, Epoch: 1, Secret: []byte{1}, LastSuccess: at}); err != nil {
		t.Fatal(err)
	}
	var given atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			ok, err := db.Take(t.Context(), w1, pin.MaxTries)
			if err != nil {
				t.Error(err)
			}
			if ok {
				given.Add(1)
			}
		})
	}
	wg.Wait()
	if given.Load() != pin.MaxTries {
		t.Errorf("%d tries were given", given.Load())
	}
}

func granted(t *testing.T, s *store.DB) {
	db := walletdb.New(s)
	b := bundle("b1", 1)
	b.Device, b.PINEpoch, b.Hardware = "dv1", 1, "h.w"
	again := b
	again.JWE = "other.bytes"
	for _, in := range []wallet.Bundle{b, again} {
		if got, err := db.Put(t.Context(), "c", in, at); err != nil || got != b {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	for name, edit := range map[string]func(*wallet.Bundle){
		"another device": func(b *wallet.Bundle) { b.Device = "dv2" }, "another PIN": func(b *wallet.Bundle) { b.PINEpoch = 2 },
	} {
		other := b
		other.ID, other.CtrFirst = "b2", 3
		edit(&other)
		if _, err := db.Put(t.Context(), "c", other, at); !errors.Is(err, wallet.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	next := b
	next.ID, next.CtrFirst = "b3", 3
	if _, err := db.Put(t.Context(), "c", next, at); err != nil {
		t.Fatal(err)
	}
	if all, err := db.Of(t.Context(), b.Ref); err != nil || len(all) != 2 || all[0] != b || all[1] != next {
		t.Errorf("%+v, %v", all, err)
	}
	for want := uint32(1); want < 3; want++ {
		if n, err := db.NextScript(t.Context(), "b1"); err != nil || n != want {
			t.Errorf("script %d, %v", n, err)
		}
	}
	if _, err := db.NextScript(t.Context(), "none"); !errors.Is(err, wallet.ErrUnknown) {
		t.Errorf("a script of no bundle: %v", err)
	}
}
