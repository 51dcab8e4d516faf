package psam_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/psam"
)

var (
	cards    = keyref.Ref{Realm: "transit", Usage: keyref.PurchaseMaster, Version: 1}
	phones   = keyref.Ref{Realm: "transit", Usage: keyref.SlotPurchaseMaster, Version: 1}
	terminal = [6]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55}
	table    = map[psam.KeyID]keyref.Ref{
		{Usage: psam.TwoLevels, Version: 1}:   cards,
		{Usage: psam.ThreeLevels, Version: 1}: phones,
	}
)

func ring(t testing.TB) *softkey.Ring {
	t.Helper()
	r := &softkey.Ring{}
	for ref, key := range map[keyref.Ref]string{
		cards: "00112233445566778899AABBCCDDEEFF", phones: "0F1E2D3C4B5A69788796A5B4C3D2E1F0",
	} {
		k, _ := hex.DecodeString(key)
		if err := r.ImportScratch(t.Context(), ref, k); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func newPSAM(t testing.TB, s psam.Serial) (*psam.PSAM, *softkey.Ring) {
	t.Helper()
	r := ring(t)
	p, err := psam.New(psam.Config{Keys: r, Table: table, Terminal: terminal, Serial: s})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

func send(t testing.TB, p *psam.PSAM, c apdu.Command) apdu.Response {
	t.Helper()
	b, err := p.Transmit(t.Context(), c.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	r, err := apdu.ParseResponse(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func in(levels int) cryptogram.SAMInit {
	f := []keyref.Factor{{1, 2, 3, 4, 5, 6, 7, 8}, {2}, {3}}
	return cryptogram.SAMInit{Rand: [4]byte{9, 8, 7, 6}, Seq: 5, Amount: 300, Type: cryptogram.PurchaseCAPP,
		At: cryptogram.DateTime{0x20, 0x26, 0x03, 0x02, 0x08, 0x30, 0x00}, KeyVersion: 1, Factors: f[:levels]}
}

func init70(s cryptogram.SAMInit) apdu.Command {
	return apdu.Command{CLA: 0x80, INS: 0x70, Data: s.Bytes(), Ne: 8}
}

func credit72(mac []byte) apdu.Command { return apdu.Command{CLA: 0x80, INS: 0x72, Data: mac} }

func TestPurchase(t *testing.T) {
	for name, tc := range map[string]struct {
		levels int
		master keyref.Ref
		lc     int
	}{"card": {2, cards, 0x24}, "phone": {3, phones, 0x2C}} {
		t.Run(name, func(t *testing.T) {
			p, r := newPSAM(t, &psam.Counter{})
			s := in(tc.levels)
			if len(s.Bytes()) != tc.lc {
				t.Fatalf("Lc %X", len(s.Bytes()))
			}
			got := send(t, p, init70(s))
			if got.SW != apdu.OK || len(got.Data) != 8 || !bytes.Equal(got.Data[:4], []byte{0, 0, 0, 1}) {
				t.Fatalf("%v, %X", got.SW, got.Data)
			}
			path, _ := s.Path(tc.master)
			mac1, mac2, err := cryptogram.PurchaseMACs(t.Context(), r, path, s.Purchase(terminal, 1))
			if err != nil || !bytes.Equal(got.Data[4:], mac1[:]) {
				t.Fatalf("MAC1 differs (%v)", err)
			}
			if sw := send(t, p, credit72(mac2[:])).SW; sw != apdu.OK {
				t.Fatalf("good MAC2: %v", sw)
			}
			if sw := send(t, p, credit72(mac2[:])).SW; sw != apdu.OutOfOrder {
				t.Errorf("the same MAC2 again: %v", sw)
			}
			send(t, p, init70(s))
			mac2[3] ^= 1
			if sw := send(t, p, credit72(mac2[:])).SW; sw != apdu.BadMAC {
				t.Errorf("flipped bit: %v", sw)
			}
			mac2[3] ^= 1
			if sw := send(t, p, credit72(mac2[:])).SW; sw != apdu.OutOfOrder {
				t.Errorf("a second guess at MAC2: %v", sw)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	serial := &psam.Counter{}
	p, _ := newPSAM(t, serial)
	edit := func(levels int, f func(*cryptogram.SAMInit)) apdu.Command { s := in(levels); f(&s); return init70(s) }
	nothing := func(*cryptogram.SAMInit) {}
	for name, tc := range map[string]struct {
		c  apdu.Command
		sw apdu.Status
	}{
		"levels without a key":     {edit(1, nothing), apdu.KeyNotFound},
		"unknown key version":      {edit(3, func(s *cryptogram.SAMInit) { s.KeyVersion = 2 }), apdu.KeyNotFound},
		"unknown algorithm":        {edit(3, func(s *cryptogram.SAMInit) { s.Algorithm = 4 }), apdu.WrongData},
		"no such date":             {edit(3, func(s *cryptogram.SAMInit) { s.At[2] = 0x13 }), apdu.WrongData},
		"a load":                   {edit(3, func(s *cryptogram.SAMInit) { s.Type = cryptogram.LoadPurse }), apdu.WrongData},
		"no levels":                {apdu.Command{CLA: 0x80, INS: 0x70, Data: make([]byte, 0x14), Ne: 8}, apdu.WrongLength},
		"half a factor":            {apdu.Command{CLA: 0x80, INS: 0x70, Data: make([]byte, 0x20), Ne: 8}, apdu.WrongLength},
		"credit before initialise": {credit72(make([]byte, 4)), apdu.OutOfOrder},
		"short MAC2":               {credit72(make([]byte, 3)), apdu.WrongLength},
		"another file":             {apdu.Command{INS: 0xB0, P1: 0x95, Ne: 6}, apdu.UnknownINS},
		"file 0016 with data":      {apdu.Command{INS: 0xB0, P1: 0x96, Ne: 6, Data: []byte{1}}, apdu.WrongLength},
		"too much of file 0016":    {apdu.Command{INS: 0xB0, P1: 0x96, Ne: 7}, apdu.WrongLength},
	} {
		if r := send(t, p, tc.c); r.SW != tc.sw || len(r.Data) != 0 {
			t.Errorf("%s: %v, want %v", name, r.SW, tc.sw)
		}
	}
	if n, _ := serial.Next(); n != 1 {
		t.Errorf("refused commands used %d serials", n-1)
	}
	for _, ne := range []int{6, 256} {
		if r := send(t, p, apdu.Command{INS: 0xB0, P1: 0x96, Ne: ne}); !bytes.Equal(r.Data, terminal[:]) {
			t.Errorf("terminal number, of %d bytes: %X", ne, r.Data)
		}
	}
	if _, err := p.Transmit(func() context.Context { c, stop := context.WithCancel(t.Context()); stop(); return c }(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func TestKeysFail(t *testing.T) {
	p, r := newPSAM(t, &psam.Counter{})
	if err := r.Forget(t.Context(), phones); err != nil {
		t.Fatal(err)
	}
	if got := send(t, p, init70(in(3))); got.SW != apdu.Conditions || len(got.Data) != 0 {
		t.Errorf("%v", got.SW)
	}
	if sw := send(t, p, credit72(make([]byte, 4))).SW; sw != apdu.OutOfOrder {
		t.Errorf("credit after a failed initialise: %v", sw)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tb := range map[string]map[psam.KeyID]keyref.Ref{
		"empty":                         {},
		"card master at three levels":   {{Usage: psam.ThreeLevels, Version: 1}: cards},
		"slot master at two levels":     {{Usage: psam.TwoLevels, Version: 1}: phones},
		"no purchase usage":             {{Usage: 0x43, Version: 1}: cards},
		"no levels":                     {{Usage: 0x02, Version: 1}: cards},
		"four levels":                   {{Usage: 0x82, Version: 1}: cards},
		"a TAC master never goes there": {{Usage: psam.ThreeLevels, Version: 1}: {Realm: "transit", Usage: keyref.SlotTACMaster, Version: 1}},
	} {
		if _, err := psam.New(psam.Config{Keys: &softkey.Ring{}, Table: tb, Serial: &psam.Counter{}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, c := range map[string]psam.Config{"no keys": {Table: table, Serial: &psam.Counter{}}, "no serial": {Keys: &softkey.Ring{}, Table: table}} {
		if _, err := psam.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSerialFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial")
	next := func(want uint32) {
		t.Helper()
		s, err := psam.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if n, err := s.Next(); err != nil || n != want {
			t.Fatalf("%d, %v; want %d", n, err, want)
		}
	}
	for want := range uint32(5) {
		next(want + 1)
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) != 16 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	torn := bytes.Clone(b)
	torn[3] ^= 2 // serial 5 stands in the first place; a torn write of it leaves serial 4
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	next(5)
	for name, bad := range map[string][]byte{"zeros": make([]byte, 16), "one place of zeros": make([]byte, 8), "long": append(b, 0)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := psam.OpenFile(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestSerialsEnd: the last serial is given once, and none begins again.
func TestSerialsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial")
	for _, last := range []uint32{math.MaxUint32 - 1, math.MaxUint32} {
		b := binary.BigEndian.AppendUint32(nil, last)
		if err := os.WriteFile(path, binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := psam.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := uint64(last) + 1; n < math.MaxUint32+3; n++ {
			if got, err := s.Next(); (err == nil) != (n <= math.MaxUint32) || err == nil && uint64(got) != n {
				t.Errorf("after %d: %d, %v; want %d", last, got, err, n)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnotherInitialise: MAC2 is of the purchase that was begun last, also when that
// was refused.
func TestAnotherInitialise(t *testing.T) {
	p, r := newPSAM(t, &psam.Counter{})
	s := in(3)
	path, _ := s.Path(phones)
	for i, tc := range []struct {
		second apdu.Command
		want   apdu.Status
	}{{init70(s), apdu.BadMAC}, {apdu.Command{CLA: 0x80, INS: 0x70, Data: make([]byte, 0x14), Ne: 8}, apdu.OutOfOrder}} {
		if sw := send(t, p, init70(s)).SW; sw != apdu.OK {
			t.Fatal(sw)
		}
		_, mac2, err := cryptogram.PurchaseMACs(t.Context(), r, path, s.Purchase(terminal, uint32(2*i+1)))
		if err != nil {
			t.Fatal(err)
		}
		send(t, p, tc.second)
		if sw := send(t, p, credit72(mac2[:])).SW; sw != tc.want {
			t.Errorf("MAC2 of the first of two, case %d: %v, want %v", i, sw, tc.want)
		}
	}
}

// short answers one MAC, however many are asked for.
type short struct{}

func (short) ProcessMAC(context.Context, keyref.Path, [8]byte, ...[]byte) ([][4]byte, error) {
	return make([][4]byte, 1), nil
}

func TestKeysThatAnswerTooLittle(t *testing.T) {
	p, err := psam.New(psam.Config{Keys: short{}, Table: table, Terminal: terminal, Serial: &psam.Counter{}})
	if err != nil {
		t.Fatal(err)
	}
	if got := send(t, p, init70(in(3))); got.SW != apdu.Conditions || len(got.Data) != 0 {
		t.Errorf("%v", got.SW)
	}
}

// TestHold: a key that is loaded later is held from then on, and replaces none; the
// table that a module was made with is its own.
func TestHold(t *testing.T) {
	r, one := ring(t), psam.KeyID{Usage: psam.OneLevel, Version: 1}
	mine := maps.Clone(table)
	p, err := psam.New(psam.Config{Keys: r, Table: mine, Terminal: terminal, Serial: &psam.Counter{}})
	if err != nil {
		t.Fatal(err)
	}
	mine[one] = cards
	if sw := send(t, p, init70(in(1))).SW; sw != apdu.KeyNotFound {
		t.Errorf("a key that nobody gave: %v", sw)
	}
	if err := p.Hold(one, phones); err == nil {
		t.Error("a slot master is held at one level")
	}
	other := cards
	for _, other.Version = range []uint8{1, 2} { // the ring has the first one only
		if err := p.Hold(one, other); err != nil {
			t.Fatal(err)
		}
		if sw := send(t, p, init70(in(1))).SW; sw != apdu.OK {
			t.Errorf("version %d was added: %v", other.Version, sw)
		}
	}
	if other.Version = 0; p.Hold(psam.KeyID{Usage: psam.TwoLevels, Version: 9}, other) == nil {
		t.Error("a key that cannot exist is held")
	}
}

func FuzzPSAM(f *testing.F) {
	f.Add(init70(in(3)).Bytes())
	f.Add(init70(in(2)).Bytes())
	f.Add(credit72([]byte{1, 2, 3, 4}).Bytes())
	p, _ := newPSAM(f, &psam.Counter{})
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := p.Transmit(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := apdu.ParseResponse(out); err != nil || r.SW != apdu.OK && len(r.Data) > 0 {
			t.Fatalf("answer %X: %v", out, err)
		}
	})
}
