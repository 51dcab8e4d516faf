package payload_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/payload"
)

// mac is HMAC-SHA256 by the book: both ends of these have to agree for years.
func mac(key [16]byte, msg ...[]byte) []byte {
	m := hmac.New(sha256.New, key[:])
	m.Write(bytes.Join(msg, nil))
	return m.Sum(nil)
}

// TestMACsByHand computes what a handset and the service prove to each other, and
// gives scripts whose MAC holds and which say nothing known.
func TestMACsByHand(t *testing.T) {
	k := [16]byte{1, 15: 2}
	if got := payload.Ack(k, "bdAAA"); !bytes.Equal(got[:], mac(k, []byte("tapvault/ack/v1bdAAA"))) {
		t.Errorf("acknowledgement %X", got)
	}
	body := append([]byte{0xD1, 3, 0, 0, 0, 7}, make([]byte, 24)...)
	sealed := func(edit func(b []byte)) []byte {
		b := bytes.Clone(body)
		edit(b)
		return append(b, mac(k, []byte("tapvault/script/v1"), b)[:16]...)
	}
	whole := payload.MarshalScript(payload.Script{Verb: payload.Block, Seq: 7}, k)
	if good := sealed(func([]byte) {}); !bytes.Equal(whole[:], good) {
		t.Errorf("script %X, want %X", whole, good)
	}
	for name, tc := range map[string]struct {
		edit func(b []byte)
		ok   bool
	}{
		"first verb": {func(b []byte) { b[1] = 1 }, true}, "last verb": {func(b []byte) { b[1] = 3 }, true},
		"no verb": {func(b []byte) { b[1] = 0 }, false}, "a verb more": {func(b []byte) { b[1] = 4 }, false},
		"another version": {func(b []byte) { b[0] = 0xD0 }, false},
		"one slot":        {func(b []byte) { b[23], b[25] = 5, 5 }, true}, "backwards": {func(b []byte) { b[23], b[25] = 6, 5 }, false},
	} {
		_, err := payload.ParseScript(sealed(tc.edit), &k)
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// slots is a payload of n slots, under a credential of count of them.
func slots(t *testing.T, n, count int) []byte {
	t.Helper()
	end := time.Date(2026, 3, 2, 19, 0, 0, 0, time.UTC)
	c, err := credential.Credential{Number: sample(t).Credential.Number, NotBefore: end.AddDate(0, 0, -1), NotAfter: end,
		MaxTap: 1000, Limit: 60000, CtrFirst: 3, CtrCount: byte(count)}.Sign(func([32]byte) ([64]byte, error) { return [64]byte{1}, nil })
	if err != nil {
		t.Fatal(err)
	}
	p := payload.Payload{Credential: c}
	for i := range n {
		u, err := credential.NewUD(end, 3+uint16(i), 1000, credential.Medium, 1)
		if err != nil {
			t.Fatal(err)
		}
		p.Slots = append(p.Slots, payload.Slot{UD: u})
	}
	return p.Bytes()
}

// TestHowManySlots: a payload holds as many slots as its credential says, and no more
// than there is memory for.
func TestHowManySlots(t *testing.T) {
	for _, tc := range []struct {
		n, count int
		ok       bool
	}{{1, 1, true}, {payload.MaxSlots, payload.MaxSlots, true}, {0, 1, false}, {payload.MaxSlots + 1, payload.MaxSlots + 1, false}, {2, 3, false}, {3, 2, false}} {
		p, err := payload.Parse(slots(t, tc.n, tc.count))
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) || err == nil && len(p.Slots) != tc.n {
			t.Errorf("%d slots of %d: %v", tc.n, tc.count, err)
		}
	}
}

func TestAIDSizes(t *testing.T) {
	for size, ok := range map[int]bool{0: false, 4: false, 5: true, 6: true, 15: true, 16: true, 17: false} {
		c := card()
		c.AID = make([]byte, size)
		got, err := payload.ParseCard(c.Header())
		if ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) || err == nil && len(got.AID) != size {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	h := card().Header()
	for _, bad := range []string{h[:len(h)-2], h + "0", strings.ToUpper(h)} {
		if _, err := payload.ParseCard(bad); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestSyncBounds: each bound of a sync holds at its last value and not at the next.
func TestSyncBounds(t *testing.T) {
	reports := func(n int) (out []payload.Report) {
		for i := range n {
			out = append(out, payload.Report{Ctr: uint16(i), Status: payload.Discarded})
		}
		return out
	}
	verdict := func(v string, at int64) func(*payload.Sync) {
		return func(s *payload.Sync) { s.Integrity = &payload.Integrity{Verdict: v, At: at} }
	}
	tap := func(text string) func(*payload.Sync) { return func(s *payload.Sync) { s.Reports[0].Tap = text } }
	for name, tc := range map[string]struct {
		edit func(*payload.Sync)
		ok   bool
	}{
		"an id that fits":     {func(s *payload.Sync) { s.ID = strings.Repeat("~", 64) }, true},
		"a control":           {func(s *payload.Sync) { s.ID = "a\x7f" }, false},
		"a reference":         {func(s *payload.Sync) { s.Ref = token.Ref(strings.Repeat("a", 64)) }, true},
		"a long reference":    {func(s *payload.Sync) { s.Ref = token.Ref(strings.Repeat("a", 65)) }, false},
		"a reference, spaced": {func(s *payload.Sync) { s.Ref = "to k" }, false},
		"first second":        {func(s *payload.Sync) { s.Clock = 1 }, true},
		"last second":         {func(s *payload.Sync) { s.Clock = 1 << 40 }, true},
		"a second more":       {func(s *payload.Sync) { s.Clock = 1<<40 + 1 }, false},
		"none left":           {func(s *payload.Sync) { s.Count = 0 }, true},
		"all left":            {func(s *payload.Sync) { s.Count = 1 << 16 }, true},
		"one more left":       {func(s *payload.Sync) { s.Count = 1<<16 + 1 }, false},
		"all reports":         {func(s *payload.Sync) { s.Reports = reports(payload.MaxReports) }, true},
		"a report more":       {func(s *payload.Sync) { s.Reports = reports(payload.MaxReports + 1) }, false},
		"no verdict at all":   {func(s *payload.Sync) { s.Integrity = nil }, true},
		"untrusted":           {verdict("UNTRUSTED", 1), true}, "failed": {verdict("FAILED", 1<<40), true},
		"before time": {verdict("TRUSTED", 0), false}, "after time": {verdict("TRUSTED", 1<<40+1), false},
		"a tap that fits": {tap(strings.Repeat("a", 4096)), true}, "a tap with a space": {tap("a b"), false},
	} {
		s := said(t)
		tc.edit(&s)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := payload.ParseSync(text); tc.ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, _ := json.Marshal(said(t))
	for name, bad := range map[string]string{"an unknown member": string(good[:len(good)-1]) + `,"more":1}`, "two": string(good) + string(good), "a word more": string(good) + " x"} {
		if _, err := payload.ParseSync([]byte(bad)); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSignedSyncIsOneText: what is no base64, or too long, is refused though what can be
// read of it is a sync; keys of other curves sign nothing.
func TestSignedSyncIsOneText(t *testing.T) {
	k := key(t)
	jws, err := payload.SignSync(said(t), signer(k))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(jws, ".")
	text := func(body, sig string) string { return parts[0] + "." + body + "." + sig }
	spare := []byte(parts[2])
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	spare[85] = letters[strings.IndexByte(letters, spare[85])^1]
	room := payload.MaxSync - len(text("", parts[2]))
	plain, _ := json.Marshal(said(t))
	padded := func(size int) string { // of so many characters, as spaces after the object
		b := append(slices.Clone(plain), bytes.Repeat([]byte(" "), base64.RawURLEncoding.DecodedLen(size)-len(plain))...)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	for name, tc := range map[string]struct {
		jws string
		ok  bool
	}{
		"as it is": {jws, true}, "a sign after its body": {text(padded(1200)+"!", parts[2]), false},
		"a line end in its body": {text(parts[1][:8]+"\n"+parts[1][8:], parts[2]), false}, "spare bits": {text(parts[1], string(spare)), false},
		"the longest": {text(padded(room-1), parts[2]), true}, "too long": {text(padded(room+1), parts[2]), false},
	} {
		if _, err := payload.ReadSigned(tc.jws); tc.ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s, %d characters: %v", name, len(tc.jws), err)
		}
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if jws, err = payload.SignSync(said(t), signer(small)); err != nil {
		t.Fatal(err)
	}
	if s, err := payload.ReadSigned(jws); err != nil || !errors.Is(s.Verify(&small.PublicKey), payload.ErrSigned) {
		t.Errorf("a key of P-224: %v", err)
	}
}
