package hsm_test

import (
	"bytes"
	"context"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// The same formulas with the standard library, written apart from the package.

func tdes(key [16]byte, block [8]byte) (out [8]byte) {
	c, err := des.NewTripleDESCipher(append(key[:], key[:8]...))
	if err != nil {
		panic(err)
	}
	c.Encrypt(out[:], block[:])
	return out
}

func softDiversify(key [16]byte, fs ...keyref.Factor) [16]byte {
	for _, f := range fs {
		var inv [8]byte
		for i, b := range f {
			inv[i] = ^b
		}
		l, r := tdes(key, f), tdes(key, inv)
		key = [16]byte(append(l[:], r[:]...))
	}
	return key
}

func softMAC(key [8]byte, msg []byte) [4]byte {
	msg = append(bytes.Clone(msg), 0x80)
	for len(msg)%8 != 0 {
		msg = append(msg, 0)
	}
	c, _ := des.NewCipher(key[:])
	var chain [8]byte
	for ; len(msg) > 0; msg = msg[8:] {
		for i := range chain {
			chain[i] ^= msg[i]
		}
		c.Encrypt(chain[:], chain[:])
	}
	return [4]byte(chain[:4])
}

func softRetail(key [16]byte, msg []byte) [4]byte {
	msg = append(bytes.Clone(msg), 0x80)
	for len(msg)%8 != 0 {
		msg = append(msg, 0)
	}
	l, _ := des.NewCipher(key[:8])
	var chain [8]byte
	for ; len(msg) > 0; msg = msg[8:] {
		for i := range chain {
			chain[i] ^= msg[i]
		}
		if len(msg) == 8 {
			chain = tdes(key, chain)
		} else {
			l.Encrypt(chain[:], chain[:])
		}
	}
	return [4]byte(chain[:4])
}

func fold(key [16]byte) (out [8]byte) {
	for i := range out {
		out[i] = key[i] ^ key[8+i]
	}
	return out
}

func ref(u keyref.Usage) keyref.Ref {
	r := keyref.Ref{Usage: u, Version: 1}
	if s, _ := u.Spec(); s.Realm {
		r.Realm = hsmtest.Realm
	}
	return r
}

func path(t *testing.T, u keyref.Usage, fs ...keyref.Factor) keyref.Path {
	t.Helper()
	p, err := ref(u).Path(fs...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// bare is a token without keys, for scratch keys.
func bare(t *testing.T) *hsm.Token {
	return hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
}

func scratch(t *testing.T, tok *hsm.Token, u keyref.Usage, key []byte) {
	t.Helper()
	if err := tok.ImportScratch(t.Context(), ref(u), key); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Forget(context.Background(), ref(u)) })
}

type vectors struct {
	Functions []struct {
		Function string
		Vectors  []struct {
			ID      string
			In, Out map[string]any
		}
	}
}

func unhex(t *testing.T, v any) []byte {
	t.Helper()
	s, _ := v.(string)
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		t.Fatalf("vector field %v is no hex", v)
	}
	return b
}

func TestVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/epurse.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs vectors
	if err := json.Unmarshal(text, &vs); err != nil {
		t.Fatal(err)
	}
	tok := bare(t)
	for _, f := range vs.Functions {
		for _, v := range f.Vectors {
			t.Run(v.ID, func(t *testing.T) {
				switch f.Function {
				case "epurse_diversify_tdes":
					diversifyVector(t, tok, v.In, v.Out)
				case "epurse_purchase_tdes":
					purchaseVector(t, tok, v.In, v.Out)
				case "epurse_load_tdes":
					loadVector(t, tok, v.In, v.Out)
				}
			})
		}
	}
}

// diversifyVector compares the derived key with the expected one by what both
// make of a block.
func diversifyVector(t *testing.T, tok *hsm.Token, in, out map[string]any) {
	scratch(t, tok, keyref.PurchaseMaster, unhex(t, in["key"]))
	scratch(t, tok, keyref.RetailTAC, unhex(t, out["key"]))
	var fs []keyref.Factor
	for _, f := range in["factors"].([]any) {
		fs = append(fs, keyref.Factor(unhex(t, f)))
	}
	for _, block := range [][8]byte{{}, {1, 2, 3, 4, 5, 6, 7, 8}} {
		got, err := tok.Encipher(t.Context(), path(t, keyref.PurchaseMaster, fs...), block)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tok.Encipher(t.Context(), path(t, keyref.RetailTAC), block)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Error("the derived key is not the expected one")
		}
	}
}

func be(n int, v any) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(v.(float64)))[8-n:]
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func purchaseVector(t *testing.T, tok *hsm.Token, in, out map[string]any) {
	scratch(t, tok, keyref.PurchaseMaster, unhex(t, in["dpk"]))
	scratch(t, tok, keyref.FoldedTAC, unhex(t, in["dtk"]))
	input := [8]byte(join(unhex(t, in["rand"]), be(2, in["offline_seq"]), be(2, in["term_seq"])))
	amount, term := be(4, in["amount"]), join(be(1, in["txn_type"]), unhex(t, in["term_id"]))
	when := join(unhex(t, in["date"]), unhex(t, in["time"]))
	checkMACs(t, tok, out, path(t, keyref.PurchaseMaster), input, join(amount, term, when), amount)
	checkTAC(t, tok, out, join(amount, term, be(4, in["term_seq"]), when))
}

func loadVector(t *testing.T, tok *hsm.Token, in, out map[string]any) {
	scratch(t, tok, keyref.LoadMaster, unhex(t, in["dlk"]))
	scratch(t, tok, keyref.FoldedTAC, unhex(t, in["dtk"]))
	input := [8]byte(join(unhex(t, in["rand"]), be(2, in["online_seq"]), []byte{0x80, 0}))
	amount, term := be(4, in["amount"]), join(be(1, in["txn_type"]), unhex(t, in["term_id"]))
	when := join(unhex(t, in["date"]), unhex(t, in["time"]))
	checkMACs(t, tok, out, path(t, keyref.LoadMaster), input, join(be(4, in["balance"]), amount, term), join(amount, term, when))
	after := be(4, in["balance"].(float64)+in["amount"].(float64))
	checkTAC(t, tok, out, join(after, be(2, in["online_seq"]), amount, term, when))
}

func checkMACs(t *testing.T, tok *hsm.Token, out map[string]any, p keyref.Path, input [8]byte, msgs ...[]byte) {
	t.Helper()
	macs, err := tok.ProcessMAC(t.Context(), p, input, msgs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"mac1", "mac2"} {
		if !bytes.Equal(macs[i][:], unhex(t, out[name])) {
			t.Errorf("%s = %X, want %v", name, macs[i], out[name])
		}
	}
}

func checkTAC(t *testing.T, tok *hsm.Token, out map[string]any, msg []byte) {
	t.Helper()
	if out["tac"] == nil {
		return
	}
	tac, err := tok.FoldedMAC(t.Context(), path(t, keyref.FoldedTAC), msg)
	if err != nil || !bytes.Equal(tac[:], unhex(t, out["tac"])) {
		t.Errorf("tac = %X, %v, want %v", tac, err, out["tac"])
	}
}

func TestAgainstSoftware(t *testing.T) {
	tok := bare(t)
	rnd := rand.New(rand.NewChaCha8([32]byte{1}))
	draw := func(b []byte) {
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
	}
	for n := range 40 {
		var key [16]byte
		draw(key[:])
		var fs []keyref.Factor
		for range n % 4 {
			var f keyref.Factor
			draw(f[:])
			fs = append(fs, f)
		}
		msgs := make([][]byte, 1+n%4)
		for i := range msgs {
			msgs[i] = make([]byte, rnd.IntN(100))
			draw(msgs[i])
		}
		scratch(t, tok, keyref.PurchaseMaster, key[:])
		p := path(t, keyref.PurchaseMaster, fs...)
		dk := softDiversify(key, fs...)
		for range 2 { // derived, then from the cache
			agree(t, tok, p, dk, msgs)
		}
		if err := tok.Forget(t.Context(), ref(keyref.PurchaseMaster)); err != nil {
			t.Fatal(err)
		}
	}
}

func agree(t *testing.T, tok *hsm.Token, p keyref.Path, dk [16]byte, msgs [][]byte) {
	t.Helper()
	ctx, input := t.Context(), [8]byte{9, 8, 7, 6, 5, 4, 3, 2}
	macs, err := tok.ProcessMAC(ctx, p, input, msgs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range msgs {
		if want := softMAC(tdes(dk, input), m); macs[i] != want {
			t.Errorf("%d levels: ProcessMAC %X, want %X", p.Levels, macs[i], want)
		}
	}
	if p.Levels == 0 {
		return
	}
	if got, err := tok.FoldedMAC(ctx, p, msgs[0]); err != nil || got != softMAC(fold(dk), msgs[0]) {
		t.Errorf("%d levels: FoldedMAC %X, %v", p.Levels, got, err)
	}
	if got, err := tok.RetailMAC(ctx, p, msgs[0]); err != nil || got != softRetail(dk, msgs[0]) {
		t.Errorf("%d levels: RetailMAC of %d bytes: %X, %v", p.Levels, len(msgs[0]), got, err)
	}
	if got, err := tok.Encipher(ctx, p, input); err != nil || got != tdes(dk, input) {
		t.Errorf("%d levels: Encipher %X, %v", p.Levels, got, err)
	}
}

func TestStoredTACKeys(t *testing.T) {
	key := [16]byte([]byte("\x34\x34\x34\x34\x34\x34\x34\x34\x11\x22\x33\x44\x55\x66\x77\x88"))
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}, Values: map[keyref.Ref][]byte{
		ref(keyref.FoldedTAC): key[:], ref(keyref.RetailTAC): key[:]}})
	for _, msg := range [][]byte{{}, []byte("seven b"), []byte("eight by"), bytes.Repeat([]byte("long"), 30)} {
		got, err := tok.FoldedMAC(t.Context(), path(t, keyref.FoldedTAC), msg)
		if err != nil || got != softMAC(fold(key), msg) {
			t.Errorf("FoldedMAC of %d bytes: %X, %v", len(msg), got, err)
		}
		got, err = tok.RetailMAC(t.Context(), path(t, keyref.RetailTAC), msg)
		if err != nil || got != softRetail(key, msg) {
			t.Errorf("RetailMAC of %d bytes: %X, %v", len(msg), got, err)
		}
	}
}

func TestSlotKeys(t *testing.T) {
	key := [16]byte([]byte("slot master here"))
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{ref(keyref.PurchaseMaster)},
		Values: map[keyref.Ref][]byte{ref(keyref.SlotPurchaseMaster): key[:]}})
	issuer, asn := keyref.Factor{1}, keyref.Factor{2}
	uds := make([]keyref.Factor, 64)
	for i := range uds {
		uds[i] = keyref.Factor{byte(i), 7}
	}
	keys, err := tok.SlotKeys(t.Context(), path(t, keyref.SlotPurchaseMaster, issuer, asn), uds)
	if err != nil {
		t.Fatal(err)
	}
	for i, ud := range uds {
		if keys[i] != softDiversify(key, issuer, asn, ud) {
			t.Fatalf("slot key %d is not the one diversified by its descriptor", i)
		}
	}
	for name, p := range map[string]keyref.Path{
		"a card master": path(t, keyref.PurchaseMaster, issuer, asn),
		"one level":     path(t, keyref.SlotPurchaseMaster, issuer),
		"three levels":  path(t, keyref.SlotPurchaseMaster, issuer, asn, uds[0]),
	} {
		if _, err := tok.SlotKeys(t.Context(), p, uds[:1]); !errors.Is(err, hsm.ErrKeyUnfit) {
			t.Errorf("%s gave slot keys: %v", name, err)
		}
	}
	if _, err := tok.SlotKeys(t.Context(), path(t, keyref.SlotPurchaseMaster, issuer, asn), nil); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("no descriptors: %v", err)
	}
}

func TestWrongUse(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	f := keyref.Factor{1}
	for name, call := range map[string]func() error{
		"fold of a master":      func() error { _, err := tok.FoldedMAC(t.Context(), path(t, keyref.TACMaster), nil); return err },
		"retail under a master": func() error { _, err := tok.RetailMAC(t.Context(), path(t, keyref.TACMaster), nil); return err },
		"encipher by a master": func() error {
			_, err := tok.Encipher(t.Context(), path(t, keyref.PurchaseMaster), [8]byte{})
			return err
		},
		"process key of a dtk": func() error {
			_, err := tok.ProcessMAC(t.Context(), path(t, keyref.FoldedTAC, f), [8]byte{}, nil)
			return err
		},
		"process key of an AES": func() error {
			_, err := tok.ProcessMAC(t.Context(), path(t, keyref.PANSeal), [8]byte{}, nil)
			return err
		},
		"seal under a HMAC key":  func() error { _, err := tok.Seal(t.Context(), ref(keyref.PARKey), nil, nil); return err },
		"HMAC under an AES key":  func() error { _, err := tok.HMAC(t.Context(), ref(keyref.PANSeal), []byte("x")); return err },
		"sign under a HMAC key":  func() error { _, err := tok.Sign(t.Context(), ref(keyref.PARKey), [32]byte{}); return err },
		"public key of a secret": func() error { _, err := tok.PublicKey(t.Context(), ref(keyref.PARKey)); return err },
	} {
		if err := call(); !errors.Is(err, hsm.ErrKeyUnfit) || fault.KindOf(err) != fault.HSMKey {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := keyref.Ref{Realm: "other", Usage: keyref.PurchaseMaster, Version: 1}
	p, _ := other.Path(f)
	if _, err := tok.ProcessMAC(t.Context(), p, [8]byte{}, []byte("m")); !errors.Is(err, hsm.ErrKeyMissing) {
		t.Errorf("a key that was not required: %v", err)
	}
	long := make([]byte, 2048)
	if _, err := tok.ProcessMAC(t.Context(), path(t, keyref.PurchaseMaster, f), [8]byte{}, long); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("a message too long: %v", err)
	}
}

func TestRefuseTACFold(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Config: func(c *hsm.Config) { c.RefuseTACFold = true }})
	f := keyref.Factor{1}
	if _, err := tok.FoldedMAC(t.Context(), path(t, keyref.TACMaster, f, f), []byte("m")); !errors.Is(err, hsm.ErrKeyUnfit) {
		t.Errorf("a card's TAC key was folded: %v", err)
	}
	if _, err := tok.FoldedMAC(t.Context(), path(t, keyref.SlotTACMaster, f, f, f), []byte("m")); err != nil {
		t.Errorf("a slot's TAC key was not folded: %v", err)
	}
}

func TestSeal(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	r := ref(keyref.PANSeal)
	for _, text := range [][]byte{[]byte("nineteen characters"), {}} {
		sealed, err := tok.Seal(t.Context(), r, text, []byte("row"))
		if err != nil || len(sealed) != 12+len(text)+16 {
			t.Fatalf("Seal gave %d bytes, %v", len(sealed), err)
		}
		back, err := tok.Unseal(t.Context(), r, sealed, []byte("row"))
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("Unseal: %v", err)
		}
		for i := range sealed {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1
			if _, err := tok.Unseal(t.Context(), r, bad, []byte("row")); err == nil || fault.KindOf(err) != fault.Internal {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
		for name, open := range map[string]func() ([]byte, error){
			"another row": func() ([]byte, error) { return tok.Unseal(t.Context(), r, sealed, []byte("other")) },
			"no row":      func() ([]byte, error) { return tok.Unseal(t.Context(), r, sealed, nil) },
			"another key": func() ([]byte, error) { return tok.Unseal(t.Context(), ref(keyref.RangeKEK), sealed, []byte("row")) },
			"cut":         func() ([]byte, error) { return tok.Unseal(t.Context(), r, sealed[:len(sealed)-1], []byte("row")) },
			"nothing":     func() ([]byte, error) { return tok.Unseal(t.Context(), r, nil, []byte("row")) },
		} {
			if _, err := open(); err == nil {
				t.Errorf("%s opened", name)
			}
		}
	}
}

func TestSignAndHMAC(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	digest := sha256.Sum256([]byte("message"))
	sig, err := tok.Sign(t.Context(), ref(keyref.CredSign), digest)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := tok.PublicKey(t.Context(), ref(keyref.CredSign))
	if err != nil || !ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		t.Errorf("the signature does not verify (%v)", err)
	}
	a, err := tok.HMAC(t.Context(), ref(keyref.PANIndex), []byte("one"))
	b, err2 := tok.HMAC(t.Context(), ref(keyref.PANIndex), []byte("one"))
	c, err3 := tok.HMAC(t.Context(), ref(keyref.PARKey), []byte("one"))
	if err := errors.Join(err, err2, err3); err != nil || a != b || a == c {
		t.Errorf("HMAC: %v, equal %v, across keys %v", err, a == b, a == c)
	}
	if _, err := tok.HMAC(t.Context(), ref(keyref.PANIndex), nil); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("HMAC of nothing: %v", err)
	}
	x, y := make([]byte, 32), make([]byte, 32)
	if err := errors.Join(tok.Random(t.Context(), x), tok.Random(t.Context(), y)); err != nil || bytes.Equal(x, y) {
		t.Errorf("Random: %v", err)
	}
}
