package payload_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/payload"
)

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signer(k *ecdsa.PrivateKey) func([32]byte) ([64]byte, error) {
	return func(d [32]byte) (sig [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, k, d[:])
		if err == nil {
			r.FillBytes(sig[:32])
			s.FillBytes(sig[32:])
		}
		return sig, err
	}
}

func point(k *ecdsa.PrivateKey) string {
	return strings.ToUpper(hex.EncodeToString(elliptic.MarshalCompressed(elliptic.P256(), k.X, k.Y)))
}

func said(t testing.TB) payload.Sync {
	return payload.Sync{Device: "dvAAAAAAAAAAAAAAAAAAAAAAAAAA", Ref: "tok-1", ID: "s-1", Clock: 1772424000, PINEpoch: 1,
		Remaining: 9000, Count: 9, ProofKey: point(key(t)), Integrity: &payload.Integrity{Verdict: "TRUSTED", At: 1772420000},
		Reports: []payload.Report{{Ctr: 1, Status: payload.Used, Tap: "a.b.c.d.e"}, {Ctr: 2, Status: payload.Live}}}
}

func TestSync(t *testing.T) {
	k, s := key(t), said(t)
	jws, err := payload.SignSync(s, signer(k))
	if err != nil {
		t.Fatal(err)
	}
	got, err := payload.ReadSigned(jws)
	if err != nil || !reflect.DeepEqual(got.Sync, s) {
		t.Fatalf("%+v, %v", got.Sync, err)
	}
	if err := got.Verify(&k.PublicKey); err != nil {
		t.Fatal(err)
	}
	if err := got.Verify(&key(t).PublicKey); !errors.Is(err, payload.ErrSigned) {
		t.Errorf("another device: %v", err)
	}
	if err := got.Verify(nil); !errors.Is(err, payload.ErrSigned) {
		t.Errorf("no key: %v", err)
	}
	again, err := payload.SignSync(s, signer(k))
	if err != nil {
		t.Fatal(err)
	}
	if g, err := payload.ReadSigned(again); err != nil || g.Digest != got.Digest || again == jws {
		t.Errorf("a sync signed again has another digest (%v)", err)
	}
	head, rest, _ := strings.Cut(jws, ".")
	body, sig, _ := strings.Cut(rest, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	for name, bad := range map[string]string{
		"empty": "", "no signature": head + "." + body, "four parts": jws + ".AA",
		"alg none":       b64([]byte(`{"alg":"none"}`)) + "." + body + ".",
		"another header": b64([]byte(`{"alg":"ES256","typ":"tapvault-sync","jwk":{}}`)) + "." + body + "." + sig,
		"spaced header":  b64([]byte(`{"alg": "ES256","typ":"tapvault-sync"}`)) + "." + body + "." + sig,
		"padded":         jws + "=", "line feed": jws + "\n", "short signature": jws[:len(jws)-4],
		"long": head + "." + body + strings.Repeat("A", payload.MaxSync) + "." + sig,
	} {
		if _, err := payload.ReadSigned(bad); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	flip := []byte(jws)
	flip[len(flip)-20] ^= 1
	if g, err := payload.ReadSigned(string(flip)); err == nil && g.Verify(&k.PublicKey) == nil {
		t.Error("a changed signature holds")
	}
}

func TestSyncRefused(t *testing.T) {
	k := key(t)
	for name, edit := range map[string]func(*payload.Sync){
		"no device":        func(s *payload.Sync) { s.Device = "dv1" },
		"no token":         func(s *payload.Sync) { s.Ref = "" },
		"no id":            func(s *payload.Sync) { s.ID = "" },
		"an id with space": func(s *payload.Sync) { s.ID = "a b" },
		"a long id":        func(s *payload.Sync) { s.ID = strings.Repeat("a", 65) },
		"no clock":         func(s *payload.Sync) { s.Clock = 0 },
		"no proof key":     func(s *payload.Sync) { s.ProofKey = "" },
		"off the curve":    func(s *payload.Sync) { s.ProofKey = "02" + strings.Repeat("F", 64) },
		"lower-case key":   func(s *payload.Sync) { s.ProofKey = s.ProofKey[:64] + "ab" },
		"a slot twice":     func(s *payload.Sync) { s.Reports[1].Ctr = 1 },
		"used without tap": func(s *payload.Sync) { s.Reports[0].Tap = "" },
		"live with tap":    func(s *payload.Sync) { s.Reports[1].Tap = "x" },
		"unknown status":   func(s *payload.Sync) { s.Reports[1].Status = "LOST" },
		"a long tap":       func(s *payload.Sync) { s.Reports[0].Tap = strings.Repeat("a", 4097) },
		"negative count":   func(s *payload.Sync) { s.Count = -1 },
		"no verdict":       func(s *payload.Sync) { s.Integrity.Verdict = "MAYBE" },
		"many reports": func(s *payload.Sync) {
			for i := range uint16(payload.MaxReports) {
				s.Reports = append(s.Reports, payload.Report{Ctr: 10 + i, Status: payload.Live})
			}
		},
	} {
		s := said(t)
		edit(&s)
		if _, err := payload.SignSync(s, signer(k)); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"v":1}`, `{} {}`} {
		if _, err := payload.ParseSync([]byte(bad)); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func tap(t testing.TB) payload.Tap {
	p := sample(t)
	return payload.Tap{Terminal: [6]byte{1, 2}, Issuer: [8]byte{3}, Number: p.Credential.Number, UD: p.Slots[0].UD, Rand: [4]byte{4},
		Seq: 3, Amount: 300, Type: 6, TermSeq: 77, At: [7]byte{0x20, 0x26}, KeyVersion: 1, Algorithm: 2, Balance: 2000,
		MAC1: [4]byte{5}, MAC2: [4]byte{6}, TAC: [4]byte{7}, ListVersion: 8}
}

func TestTap(t *testing.T) {
	want := tap(t)
	b := want.Bytes()
	got, err := payload.ParseTap(b)
	if err != nil || !bytes.Equal(got.Bytes(), b) || got.Number.Digits() != want.Number.Digits() || len(b) != payload.TapSize {
		t.Fatalf("%+v, %d bytes, %v", got, len(b), err)
	}
	digits := bytes.Clone(b)
	digits[20] = 0xFA
	for name, bad := range map[string][]byte{"empty": nil, "cut": b[1:], "trailing": append(bytes.Clone(b), 0),
		"version": append([]byte{0xC2}, b[1:]...), "not BCD": digits} {
		if _, err := payload.ParseTap(bad); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScript(t *testing.T) {
	k, s := [16]byte{1}, payload.Script{Verb: payload.LowerLimit, Seq: 3, Bundle: [16]byte{9}, First: 1, Last: 4, Limit: 2000}
	b := payload.MarshalScript(s, k)
	if got, err := payload.ParseScript(b[:], &k); err != nil || got != s {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range b { // every byte is under the MAC, or is the MAC
		bad := b
		bad[i] ^= 1
		if _, err := payload.ParseScript(bad[:], &k); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("byte %d may be changed", i)
		}
	}
	if _, err := payload.ParseScript(b[:], &[16]byte{2}); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("another bundle's key: %v", err)
	}
	unknown := payload.MarshalScript(payload.Script{Verb: 4}, k)
	back := payload.MarshalScript(payload.Script{Verb: payload.EraseSlots, First: 2, Last: 1}, k)
	for _, bad := range [][]byte{nil, b[1:], unknown[:], back[:]} {
		if _, err := payload.ParseScript(bad, &k); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%X: %v", bad, err)
		}
	}
}

func FuzzSync(f *testing.F) {
	k := key(f)
	jws, err := payload.SignSync(said(f), signer(k))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(jws)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := payload.ReadSigned(s)
		if err != nil {
			return
		}
		again, err := payload.SignSync(got.Sync, signer(k))
		if err != nil {
			t.Fatalf("what was read cannot be printed: %v", err)
		}
		back, err := payload.ReadSigned(again)
		if err != nil || !reflect.DeepEqual(back.Sync, got.Sync) {
			t.Fatalf("print is not the inverse of parse: %v", err)
		}
	})
}

func FuzzTap(f *testing.F) {
	f.Add(tap(f).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := payload.ParseTap(b); err == nil && !bytes.Equal(got.Bytes(), b) {
			t.Fatal("print is not the inverse of parse")
		}
	})
}

func FuzzScript(f *testing.F) {
	b := payload.MarshalScript(payload.Script{Verb: payload.Block, Seq: 1}, [16]byte{})
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := payload.ParseScript(b, &[16]byte{}); err == nil {
			if again := payload.MarshalScript(s, [16]byte{}); !bytes.Equal(again[:], b) {
				t.Fatal("print is not the inverse of parse")
			}
		}
	})
}
