package applet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/tapvault/tapvault/terminal/apdu"
)

// wrong begins a purchase and ends it with a MAC1 that does not hold.
func (s *stand) wrong() apdu.Status {
	s.t.Helper()
	s.sel()
	if _, sw := s.send(apdu.Command{CLA: 0x80, INS: 0x50, P1: 1, P2: 2, Data: append(binary.BigEndian.AppendUint32([]byte{1}, 100), 1, 2, 3, 0, 0, 0), Ne: 15}); sw != apdu.OK {
		return sw
	}
	data := binary.BigEndian.AppendUint32(nil, 7)
	data = append(data, 0x20, 0x26, 0x04, 0x01, 0x12, 0, 0, 0xBA, 0xD0, 0xBA, 0xD0)
	b, sw := s.send(apdu.Command{CLA: 0x80, INS: 0x54, P1: 1, Data: data, Ne: 8})
	if len(b) != 0 {
		s.t.Errorf("a wrong MAC1 is answered by %X", b)
	}
	return sw
}

// TestWrongMAC1: who has no PSAM gets nothing and burns no slot; the tenth wrong MAC1 in a
// row ends what a PIN opened, also when power was taken in between, and a purchase or a
// PIN begins the count anew.
func TestWrongMAC1(t *testing.T) {
	s := ready(t, medium)
	open := func() {
		t.Helper()
		if sw := s.verify("482915"); sw != apdu.OK {
			t.Fatal(sw)
		}
	}
	fails := func(n int) {
		t.Helper()
		for i := range n {
			if sw := s.wrong(); sw != apdu.BadMAC {
				t.Fatalf("wrong MAC1 %d: %v", i+1, sw)
			}
		}
	}
	open()
	fails(9)
	if got := s.tap(100); got.sw != apdu.OK || got.seq != 10 {
		t.Fatalf("after nine: %+v", got)
	}
	fails(9) // a purchase began the count anew
	open()
	fails(9) // and so did the PIN
	s.wrong()
	if got := s.tap(100); got.sw != apdu.Conditions {
		t.Errorf("after ten: %+v", got)
	}
	open()
	if got := s.tap(100); got.sw != apdu.OK || got.seq != 11 {
		t.Errorf("after the PIN: %+v", got)
	}
}

// TestAnswerAgain: a reader that did not hear the answer gets it again, and nobody gets
// another one's.
func TestAnswerAgain(t *testing.T) {
	s := ready(t, medium)
	ask := func(seq uint16, typ byte) ([]byte, apdu.Status) {
		return s.send(apdu.Command{CLA: 0x80, INS: 0x5A, P2: typ, Data: binary.BigEndian.AppendUint16(nil, seq), Ne: 8})
	}
	if _, sw := ask(0, 0); sw != apdu.ProofUnavailable {
		t.Errorf("before any purchase: %v", sw)
	}
	if sw := s.verify("482915"); sw != apdu.OK {
		t.Fatal(sw)
	}
	got := s.tap(100)
	want := append(got.mac2[:], got.tac[:]...)
	if b, sw := ask(got.seq, 6); sw != apdu.OK || !bytes.Equal(b, want) {
		t.Errorf("again: %X, %v; want %X", b, sw, want)
	}
	for _, c := range []struct {
		seq uint16
		typ byte
	}{{got.seq + 1, 6}, {got.seq, 9}} {
		if b, sw := ask(c.seq, c.typ); sw != apdu.ProofUnavailable || len(b) != 0 {
			t.Errorf("purchase %d of type %d: %X, %v", c.seq, c.typ, b, sw)
		}
	}
	s.power()
	s.sel()
	if _, sw := ask(got.seq, 6); sw != apdu.ProofUnavailable {
		t.Errorf("after power was lost: %v", sw)
	}
}
