package apdu_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/terminal/apdu"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommand(t *testing.T) {
	for in, want := range map[string]apdu.Command{
		"80500000":             {CLA: 0x80, INS: 0x50},
		"80CADF0100":           {CLA: 0x80, INS: 0xCA, P1: 0xDF, P2: 1, Ne: 256},
		"00B095001C":           {INS: 0xB0, P1: 0x95, Ne: 28},
		"805A000902001A":       {CLA: 0x80, INS: 0x5A, P2: 9, Data: []byte{0, 0x1A}},
		"805A000902001A08":     {CLA: 0x80, INS: 0x5A, P2: 9, Data: []byte{0, 0x1A}, Ne: 8},
		"00A40400 02 A000 00 ": {INS: 0xA4, P1: 4, Data: []byte{0xA0, 0}, Ne: 256},
	} {
		raw := unhex(t, string(bytes.ReplaceAll([]byte(in), []byte(" "), nil)))
		got, err := apdu.ParseCommand(raw)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if !got.Is(want.CLA, want.INS, want.P1, want.P2) || !bytes.Equal(got.Data, want.Data) || got.Ne != want.Ne {
			t.Errorf("%s: %+v", in, got)
		}
		if !bytes.Equal(got.Bytes(), raw) {
			t.Errorf("%s prints as %X", in, got.Bytes())
		}
	}
	for _, in := range []string{"", "80", "805001", "8050010200FF", "80500102 03 0102", "8050010201010203", "8050010200000102"} {
		raw := unhex(t, string(bytes.ReplaceAll([]byte(in), []byte(" "), nil)))
		if _, err := apdu.ParseCommand(raw); !errors.Is(err, apdu.ErrMalformed) {
			t.Errorf("%s: %v", in, err)
		}
	}
	for name, tc := range map[string]struct {
		c    apdu.Command
		size int
	}{
		"most data": {apdu.Command{Data: make([]byte, 255), Ne: 256}, 4 + 1 + 255 + 1}, "too much": {apdu.Command{Data: make([]byte, 256)}, 0},
		"too much asked for": {apdu.Command{Ne: 257}, 0}, "less than nothing": {apdu.Command{Ne: -1}, 0},
	} {
		if b := tc.c.Bytes(); len(b) != tc.size {
			t.Errorf("%s prints: %X", name, b)
		}
	}
}

// TestIs: a command is another one when any byte of its header is.
func TestIs(t *testing.T) {
	c := apdu.Command{CLA: 0x80, INS: 0x54, P1: 1, P2: 2}
	for i := range 5 {
		h := [4]byte{c.CLA, c.INS, c.P1, c.P2}
		if i < 4 {
			h[i]++
		}
		if got := c.Is(h[0], h[1], h[2], h[3]); got != (i == 4) {
			t.Errorf("%X is %X: %v", c.Bytes(), h, got)
		}
	}
}

func TestResponse(t *testing.T) {
	for size, want := range map[int]int{0: -1, 1: -1, 2: 0, 3: 1, 258: 256, 259: -1} {
		r, err := apdu.ParseResponse(make([]byte, size))
		if want < 0 && !errors.Is(err, apdu.ErrMalformed) || want >= 0 && (err != nil || len(r.Data) != want) {
			t.Errorf("%d bytes: %d of data, %v", size, len(r.Data), err)
		}
	}
}

// answering is a card that gives one answer to everything.
type answering []byte

func (a answering) Transmit(context.Context, []byte) ([]byte, error) {
	if a == nil {
		return nil, errors.New("no card")
	}
	return a, nil
}

func TestExchange(t *testing.T) {
	ctx, c := t.Context(), apdu.Command{CLA: 0x80, INS: 0x5C, P2: 2, Ne: 4}
	d, err := apdu.Exchange(ctx, answering{1, 2, 3, 4, 0x90, 0}, c, 4)
	if err != nil || !bytes.Equal(d, []byte{1, 2, 3, 4}) {
		t.Fatalf("%X, %v", d, err)
	}
	var se apdu.StatusError
	if _, err = apdu.Exchange(ctx, answering{0x93, 2}, c, 4); !errors.As(err, &se) || se.SW != apdu.BadMAC || se.INS != 0x5C {
		t.Errorf("status: %v", err)
	}
	if _, err = apdu.Exchange(ctx, answering{1, 0x90, 0}, c, 4); !errors.Is(err, apdu.ErrMalformed) {
		t.Errorf("short answer: %v", err)
	}
	if _, err = apdu.Exchange(ctx, answering{0x90}, c, 0); !errors.Is(err, apdu.ErrMalformed) {
		t.Errorf("no status: %v", err)
	}
	if _, err = apdu.Exchange(ctx, answering(nil), c, 0); err == nil {
		t.Error("a card that is gone gave an answer")
	}
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte{0x80, 0x54, 1, 0, 2, 1, 2, 8})
	f.Add([]byte{0, 0xB0, 0x95, 0, 28})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := apdu.ParseCommand(b)
		if err == nil && !bytes.Equal(c.Bytes(), b) {
			t.Fatalf("%X prints as %X", b, c.Bytes())
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte{1, 2, 0x90, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := apdu.ParseResponse(b)
		if err == nil && !bytes.Equal(r.Bytes(), b) {
			t.Fatalf("%X prints as %X", b, r.Bytes())
		}
	})
}
