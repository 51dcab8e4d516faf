package softkey_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
)

func ref(u keyref.Usage) keyref.Ref { return keyref.Ref{Realm: "test", Usage: u, Version: 1} }

func ring(t *testing.T, usages ...keyref.Usage) *softkey.Ring {
	t.Helper()
	r := &softkey.Ring{}
	for _, u := range usages {
		if err := r.ImportScratch(t.Context(), ref(u), key); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

var key, _ = hex.DecodeString("00112233445566778899AABBCCDDEEFF")

// TestRetailMAC checks secure-messaging MACs that real cards answered
// (published with a command-line tool for Fudan cards). Their chain starts from
// a challenge. That is the same as a zero start with the challenge xored into
// the first block.
func TestRetailMAC(t *testing.T) {
	r := &softkey.Ring{}
	ones := bytes.Repeat([]byte{0xFF}, 16)
	if err := r.ImportScratch(t.Context(), ref(keyref.RetailTAC), ones); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ challenge, data, want string }{
		{"44A47DEB", "04D600001411223344556677889900AABBCCDDEEFF", "F2F62231"},
		{"D0FE4FB9", "11223344556677889900AABBCCDDEEFF", "8D318577"},
	} {
		data, _ := hex.DecodeString(tc.data)
		start, _ := hex.DecodeString(tc.challenge)
		for i, b := range start {
			data[i] ^= b
		}
		mac, err := r.RetailMAC(t.Context(), keyref.Path{Key: ref(keyref.RetailTAC)}, data)
		if got := hex.EncodeToString(mac[:]); err != nil || !equalFold(got, tc.want) {
			t.Errorf("MAC %s, want %s: %v", got, tc.want, err)
		}
	}
}

func equalFold(a, b string) bool { return bytes.EqualFold([]byte(a), []byte(b)) }

func TestRefusals(t *testing.T) {
	r := ring(t, keyref.PurchaseMaster, keyref.TACMaster, keyref.SlotPurchaseMaster, keyref.SlotTACMaster, keyref.FoldedTAC, keyref.RetailTAC)
	at := func(u keyref.Usage, levels int) keyref.Path { return keyref.Path{Key: ref(u), Levels: uint8(levels)} }
	process := func(p keyref.Path) error {
		_, err := r.ProcessMAC(t.Context(), p, [8]byte{}, nil)
		return err
	}
	folded := func(p keyref.Path) error { _, err := r.FoldedMAC(t.Context(), p, nil); return err }
	retail := func(p keyref.Path) error { _, err := r.RetailMAC(t.Context(), p, nil); return err }
	encipher := func(p keyref.Path) error { _, err := r.Encipher(t.Context(), p, [8]byte{}); return err }
	for _, tc := range []struct {
		name string
		do   func(keyref.Path) error
		path keyref.Path
		want error
	}{
		{"card key", process, at(keyref.PurchaseMaster, 2), nil},
		{"one card's own key", process, at(keyref.PurchaseMaster, 0), nil},
		{"slot key", process, at(keyref.SlotPurchaseMaster, 3), nil},
		{"slot master at two levels", process, at(keyref.SlotPurchaseMaster, 2), softkey.ErrKeyUnfit},
		{"TAC key for MACs", process, at(keyref.TACMaster, 2), softkey.ErrKeyUnfit},
		{"absent key", process, at(keyref.LoadMaster, 0), softkey.ErrKeyMissing},
		{"too many levels", process, at(keyref.PurchaseMaster, 4), softkey.ErrKeyUnfit},
		{"folded card key", folded, at(keyref.TACMaster, 1), nil},
		{"master itself", folded, at(keyref.TACMaster, 0), softkey.ErrKeyUnfit},
		{"key folded at import", folded, at(keyref.FoldedTAC, 0), nil},
		{"key folded at import, diversified", folded, at(keyref.FoldedTAC, 1), softkey.ErrKeyUnfit},
		{"folded slot key", folded, at(keyref.SlotTACMaster, 3), nil},
		{"folded token key", folded, at(keyref.SlotTACMaster, 2), softkey.ErrKeyUnfit},
		{"purchase key for TACs", folded, at(keyref.PurchaseMaster, 2), softkey.ErrKeyUnfit},
		{"retail key", retail, at(keyref.RetailTAC, 0), nil},
		{"folded key for retail", retail, at(keyref.FoldedTAC, 0), softkey.ErrKeyUnfit},
		{"master enciphers", encipher, at(keyref.PurchaseMaster, 0), softkey.ErrKeyUnfit},
		{"card key enciphers", encipher, at(keyref.PurchaseMaster, 1), nil},
	} {
		if err := tc.do(tc.path); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestImport(t *testing.T) {
	ctx, r := t.Context(), ring(t, keyref.LoadMaster)
	for name, tc := range map[string]struct {
		ref  keyref.Ref
		key  []byte
		want error
	}{
		"again":      {ref(keyref.LoadMaster), key, softkey.ErrKeyExists},
		"8 bytes":    {ref(keyref.TACMaster), key[:8], softkey.ErrKeyUnfit},
		"24 bytes":   {ref(keyref.TACMaster), append(key[:16:16], key[:8]...), softkey.ErrKeyUnfit},
		"AES":        {keyref.Ref{Usage: keyref.PANSeal, Version: 1}, key, softkey.ErrKeyUnfit},
		"no realm":   {keyref.Ref{Usage: keyref.LoadMaster, Version: 1}, key, softkey.ErrKeyUnfit},
		"no version": {keyref.Ref{Realm: "test", Usage: keyref.UnloadMaster}, key, softkey.ErrKeyUnfit},
	} {
		if err := r.ImportScratch(ctx, tc.ref, tc.key); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.Forget(ctx, ref(keyref.LoadMaster)); err != nil {
		t.Error(err)
	}
	if err := r.Forget(ctx, ref(keyref.LoadMaster)); !errors.Is(err, softkey.ErrKeyMissing) {
		t.Error(err)
	}
	if err := r.ImportScratch(ctx, ref(keyref.LoadMaster), key); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.ProcessMAC(ctx, keyref.Path{Key: ref(keyref.LoadMaster)}, [8]byte{}); !errors.Is(err, softkey.ErrKeyMissing) {
		t.Error(err)
	}
}

// TestImportCopies: a caller that wipes its key after the import does not wipe
// the ring's.
func TestImportCopies(t *testing.T) {
	ctx, mine := t.Context(), bytes.Clone(key)
	r := &softkey.Ring{}
	if err := r.ImportScratch(ctx, ref(keyref.RetailTAC), mine); err != nil {
		t.Fatal(err)
	}
	before, _ := r.RetailMAC(ctx, keyref.Path{Key: ref(keyref.RetailTAC)}, nil)
	clear(mine)
	if after, _ := r.RetailMAC(ctx, keyref.Path{Key: ref(keyref.RetailTAC)}, nil); after != before {
		t.Error("the ring kept the caller's slice")
	}
}

func TestConcurrentUse(t *testing.T) {
	ctx, r := t.Context(), ring(t, keyref.PurchaseMaster)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			own := keyref.Ref{Realm: "own", Usage: keyref.LoadMaster, Version: uint8(i + 1)}
			for range 50 {
				if _, err := r.ProcessMAC(ctx, keyref.Path{Key: ref(keyref.PurchaseMaster)}, [8]byte{}, nil); err != nil {
					t.Error(err)
				}
				if err := errors.Join(r.ImportScratch(ctx, own, key), r.Forget(ctx, own)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
