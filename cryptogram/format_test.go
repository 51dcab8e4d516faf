package cryptogram_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

var (
	term = [6]byte{0x10, 0x11, 0x12, 0x13, 0x14, 0x15}
	rnd  = [4]byte{0xA0, 0xA1, 0xA2, 0xA3}
	when = cryptogram.DateTime{0x20, 0x26, 0x03, 0x01, 0x08, 0x30, 0x59}
)

func limit(t testing.TB, fen uint32) cryptogram.Limit {
	t.Helper()
	l, err := cryptogram.NewLimit(fen)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLayouts pins every input byte by byte: field order and widths are those
// of the standard's tables, the counter stands before it was raised, balances
// of receipts after the transaction.
func TestLayouts(t *testing.T) {
	code := [9]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}
	p := cryptogram.Purchase{Rand: rnd, Seq: 0x0102, Amount: 0x03040506, Type: cryptogram.PurchasePurse, Terminal: term, TermSeq: 0x0708090A, At: when}
	c := p
	c.Type, c.AuthCode = cryptogram.PurchaseCAPP, &code
	l := cryptogram.Load{Rand: rnd, Seq: 0x0102, Balance: 0x10000000, Amount: 0x03040506, Type: cryptogram.LoadPurse, Terminal: term, At: when}
	u := cryptogram.Unload{Rand: rnd, Seq: 0x0102, Balance: 0x10000000, Amount: 0x03040506, Terminal: term, At: when}
	o := cryptogram.Overdraft{Rand: rnd, Seq: 0x0102, Balance: 1000, OldLimit: limit(t, 300), NewLimit: limit(t, 0x010203), Terminal: term, At: when}
	in := func(b [8]byte) []byte { return b[:] }
	for _, tc := range []struct {
		name, want string
		got        []byte
	}{
		{"purchase process", "A0A1A2A3 0102 090A", in(p.ProcessInput())},
		{"purchase MAC1", "03040506 06 101112131415 20260301 083059", p.MAC1Input()},
		{"purchase MAC2", "03040506", p.MAC2Input()},
		{"purchase TAC", "03040506 06 101112131415 0708090A 20260301 083059", p.TACInput()},
		{"composite MAC1", "03040506 09 101112131415 20260301 083059 010203040506070809", c.MAC1Input()},
		{"composite TAC", "03040506 09 101112131415 0708090A 20260301 083059", c.TACInput()},
		{"load process", "A0A1A2A3 0102 8000", in(l.ProcessInput())},
		{"load MAC1", "10000000 03040506 02 101112131415", l.MAC1Input()},
		{"load MAC2", "03040506 02 101112131415 20260301 083059", l.MAC2Input()},
		{"load TAC", "13040506 0102 03040506 02 101112131415 20260301 083059", l.TACInput()},
		{"unload process", "A0A1A2A3 0102 8000", in(u.ProcessInput())},
		{"unload MAC1", "10000000 03040506 03 101112131415", u.MAC1Input()},
		{"unload MAC2", "03040506 03 101112131415 20260301 083059", u.MAC2Input()},
		{"unload MAC3", "0CFBFAFA 0102 03040506 03 101112131415 20260301 083059", u.MAC3Input()},
		{"overdraft process", "A0A1A2A3 0102 8000", in(o.ProcessInput())},
		{"overdraft MAC1", "000003E8 00012C 07 101112131415", o.MAC1Input()},
		{"overdraft MAC2", "010203 07 101112131415 20260301 083059", o.MAC2Input()},
		{"overdraft TAC", "000104BF 0102 010203 07 101112131415 20260301 083059", o.TACInput()},
	} {
		if got, want := fmt.Sprintf("%X", tc.got), strings.ReplaceAll(tc.want, " ", ""); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", tc.name, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	p := cryptogram.Purchase{Type: cryptogram.PurchaseCAPP, At: when}
	l := cryptogram.Load{Type: cryptogram.LoadDeposit, Balance: 1, Amount: math.MaxUint32 - 1, At: when}
	u := cryptogram.Unload{Balance: 5, Amount: 5, At: when}
	o := cryptogram.Overdraft{Balance: 10, OldLimit: limit(t, 10), At: when}
	edit := func(f func()) (errs []error) {
		p0, l0, u0, o0 := p, l, u, o
		f()
		errs = []error{p.Validate(), l.Validate(), u.Validate(), o.Validate()}
		p, l, u, o = p0, l0, u0, o0
		return errs
	}
	for _, tc := range []struct {
		name string
		bad  int // which of the four
		f    func()
		want error
	}{
		{"good", -1, func() {}, nil},
		{"a purse's load", -1, func() { l.Type = cryptogram.LoadPurse }, nil},
		{"all that is stored", -1, func() { o.Balance, o.NewLimit = math.MaxUint32, limit(t, 10) }, nil},
		{"a load's type", 0, func() { p.Type = cryptogram.LoadPurse }, cryptogram.ErrTransaction},
		{"no type", 0, func() { p.Type = 0 }, cryptogram.ErrTransaction},
		{"no date", 0, func() { p.At = cryptogram.DateTime{} }, cryptogram.ErrMalformed},
		{"overflow", 1, func() { l.Balance = 2 }, cryptogram.ErrTransaction},
		{"a purchase's type", 1, func() { l.Type = cryptogram.PurchasePurse }, cryptogram.ErrTransaction},
		{"hour 24", 1, func() { l.At[4] = 0x24 }, cryptogram.ErrMalformed},
		{"more than there is", 2, func() { u.Amount = 6 }, cryptogram.ErrTransaction},
		{"not BCD", 2, func() { u.At[3] = 0x0A }, cryptogram.ErrMalformed},
		{"below nothing", 3, func() { o.Balance = 9 }, cryptogram.ErrTransaction},
		{"above all", 3, func() { o.Balance, o.NewLimit = math.MaxUint32, limit(t, 11) }, cryptogram.ErrTransaction},
		{"month 13", 3, func() { o.At[2] = 0x13 }, cryptogram.ErrMalformed},
	} {
		for i, err := range edit(tc.f) {
			if i == tc.bad && !errors.Is(err, tc.want) || i != tc.bad && err != nil {
				t.Errorf("%s: transaction %d: %v", tc.name, i, err)
			}
		}
	}
	if _, err := cryptogram.NewLimit(1 << 24); !errors.Is(err, cryptogram.ErrMalformed) {
		t.Error(err)
	}
	if l := limit(t, 0xFFFFFF); l.Fen() != 0xFFFFFF {
		t.Error(l)
	}
}

func TestDateTime(t *testing.T) {
	zone := time.FixedZone("CST", 8*3600)
	d, err := cryptogram.ParseDateTime("20240229", "235959")
	if err != nil {
		t.Fatal(err)
	}
	at, err := d.In(zone)
	if err != nil || !at.Equal(time.Date(2024, 2, 29, 15, 59, 59, 0, time.UTC)) {
		t.Error(at, err)
	}
	if cryptogram.DateTimeOf(at) != d || d.Date() != "20240229" || d.Clock() != "235959" || d.String() != "20240229235959" {
		t.Error(d)
	}
	for _, bad := range [][2]string{
		{"20230229", "000000"}, {"20241301", "000000"}, {"20240100", "000000"}, {"20240101", "240000"}, {"20240101", "006000"},
		{"20240101", "000060"}, {"2024011", "000000"}, {"20240101", "00000"}, {"", ""}, {"+0240101", "000000"}, {"2024 101", "000000"},
		{"20240101", "0000.0"}, {"２０２４", "000000"}, {"2024010", "1000000"}, {"202401010", "00000"}, {"20240101", "000000.5"},
		{"2024010100", "0000.5"},
	} {
		if _, err := cryptogram.ParseDateTime(bad[0], bad[1]); !errors.Is(err, cryptogram.ErrMalformed) {
			t.Errorf("%q %q: %v", bad[0], bad[1], err)
		}
	}
}

// TestDateTimeIn: every moment is the one that package time reads from the same
// digits, also where a zone sets its clocks, and what it refuses is refused.
func TestDateTimeIn(t *testing.T) {
	days := []string{"00000101", "00010101", "19000229", "19860504", "19910915", "20000229", "20240229",
		"20230229", "20240331", "20241027", "20240431", "20241232", "20241301", "20240001", "20240100", "99991231", "2024A101", "202401F1", "A0200101"}
	clocks := []string{"000000", "015959", "023000", "030000", "235959", "240000", "006000", "000060", "0000A0", "F00000"}
	for _, name := range []string{"UTC", "Asia/Shanghai", "Europe/Berlin"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, day := range days {
			for _, clock := range clocks {
				var d cryptogram.DateTime
				if _, err := hex.Decode(d[:], []byte(day+clock)); err != nil {
					t.Fatal(err)
				}
				want, werr := time.ParseInLocation("20060102150405", day+clock, zone)
				got, err := d.In(zone)
				if (err == nil) != (werr == nil) || !got.Equal(want) || err != nil && !errors.Is(err, cryptogram.ErrMalformed) {
					t.Errorf("%s %s in %s: %v, %v; package time has %v, %v", day, clock, name, got, err, want, werr)
				}
			}
		}
	}
}

func FuzzDateTime(f *testing.F) {
	f.Add("20240229", "235959")
	f.Add("20230229", "000000")
	f.Fuzz(func(t *testing.T, date, clock string) {
		d, err := cryptogram.ParseDateTime(date, clock)
		if err != nil {
			return
		}
		if d.Date() != date || d.Clock() != clock || !d.Valid() {
			t.Errorf("%q %q became %v", date, clock, d)
		}
	})
}

func TestSAMInitShapes(t *testing.T) {
	for n := range 60 {
		_, err := cryptogram.ParseSAMInit(make([]byte, n))
		if good := n == 0x1C || n == 0x24 || n == 0x2C; good != (err == nil) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if err != nil && !errors.Is(err, cryptogram.ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	s := cryptogram.SAMInit{Factors: make([]keyref.Factor, 4)}
	if _, err := s.Path(keyref.Ref{Realm: "r", Usage: keyref.PurchaseMaster, Version: 1}); !errors.Is(err, keyref.ErrMalformed) {
		t.Error(err)
	}
}

func FuzzSAMInit(f *testing.F) {
	for _, s := range []string{
		"594F7D59922600000190062030022805030501002FEAEAB57E4DF7C1",
		"A3F486E54894000123B30620351207004925010027B0E90C7605D74344C39BC88C09FF17",
	} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := cryptogram.ParseSAMInit(b)
		if err != nil {
			return
		}
		if string(s.Bytes()) != string(b) {
			t.Error("print is not the inverse of parse")
		}
		p, err := s.Path(keyref.Ref{Realm: "r", Usage: keyref.PurchaseMaster, Version: 1})
		if err != nil || int(p.Levels) != len(s.Factors) || p.Factors[0] != s.Factors[len(s.Factors)-1] {
			t.Errorf("path %+v, %v", p, err)
		}
	})
}

// TestMessages: what goes wrong is said without repeating what was given.
func TestMessages(t *testing.T) {
	for _, err := range []error{cryptogram.ErrMalformed, cryptogram.ErrTransaction, cryptogram.ErrNoKey, cryptogram.ErrMismatch} {
		if fault.KindOf(err) == fault.Internal || strings.ContainsAny(fault.Text(err), "0123456789") {
			t.Errorf("%v has kind %s", err, fault.KindOf(err))
		}
	}
}
