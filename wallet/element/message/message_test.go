package message_test

import (
	"bytes"
	"testing"

	"github.com/tapvault/tapvault/wallet/element/message"
)

var (
	serial = message.Serial{1, 2, 3}
	key    = message.Key{4, 5, 6}
)

// FuzzParseReceipt: what is read prints as it was.
func FuzzParseReceipt(f *testing.F) {
	f.Add(message.Receipt{Serial: serial, State: message.Issued, Live: []uint16{1, 2}}.Bytes(key))
	f.Add([]byte{0xE2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := message.ParseReceipt(b, serial, key); err == nil && !bytes.Equal(r.Bytes(key), b) {
			t.Fatal("another receipt is printed than was read")
		}
	})
}

// FuzzParseLimit: what is read prints as it was.
func FuzzParseLimit(f *testing.F) {
	f.Add([]byte{0, 1, 1, 3, 0, 100, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := message.ParseLimit(b); err == nil && !bytes.Equal(l.Bytes(), b) {
			t.Fatal("another limit is printed than was read")
		}
	})
}

// FuzzParseApplication: what is read prints as it was.
func FuzzParseApplication(f *testing.F) {
	f.Add(message.Application{KeyVersion: 1, AID: []byte{1}, Purchase: []byte{2}, TAC: []byte{3}, Secret: []byte{4}}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := message.ParseApplication(b); err == nil && !bytes.Equal(a.Bytes(), b) {
			t.Fatal("another application is printed than was read")
		}
	})
}

// TestDomains: a receipt is no script and a script no receipt, under one key.
func TestDomains(t *testing.T) {
	s := message.Script{Verb: message.Erase, Serial: serial, Seq: 1}.MAC(key)
	if _, err := message.ParseScript(s, &key, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := message.ParseScript(s, &message.Key{}, nil); err == nil {
		t.Error("an element without a key obeys")
	}
	if _, err := message.ParseReceipt(s, serial, key); err == nil {
		t.Error("a script is read as a receipt")
	}
	r := message.Receipt{Serial: serial, State: message.Issued}.Bytes(key)
	if _, err := message.ParseReceipt(r, serial, key); err != nil {
		t.Fatal(err)
	}
	if _, err := message.ParseReceipt(r, message.Serial{9}, key); err == nil {
		t.Error("a receipt of another element is read")
	}
	for i := range r {
		bad := bytes.Clone(r)
		bad[i] ^= 1
		if _, err := message.ParseReceipt(bad, serial, key); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
	}
}
