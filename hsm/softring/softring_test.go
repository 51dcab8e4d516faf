package softring

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"sync"
	"testing"

	"github.com/emmansun/gmsm/sm4"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

var (
	seal   = keyref.Ref{Usage: keyref.SM4Seal, Version: 1}
	master = keyref.Ref{Realm: "city", Usage: keyref.PurchaseMasterSM4, Version: 1}
	tac    = keyref.Ref{Realm: "city", Usage: keyref.TACMasterSM4, Version: 1}
	own    = keyref.Ref{Realm: "lab", Usage: keyref.TACSM4, Version: 1}
)

func ring(t testing.TB) *Ring {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestWiped looks at the schedule of a cipher after its use: no word is left.
func TestWiped(t *testing.T) {
	var used cipher.Block
	key := []byte("0123456789abcdef")
	if err := under(key, func(c cipher.Block) { used = c }); err != nil {
		t.Fatal(err)
	}
	if n := wipe(reflect.ValueOf(used)); n != 0 {
		t.Errorf("%d words of the schedule were left", n)
	}
	fresh, err := sm4.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	if n := wipe(reflect.ValueOf(fresh)); n != 2*rounds {
		t.Errorf("a schedule has %d words, of which %d were found", 2*rounds, n)
	}
}

// TestStandard is the example of GB/T 32907: one block under one key, as a check
// value shows it.
func TestStandard(t *testing.T) {
	key, _ := hex.DecodeString("0123456789ABCDEFFEDCBA9876543210")
	out := make([]byte, 16)
	if err := under(key, func(c cipher.Block) { c.Encrypt(out, key) }); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(out); got != "681edf34d206965e86b3e94f536e4246" {
		t.Errorf("SM4 of the standard's example is %s", got)
	}
}

// TestUses: each usage does its own and nothing else.
func TestUses(t *testing.T) {
	r := ring(t)
	key := bytes.Repeat([]byte{7}, 16)
	for _, ref := range []keyref.Ref{master, tac, own} {
		if err := r.ImportScratch(t.Context(), ref, key); err != nil {
			t.Fatal(err)
		}
	}
	one := func(ref keyref.Ref) keyref.Path { p, _ := ref.Path(keyref.Factor{1}); return p }
	for name, tc := range map[string]struct {
		path           keyref.Path
		process, whole bool
	}{
		"master":          {keyref.Path{Key: master}, true, false},
		"purchase":        {one(master), true, false},
		"TAC":             {one(tac), false, true},
		"TAC master":      {keyref.Path{Key: tac}, false, false},
		"card's TAC":      {keyref.Path{Key: own}, false, true},
		"card's TAC, one": {one(own), false, false},
		"too deep":        {keyref.Path{Key: master, Levels: 4}, false, false},
		"Triple DES":      {keyref.Path{Key: keyref.Ref{Realm: "city", Usage: keyref.PurchaseMaster, Version: 1}}, false, false},
		"missing":         {keyref.Path{Key: keyref.Ref{Realm: "city", Usage: keyref.PurchaseMasterSM4, Version: 9}}, false, false},
	} {
		_, err := r.ProcessMAC(t.Context(), tc.path, [8]byte{}, []byte("m"))
		if (err == nil) != tc.process || err != nil && !errors.Is(err, ErrKeyUnfit) && !errors.Is(err, ErrKeyMissing) {
			t.Errorf("%s: process MAC: %v", name, err)
		}
		if _, err = r.RetailMAC(t.Context(), tc.path, []byte("m")); (err == nil) != tc.whole {
			t.Errorf("%s: whole MAC: %v", name, err)
		}
		if _, err = r.FoldedMAC(t.Context(), tc.path, []byte("m")); !errors.Is(err, ErrKeyUnfit) {
			t.Errorf("%s: folded MAC: %v", name, err)
		}
	}
	if _, err := r.ProcessMAC(t.Context(), one(master), [8]byte{}); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("no message: %v", err)
	}
	if _, err := r.ProcessMAC(t.Context(), one(master), [8]byte{}, make([]byte, maxBytes)); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("a long message: %v", err)
	}
	if err := r.ImportScratch(t.Context(), master, key); !errors.Is(err, ErrKeyExists) {
		t.Errorf("twice: %v", err)
	}
	for _, bad := range [][]byte{nil, key[:15], append(key, 1)} {
		if err := r.ImportScratch(t.Context(), keyref.Ref{Realm: "a", Usage: keyref.TACSM4, Version: 1}, bad); !errors.Is(err, ErrKeyUnfit) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

// TestForgotten: a key that was forgotten is gone, its memory is zero, and calls
// in parallel to that are right or refused.
func TestForgotten(t *testing.T) {
	r := ring(t)
	if err := r.ImportScratch(t.Context(), own, bytes.Repeat([]byte{9}, 16)); err != nil {
		t.Fatal(err)
	}
	held := r.keys[own].Bytes()
	want, err := r.RetailMAC(t.Context(), keyref.Path{Key: own}, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			got, err := r.RetailMAC(context.Background(), keyref.Path{Key: own}, []byte("m"))
			if err == nil && got != want || err != nil && !errors.Is(err, ErrKeyMissing) {
				t.Errorf("in parallel: %v", err)
			}
		})
	}
	if err := r.Forget(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if !bytes.Equal(held, make([]byte, 16)) {
		t.Error("the key was left in memory")
	}
	for range atOnce {
		if b := <-r.work; !bytes.Equal(b.Bytes(), make([]byte, 2*block)) {
			t.Error("a derived key was left in memory")
		}
	}
	if err := r.Forget(t.Context(), own); !errors.Is(err, ErrKeyMissing) {
		t.Errorf("twice: %v", err)
	}
}

// TestFolder seals keys by a real token. What is on the disk is no key, belongs
// to its own label, and to the token that sealed it.
func TestFolder(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{seal}})
	f := Folder{Dir: t.TempDir() + "/keys", Sealer: tok, Key: seal}
	if list, err := f.Inventory(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("an empty folder: %v, %v", list, err)
	}
	key := []byte("sixteen byte key")
	for _, ref := range []keyref.Ref{master, tac} {
		if err := f.Import(t.Context(), ref, key); err != nil {
			t.Fatal(err)
		}
		if err := f.Import(t.Context(), ref, key); !errors.Is(err, ErrKeyExists) {
			t.Errorf("twice: %v", err)
		}
	}
	b, err := os.ReadFile(f.file(master))
	if err != nil || bytes.Contains(b, key) || bytes.Contains(b, key[:8]) {
		t.Fatalf("the file holds the key: %v", err)
	}
	if info, err := os.Stat(f.file(master)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	r := ring(t)
	if err := f.Load(t.Context(), r, master, tac); err != nil {
		t.Fatal(err)
	}
	list, err := f.Inventory(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, k := range list {
		if !k.Software || k.Local || k.Check == nil || *k.Check == (keyref.CheckValue{}) {
			t.Errorf("%v is listed as %+v", k.Ref, k)
		}
	}
	if err := f.Import(t.Context(), keyref.Ref{Usage: keyref.PANSeal, Version: 1}, key); !errors.Is(err, ErrKeyUnfit) {
		t.Errorf("another usage: %v", err)
	}
	refused(t, f, b)
}

// refused loads files that were changed, moved, cut or are not there.
func refused(t *testing.T, f Folder, sealed []byte) {
	other := keyref.Ref{Realm: "other", Usage: keyref.PurchaseMasterSM4, Version: 1}
	for name, b := range map[string][]byte{
		"moved": sealed, "changed": append([]byte{sealed[0] ^ 1}, sealed[1:]...), "cut": sealed[:len(sealed)-1],
		"empty": {}, "long": make([]byte, maxSealed+1),
	} {
		if err := os.WriteFile(f.file(other), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Load(t.Context(), ring(t), other); err == nil {
			t.Errorf("%s: it was loaded", name)
		}
	}
	if err := os.Remove(f.file(other)); err != nil {
		t.Fatal(err)
	}
	if err := f.Load(t.Context(), ring(t), other); !errors.Is(err, ErrKeyMissing) {
		t.Errorf("no file: %v", err)
	}
	elsewhere := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{seal}})
	f.Sealer = elsewhere
	if err := f.Load(t.Context(), ring(t), master); err == nil {
		t.Error("another token opened it")
	}
}

var _ Sealer = (*hsm.Token)(nil)
