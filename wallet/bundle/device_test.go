package bundle_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

func device(t testing.TB) *bundle.Device {
	t.Helper()
	d, err := bundle.NewDevice(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func sealed(t testing.TB, w *bench, d *bundle.Device) string {
	t.Helper()
	jwk, err := d.PublicJWK()
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.issuer.Service.Bundle(t.Context(), wallettest.Caller, wallettest.Ref, jwk, access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	return b.JWE
}

func TestOpen(t *testing.T) {
	w, d := newBench(t, &bundle.Memory{}), device(t)
	jwe := sealed(t, w, d)
	b, err := d.Open(jwe)
	if err != nil {
		t.Fatal(err)
	}
	if b.Ref != wallettest.Ref || b.Slots() != wallettest.Slots || len(b.ID) != 32 {
		t.Errorf("%v: %d slots under %s", b, b.Slots(), b.Ref)
	}
	if s := fmt.Sprintf("%v %+v %#v %d %x", b, b, b, b, b); strings.ContainsAny(s, "{[") || strings.Contains(s, wallettest.Number) {
		t.Errorf("a bundle prints %s", s)
	}
	if strings.Contains(jwe, wallettest.Number) {
		t.Error("the header shows the token number")
	}
	flipped := []byte(jwe)
	flipped[len(jwe)/2] ^= 1
	head, rest, _ := strings.Cut(jwe, ".")
	for name, bad := range map[string]string{
		"empty": "", "text": "a.b.c.d.e", "flipped": string(flipped), "cut": jwe[:len(jwe)-4],
		"long": jwe + strings.Repeat("A", 16<<10), "another header": head[:len(head)-4] + "AAAA." + rest,
	} {
		if _, err := d.Open(bad); !errors.Is(err, bundle.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := device(t).Open(jwe); !errors.Is(err, bundle.ErrSealed) {
		t.Errorf("another device: %v", err)
	}
}

// TestOpenHeaders seals true payloads under headers that do not fit them, and
// with algorithms that are not accepted.
func TestOpenHeaders(t *testing.T) {
	w := newBench(t, &bundle.Memory{})
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := bundle.DeviceFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := jose.ParseEncryptedCompact(sealed(t, w, d), []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	clear, err := obj.Decrypt(k)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(alg jose.KeyAlgorithm, enc jose.ContentEncryption, payload []byte, edit func(map[jose.HeaderKey]any)) string {
		h := map[jose.HeaderKey]any{}
		for _, name := range []jose.HeaderKey{"v", "bid", "ref", "exp", "card"} {
			h[name] = obj.Header.ExtraHeaders[name]
		}
		edit(h)
		e, err := jose.NewEncrypter(enc, jose.Recipient{Algorithm: alg, Key: &k.PublicKey}, &jose.EncrypterOptions{ExtraHeaders: h})
		if err != nil {
			t.Fatal(err)
		}
		o, err := e.Encrypt(payload)
		if err != nil {
			t.Fatal(err)
		}
		s, err := o.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	same := func(map[jose.HeaderKey]any) {}
	if _, err := d.Open(seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, same)); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	set := func(k jose.HeaderKey, v any) func(map[jose.HeaderKey]any) {
		return func(h map[jose.HeaderKey]any) { h[k] = v }
	}
	card := obj.Header.ExtraHeaders["card"].(string)
	for name, jwe := range map[string]string{
		"key agreement alone":    seal(jose.ECDH_ES, jose.A256GCM, clear, same),
		"128-bit wrap":           seal(jose.ECDH_ES_A128KW, jose.A256GCM, clear, same),
		"128-bit content":        seal(jose.ECDH_ES_A256KW, jose.A128GCM, clear, same),
		"trailing byte":          seal(jose.ECDH_ES_A256KW, jose.A256GCM, append(bytes.Clone(clear), 0), same),
		"version":                seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, set("v", 2)),
		"no bundle":              seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, set("bid", "")),
		"no token":               seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, set("ref", 7)),
		"expiry":                 seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, set("exp", noon.Unix())),
		"no card":                seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, set("card", nil)),
		"card of another issuer": seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, set("card", card[:18]+"ff"+card[20:])),
		"another key version":    seal(jose.ECDH_ES_A256KW, jose.A256GCM, clear, set("card", card[:len(card)-4]+"0200")),
	} {
		if _, err := d.Open(jwe); !errors.Is(err, bundle.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeviceFromKey(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []*ecdsa.PrivateKey{nil, k} {
		if _, err := bundle.DeviceFromKey(bad); err == nil {
			t.Error("accepted")
		}
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	w, d := newBench(t, &bundle.Memory{}), device(t)
	jwe := sealed(t, w, d)
	start := func() *bundle.File {
		b, err := d.Open(jwe)
		if err != nil {
			t.Fatal(err)
		}
		j, err := bundle.OpenFile(dir, b.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.journal = j
		w.card = w.insert(t, b)
		return j
	}
	spend := func() {
		u, pur := w.begin(t, 300)
		command, _, _ := w.debit(t, u, pur)
		w.ok(t, command)
	}
	j := start()
	spend()
	spend()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = start()
	if w.card.Live() != wallettest.Slots-2 {
		t.Fatalf("%d slots live after a restart", w.card.Live())
	}
	w.ok(t, selectAID)
	if recs, err := j.Records(); err != nil || len(recs) != 2 || recs[1].Amount != 300 || recs[1].Terminal != terminal {
		t.Errorf("%+v, %v", recs, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.journal"))
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], raw[:len(raw)-1], 0o600); err != nil { // power cut in the last write
		t.Fatal(err)
	}
	j = start()
	if recs, _ := j.Records(); len(recs) != 1 {
		t.Errorf("%d records after a cut write", len(recs))
	}
	spend() // and the next record follows the whole ones
	_ = j.Close()
	j = start()
	if recs, _ := j.Records(); len(recs) != 2 {
		t.Errorf("%d records", len(recs))
	}
	_ = j.Close()
	// The file system had made room for a record, and the power went before it was written.
	if err := os.WriteFile(files[0], append(bytes.Clone(raw), make([]byte, 512)...), 0o600); err != nil {
		t.Fatal(err)
	}
	j = start()
	if recs, _ := j.Records(); len(recs) != 2 {
		t.Errorf("%d records before empty room", len(recs))
	}
	_ = j.Close()
	raw[3] ^= 1
	if err := os.WriteFile(files[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.OpenFile(dir, strings.TrimSuffix(filepath.Base(files[0]), ".journal")); err == nil {
		t.Error("a damaged journal was opened")
	}
	if _, err := bundle.OpenFile(dir, "../x"); err == nil {
		t.Error("an id that leaves the folder was taken")
	}
}
