package payload_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/payload"
)

func sample(t testing.TB) payload.Payload {
	t.Helper()
	n, err := token.ParseNumber("3104201234567890123")
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2026, 3, 2, 19, 0, 0, 0, time.UTC)
	c, err := credential.Credential{KeyID: 1, Number: n, NotBefore: end.AddDate(0, 0, -1), NotAfter: end,
		MaxTap: 1000, Limit: 2000, CtrFirst: 3, CtrCount: 2}.Sign(func([32]byte) ([64]byte, error) { return [64]byte{1}, nil })
	if err != nil {
		t.Fatal(err)
	}
	p := payload.Payload{Credential: c, Script: [16]byte{9}}
	for i := range uint16(2) {
		u, err := credential.NewUD(end, 3+i, 1000, credential.Medium, 1)
		if err != nil {
			t.Fatal(err)
		}
		p.Slots = append(p.Slots, payload.Slot{UD: u, Purchase: [16]byte{1, byte(i)}, TAC: [16]byte{2, byte(i)}})
	}
	return p
}

func TestPayload(t *testing.T) {
	p := sample(t)
	b := p.Bytes()
	if len(b) != 2+10+131+16+2*40 || b[0] != 0xB1 || b[1] != 2 {
		t.Fatalf("%d bytes, head %X", len(b), b[:2])
	}
	got, err := payload.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), b) {
		t.Fatal("print is not the inverse of parse")
	}
	got.Wipe()
	if got.Script != [16]byte{} || got.Slots[1] != (payload.Slot{}) {
		t.Error("keys outlive Wipe")
	}
	edit := func(f func(b []byte)) []byte { c := bytes.Clone(b); f(c); return c }
	for name, bad := range map[string][]byte{
		"empty": nil, "trailing byte": append(bytes.Clone(b), 0), "short": b[:len(b)-1],
		"version":         edit(func(b []byte) { b[0] = 0xB2 }),
		"count":           edit(func(b []byte) { b[1] = 1 }),
		"another token":   edit(func(b []byte) { b[11] ^= 1 }),
		"swapped slots":   edit(func(b []byte) { b[159+4], b[199+4] = b[199+4], b[159+4] }),
		"cap raised":      edit(func(b []byte) { b[159+5] = 0xFF }),
		"same slot twice": edit(func(b []byte) { copy(b[199:], b[159:199]) }),
	} {
		if _, err := payload.Parse(bad); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAck(t *testing.T) {
	a := payload.Ack([16]byte{1}, "b1")
	if a == payload.Ack([16]byte{2}, "b1") || a == payload.Ack([16]byte{1}, "b2") || a != payload.Ack([16]byte{1}, "b1") {
		t.Error("an acknowledgement must depend on key and bundle, and on nothing else")
	}
}

func card() payload.Card {
	return payload.Card{AID: []byte{0xA0, 0, 0, 6, 0x32, 1, 1, 5}, Issuer: [8]byte{1, 2}, AppType: 2, AppVersion: 1,
		From: payload.CivilDate(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)), To: [4]byte{0x20, 0x26, 3, 2}, KeyVersion: 1}
}

func TestCard(t *testing.T) {
	h := card().Header()
	c, err := payload.ParseCard(h)
	if err != nil || c.Header() != h || c.From != [4]byte{0x20, 0x26, 3, 1} {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "zz", h + "00", h[2:], "ff" + h[2:]} {
		if _, err := payload.ParseCard(bad); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(sample(f).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := payload.Parse(b); err == nil && !bytes.Equal(p.Bytes(), b) {
			t.Fatal("print is not the inverse of parse")
		}
	})
}

func FuzzCard(f *testing.F) {
	f.Add(card().Header())
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := payload.ParseCard(s); err == nil && c.Header() != s {
			t.Fatal("print is not the inverse of parse")
		}
	})
}
