package message_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// refused reports whether reading ended as want says.
func refused(t *testing.T, name string, err error, ok bool) {
	t.Helper()
	if ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) {
		t.Errorf("%s: %v", name, err)
	}
}

// TestScriptsByHand makes scripts whose MAC holds, by the book, and says what an element
// takes of them.
func TestScriptsByHand(t *testing.T) {
	good := message.Script{Verb: message.SetLimit, Serial: serial, Seq: 7, Body: []byte{1}}.MAC(key)
	body := good[:len(good)-16]
	with := func(k message.Key, at int, to byte) []byte {
		b := bytes.Clone(body)
		b[at] = to
		m := hmac.New(sha256.New, k[:])
		m.Write(append([]byte("tapvault/element/script/v1"), b...))
		return append(b, m.Sum(nil)[:16]...)
	}
	if !bytes.Equal(with(key, 0, good[0]), good) {
		t.Error("a script's MAC is not what the book says")
	}
	for name, tc := range map[string]struct {
		script []byte
		k      message.Key
		ok     bool
	}{
		"as it is": {good, key, true}, "the last verb": {with(key, 1, 4), key, true}, "a verb more": {with(key, 1, 5), key, false}, "no verb": {with(key, 1, 0), key, false},
		"an issue by MAC": {with(key, 1, byte(message.Issue)), key, false}, "another version": {with(key, 0, good[0]^1), key, false},
		"under no key": {with(message.Key{}, 0, good[0]), message.Key{}, false}, "another key": {good, message.Key{9}, false},
		"a byte more": {append(bytes.Clone(good), 0), key, false}, "nothing": {nil, key, false},
		"the longest":  {message.Script{Verb: message.Erase, Body: make([]byte, message.MaxScript-len(good)+1)}.MAC(key), key, true},
		"a longer one": {message.Script{Verb: message.Erase, Body: make([]byte, message.MaxScript-len(good)+2)}.MAC(key), key, false},
		"no body":      {message.Script{Verb: message.Erase}.MAC(key), key, true}, "less": {good[:len(good)-2], key, false},
	} {
		s, err := message.ParseScript(tc.script, &tc.k, nil)
		refused(t, name, err, tc.ok)
		if err == nil && !bytes.Equal(s.MAC(key), tc.script) {
			t.Errorf("%s: read as %+v", name, s)
		}
	}
}

// TestIssueIsSigned: an issue holds under the issuer's key and no other, and a MAC is
// no signature.
func TestIssueIsSigned(t *testing.T) {
	sign := func() (*ecdsa.PublicKey, func(message.Script) []byte) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &k.PublicKey, func(s message.Script) []byte {
			d := s.Digest()
			r, v, err := ecdsa.Sign(rand.Reader, k, d[:])
			if err != nil {
				t.Fatal(err)
			}
			var sig [64]byte
			r.FillBytes(sig[:32])
			v.FillBytes(sig[32:])
			return s.Signed(sig)
		}
	}
	issuer, signed := sign()
	stranger, _ := sign()
	s := message.Script{Verb: message.Issue, Serial: serial, Seq: 1, Body: []byte{1, 2, 3}}
	whole := signed(s)
	got, err := message.ParseScript(whole, &key, issuer)
	if refused(t, "signed", err, true); !reflect.DeepEqual(got, s) {
		t.Errorf("read as %+v", got)
	}
	for name, k := range map[string]*ecdsa.PublicKey{"no issuer": nil, "a stranger": stranger} {
		_, err := message.ParseScript(whole, &key, k)
		refused(t, name, err, false)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		_, err := message.ParseScript(bad, &key, issuer)
		refused(t, "changed", err, false)
	}
	_, err = message.ParseScript(s.MAC(key), &key, issuer)
	refused(t, "a MAC in place of a signature", err, false)
	s.Verb = message.Erase
	_, err = message.ParseScript(signed(s), &key, issuer)
	refused(t, "a signature in place of a MAC", err, false)
}

// TestApplicationBounds: each part has a length, and together they are all there is.
func TestApplicationBounds(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(a *message.Application)
		ok   bool
	}{
		"least": {func(*message.Application) {}, true}, "no identifier": {func(a *message.Application) { a.AID = nil }, false},
		"a long identifier": {func(a *message.Application) { a.AID = make([]byte, 16) }, true}, "a longer one": {func(a *message.Application) { a.AID = make([]byte, 17) }, false},
		"long keys": {func(a *message.Application) {
			a.Purchase, a.TAC, a.Secret = make([]byte, 512), make([]byte, 512), make([]byte, 512)
		}, true},
		"a longer key": {func(a *message.Application) { a.Purchase = make([]byte, 513) }, false}, "a longer secret": {func(a *message.Application) { a.Secret = make([]byte, 513) }, false},
		"no TAC key": {func(a *message.Application) { a.TAC = nil }, false}, "no secret": {func(a *message.Application) { a.Secret = nil }, false},
		"no key version": {func(a *message.Application) { a.KeyVersion = 0x10 }, false}, "the last one": {func(a *message.Application) { a.KeyVersion = 0x1F }, true},
	} {
		a := message.Application{Issuer: [8]byte{1, 7: 2}, AppType: 3, AppVersion: 4, ASN: [10]byte{5, 9: 6}, From: [4]byte{7, 3: 8}, To: [4]byte{9, 3: 10},
			KeyVersion: 1, Algorithm: 11, AID: []byte{12}, Purchase: []byte{13}, TAC: []byte{14}, Secret: []byte{15}}
		tc.edit(&a)
		got, err := message.ParseApplication(a.Bytes())
		if refused(t, name, err, tc.ok); err == nil && !reflect.DeepEqual(got, a) {
			t.Errorf("%s: read as %+v", name, got)
		}
		if err != nil {
			continue
		}
		for i := range a.Bytes() {
			_, err := message.ParseApplication(a.Bytes()[:i])
			refused(t, "cut", err, false)
		}
		_, err = message.ParseApplication(append(a.Bytes(), 0))
		refused(t, "a byte more", err, false)
	}
}

func word(t *testing.T) credential.Credential {
	t.Helper()
	n, err := token.ParseNumber("3104201234567890123")
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2026, 3, 2, 19, 0, 0, 0, time.UTC)
	c, err := credential.Credential{Number: n, NotBefore: end.AddDate(0, 0, -1), NotAfter: end, MaxTap: 1000, Limit: 60000, CtrFirst: 3, CtrCount: 9}.
		Sign(func([32]byte) ([64]byte, error) { return [64]byte{1}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLimitBounds: one to eight runs of slots that can be.
func TestLimitBounds(t *testing.T) {
	runs := func(rs ...message.Run) []message.Run { return rs }
	r := message.Run{Class: credential.Medium, Cap: 1000, Count: 2}
	for name, tc := range map[string]struct {
		runs []message.Run
		ok   bool
	}{
		"none": {nil, false}, "one": {runs(r), true}, "eight": {slices.Repeat(runs(r), 8), true}, "nine": {slices.Repeat(runs(r), 9), false},
		"no slot": {runs(r, message.Run{Class: 1, Cap: 10}), false}, "no cap": {runs(message.Run{Class: 1, Count: 1}), false}, "no class": {runs(message.Run{Cap: 10, Count: 1}), false},
		"a class more": {runs(message.Run{Class: 5, Cap: 10, Count: 1}), false}, "ends": {runs(message.Run{Class: 1, Cap: 10, Count: 255}, message.Run{Class: 4, Cap: 655350, Count: 1}), true},
	} {
		l := message.Limit{First: 0x0102, Runs: tc.runs, Credential: word(t)}
		got, err := message.ParseLimit(l.Bytes())
		refused(t, name, err, tc.ok)
		if err == nil && (got.First != l.First || !reflect.DeepEqual(got.Runs, l.Runs) || !bytes.Equal(got.Bytes(), l.Bytes())) {
			t.Errorf("%s: read as %+v", name, got)
		}
		for _, bad := range [][]byte{append(l.Bytes(), 0), l.Bytes()[1:], l.Bytes()[:2], nil} {
			_, err := message.ParseLimit(bad)
			refused(t, name+", another length", err, false)
		}
	}
}

// TestLimitOfSlots: slots of one kind in turn are one run, and come back as they were.
func TestLimitOfSlots(t *testing.T) {
	c := word(t)
	ud := func(ctr int, class credential.Class, cap token.Amount) credential.UD {
		u, err := credential.NewUD(c.NotAfter, uint16(ctr), cap, class, 1)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	var uds []credential.UD
	for i := range 300 {
		uds = append(uds, ud(i+3, credential.Medium, 1000))
	}
	uds = append(uds, ud(303, credential.Medium, 990), ud(304, credential.Small, 990), ud(305, credential.Small, 990))
	l, err := message.NewLimit(uds, c)
	want := []message.Run{{Class: 3, Cap: 1000, Count: 255}, {Class: 3, Cap: 1000, Count: 45}, {Class: 3, Cap: 990, Count: 1}, {Class: 2, Cap: 990, Count: 2}}
	if err != nil || l.First != 3 || !reflect.DeepEqual(l.Runs, want) {
		t.Fatalf("%+v, %v", l.Runs, err)
	}
	if got, err := l.UDs(1); err != nil || !slices.Equal(got, uds) {
		t.Errorf("%d slots came back: %v", len(got), err)
	}
	for name, bad := range map[string][]credential.UD{"none": nil, "a gap": {uds[0], uds[2]}, "backwards": {uds[1], uds[0]}} {
		_, err := message.NewLimit(bad, c)
		refused(t, name, err, false)
	}
	var mixed []credential.UD
	for i := range 9 {
		mixed = append(mixed, ud(i, credential.Class(1+i%2), 10))
	}
	_, err = message.NewLimit(mixed[:8], c)
	refused(t, "eight kinds", err, true)
	_, err = message.NewLimit(mixed, c)
	refused(t, "nine kinds", err, false)
	for first, ok := range map[uint16]bool{0xFFFE: true, 0xFFFF: false} {
		_, err := message.Limit{First: first, Runs: []message.Run{{Class: 1, Cap: 10, Count: 2}}, Credential: c}.UDs(1)
		refused(t, "the last counters", err, ok)
	}
}

// TestReceiptBounds: an element remembers so much and is in one of its states.
func TestReceiptBounds(t *testing.T) {
	u, err := credential.NewUD(word(t).NotAfter, 3, 1000, credential.Medium, 1)
	if err != nil {
		t.Fatal(err)
	}
	tap := payload.Tap{Number: word(t).Number, UD: u, Seq: 3, Amount: 300, Type: 6}
	of := func(state message.State, live, taps int) message.Receipt {
		r := message.Receipt{Serial: serial, Seq: 1, Number: 2, State: state, Tries: 3, Balance: 4, ASN: [10]byte{5}}
		for i := range live {
			r.Live = append(r.Live, uint16(1000+i))
		}
		for range taps {
			r.Taps = append(r.Taps, tap)
		}
		return r
	}
	for name, tc := range map[string]struct {
		r  message.Receipt
		ok bool
	}{
		"bare": {of(message.Issued, 0, 0), true}, "erased": {of(message.Erased, 0, 0), true}, "in no state": {of(0, 0, 0), false}, "in another": {of(3, 0, 0), false},
		"some": {of(message.Issued, 2, 3), true}, "all": {of(message.Issued, message.MaxSlots, message.MaxSlots), true},
		"a slot more": {of(message.Issued, message.MaxSlots+1, 0), false}, "a tap more": {of(message.Issued, 0, message.MaxSlots+1), false},
	} {
		b := tc.r.Bytes(key)
		got, err := message.ParseReceipt(b, serial, key)
		if refused(t, name, err, tc.ok); err == nil && !bytes.Equal(got.Bytes(key), b) {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
	whole := of(message.Issued, 2, 0).Bytes(key)
	sealed := func(b []byte) []byte {
		m := hmac.New(sha256.New, key[:])
		m.Write(append([]byte("tapvault/element/receipt/v1"), b...))
		return append(slices.Clip(b), m.Sum(nil)[:16]...)
	}
	body := whole[:len(whole)-16]
	for name, tc := range map[string]struct {
		body []byte
		ok   bool
	}{"as it is": {body, true}, "another version": {append([]byte{body[0] ^ 1}, body[1:]...), false}, "a slot more than it says": {append(slices.Clip(body), 0, 1), false},
		"half a slot less": {body[:len(body)-1], false}} {
		_, err := message.ParseReceipt(sealed(tc.body), serial, key)
		refused(t, name, err, tc.ok)
	}
	_, err = message.ParseReceipt(of(message.Issued, 0, 0).Bytes(message.Key{}), serial, message.Key{})
	refused(t, "under no key", err, false)
}

// TestSecrets: a script key comes alone or with a PIN.
func TestSecrets(t *testing.T) {
	pin, err := mask.ParsePIN([]byte("482915"))
	if err != nil {
		t.Fatal(err)
	}
	for _, with := range []bool{false, true} {
		b := message.Secret(&key, pin, with)
		k, p, has, err := message.ParseSecret(b)
		if err != nil || k != key || has != with || with && string(p.AppendTo(nil)) != "482915" {
			t.Errorf("with a PIN %v: it has one %v, %v", with, has, err)
		}
		for _, bad := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 0), nil} {
			_, _, has, err := message.ParseSecret(bad)
			if refused(t, "another length", err, false); has {
				t.Error("it has a PIN all the same")
			}
		}
	}
	_, _, has, err := message.ParseSecret(append(key[:], "48291x"...))
	if refused(t, "letters", err, false); has {
		t.Error("it has a PIN of letters")
	}
}
