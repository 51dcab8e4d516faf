package bundle_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

var (
	noon     = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)
	terminal = [6]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55}
)

const selectAID = "00A4040008A00000063201010500"

// bench is a provisioned phone and what a reader with the right keys knows.
type bench struct {
	issuer  *wallettest.Issuer
	card    *bundle.Card
	journal bundle.Journal
	now     time.Time
}

func newBench(t testing.TB, j bundle.Journal) *bench {
	t.Helper()
	i, err := wallettest.New(t.Context(), t.TempDir(), noon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	b, err := i.Provision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &bench{issuer: i, journal: j, now: noon}
	w.card = w.insert(t, b)
	return w
}

func (w *bench) insert(t testing.TB, b *bundle.Bundle) *bundle.Card {
	t.Helper()
	c, err := bundle.NewCard(b, bundle.Config{Journal: w.journal, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *bench) send(t testing.TB, command string) apdu.Response {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(command, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.card.Transmit(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := apdu.ParseResponse(out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *bench) ok(t testing.TB, command string) []byte {
	t.Helper()
	r := w.send(t, command)
	if r.SW != apdu.OK {
		t.Fatalf("%.8s: %v", command, r.SW)
	}
	return r.Data
}

func (w *bench) refused(t testing.TB, command string, want apdu.Status) {
	t.Helper()
	if r := w.send(t, command); r.SW != want || len(r.Data) != 0 {
		t.Errorf("%s: %v, want %v", command, r.SW, want)
	}
}

// begin selects, reads the slot shown and initialises a purchase of amount.
func (w *bench) begin(t testing.TB, amount uint32) (credential.UD, cryptogram.Purchase) {
	t.Helper()
	w.ok(t, selectAID)
	p, err := credential.ParsePresentation(w.ok(t, "80CADF0100"))
	if err != nil {
		t.Fatal(err)
	}
	b := w.ok(t, "805003020B 01"+hexUint(amount)+hex.EncodeToString(terminal[:])+"0F")
	pur := cryptogram.Purchase{Rand: [4]byte(b[11:]), Seq: binary.BigEndian.Uint16(b[4:]), Amount: amount,
		Type: cryptogram.PurchaseCAPP, Terminal: terminal, TermSeq: 77, At: cryptogram.DateTimeOf(w.now)}
	if pur.Seq != p.UD.Ctr {
		t.Fatalf("8050 names slot %d, DF01 slot %d", pur.Seq, p.UD.Ctr)
	}
	return p.UD, pur
}

// path leads to a key of the slot u.
func (w *bench) path(t testing.TB, master keyref.Ref, u credential.UD) keyref.Path {
	t.Helper()
	tok, err := w.issuer.Tokens.Token(t.Context(), wallettest.Ref)
	if err != nil {
		t.Fatal(err)
	}
	asn := tok.Number.ASN()
	p, err := master.Path(wallettest.IssuerID, keyref.Factor(asn[2:]), u.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// debit is the 8054 of pur with the right MAC1, and the MAC2 and TAC that a
// PSAM and the issuer expect.
func (w *bench) debit(t testing.TB, u credential.UD, pur cryptogram.Purchase) (command string, mac2, tac [4]byte) {
	t.Helper()
	ring := w.issuer.Keys.Ring
	mac1, mac2, err := cryptogram.PurchaseMACs(t.Context(), ring, w.path(t, wallettest.PurchaseMaster, u), pur)
	if err != nil {
		t.Fatal(err)
	}
	tac, err = cryptogram.TAC(t.Context(), ring, w.path(t, wallettest.TACMaster, u), cryptogram.TACFold, pur)
	if err != nil {
		t.Fatal(err)
	}
	return "805401000F" + hexUint(pur.TermSeq) + hex.EncodeToString(pur.At[:]) + hex.EncodeToString(mac1[:]) + "08", mac2, tac
}

func hexUint(n uint32) string { return hex.EncodeToString(binary.BigEndian.AppendUint32(nil, n)) }

func TestWholeTap(t *testing.T) {
	w := newBench(t, &bundle.Memory{})
	fci := w.ok(t, selectAID)
	if !bytes.HasPrefix(fci, []byte{0x6F, byte(len(fci) - 2), 0x84, 8, 0xA0}) {
		t.Errorf("FCI %X", fci)
	}
	f15 := w.ok(t, "00B095001C")
	tok, _ := w.issuer.Tokens.Token(t.Context(), wallettest.Ref)
	asn := tok.Number.ASN()
	if len(f15) != 28 || !bytes.Equal(f15[:8], wallettest.IssuerID[:]) || !bytes.Equal(f15[10:20], asn[:]) ||
		!bytes.Equal(f15[20:], []byte{0x20, 0x26, 0x03, 0x01, 0x20, 0x26, 0x03, 0x02}) {
		t.Errorf("file 0015: %X", f15)
	}
	if b := w.ok(t, "805C000204"); binary.BigEndian.Uint32(b) != 3000 {
		t.Errorf("balance %X", b)
	}
	for n := range wallettest.Slots {
		u, pur := w.begin(t, 300)
		if int(u.Ctr) != 1+n {
			t.Fatalf("slot %d came as number %d", u.Ctr, n)
		}
		w.ok(t, "80DC00F003 010203")
		command, mac2, tac := w.debit(t, u, pur)
		got := w.ok(t, command)
		if !bytes.Equal(got, append(tac[:], mac2[:]...)) {
			t.Fatal("TAC or MAC2 differs")
		}
		if w.card.Live() != wallettest.Slots-n-1 {
			t.Fatalf("%d slots live", w.card.Live())
		}
	}
	w.ok(t, selectAID)
	w.refused(t, "80CADF0100", apdu.Conditions)
	w.refused(t, "805003020B01000000640011223344550F", apdu.Conditions)
}

func TestCommands(t *testing.T) {
	w := newBench(t, &bundle.Memory{})
	w.refused(t, "00B095001C", apdu.Conditions) // nothing before SELECT
	w.refused(t, "80CADF0100", apdu.Conditions)
	w.refused(t, "805003020B01000000640011223344550F", apdu.Conditions)
	w.refused(t, "00A4040008A00000063201010600", apdu.FileNotFound)
	w.ok(t, selectAID)
	for command, sw := range map[string]apdu.Status{
		"00":                                     apdu.WrongLength,
		"A0A40000":                               apdu.UnknownCLA,
		"00C0000004":                             apdu.UnknownINS,
		"8052000004":                             apdu.UnknownINS,
		"80CADF0201":                             apdu.KeyNotFound,
		"80CADF0110":                             apdu.WrongLength,
		"00B0960006":                             apdu.FileNotFound,
		"00B0951D01":                             apdu.WrongOffset,
		"00B095001D":                             apdu.WrongLength,
		"805000020B01000000640011223344550F":     apdu.Conditions, // load
		"805005010B01000000640011223344550F":     apdu.Conditions, // unload
		"805009020B01000000640011223344550F":     apdu.WrongP1P2,
		"805003020A010000006400112233440F":       apdu.WrongLength,
		"805003020B0100000064001122334455":       apdu.OK, // without Le
		"805003020B02000000640011223344550F":     apdu.KeyIndex,
		"805003020B01000003E90011223344550F":     apdu.Insufficient, // 1001 fen over a cap of 1000
		"805003020BFFFFFFFFFF0011223344550F":     apdu.KeyIndex,
		"805003020B01FFFFFFFF0011223344550F":     apdu.Insufficient,
		"805C000104":                             apdu.WrongP1P2,
		"805C000205":                             apdu.WrongLength,
		"805A000902000108":                       apdu.ProofUnavailable,
		"805A010902000108":                       apdu.WrongP1P2,
		"805A0009010008":                         apdu.WrongLength,
		"805401000E" + strings.Repeat("00", 14):  apdu.WrongLength,
		"805402000F" + strings.Repeat("00", 15):  apdu.WrongP1P2,
		"80DC00F001FF":                           apdu.Conditions,
		"80500302000B01000000640011223344550F00": apdu.WrongLength, // extended length
	} {
		r := w.send(t, command)
		if r.SW != sw {
			t.Errorf("%s: %v, want %v", command, r.SW, sw)
		}
		w.card.Reset()
		w.ok(t, selectAID)
	}
	w.refused(t, "805401000F"+strings.Repeat("00", 15)+"08", apdu.OutOfOrder)
	if w.card.Live() != wallettest.Slots {
		t.Errorf("%d slots live", w.card.Live())
	}
}

func TestBadMAC1BurnsNothing(t *testing.T) {
	w := newBench(t, &bundle.Memory{})
	u, pur := w.begin(t, 300)
	good, _, _ := w.debit(t, u, pur)
	bad := []byte(good)
	if last := &bad[len(bad)-3]; *last == '0' { // the last digit of MAC1
		*last = '1'
	} else {
		*last = '0'
	}
	w.refused(t, string(bad), apdu.BadMAC)
	w.refused(t, good, apdu.OutOfOrder) // one try for each random number
	if w.card.Live() != wallettest.Slots {
		t.Fatal("a bad MAC1 burned a slot")
	}
	u2, pur2 := w.begin(t, 300)
	if u2 != u || pur2.Rand == pur.Rand {
		t.Error("the next purchase has another slot, or the same random number")
	}
	w.refused(t, good, apdu.BadMAC) // MAC1 of the tap before
	if recs, _ := w.journal.Records(); len(recs) != 0 {
		t.Errorf("%d records", len(recs))
	}
}

func TestAnswerMayBeRepeated(t *testing.T) {
	w := newBench(t, &bundle.Memory{})
	u, pur := w.begin(t, 300)
	command, mac2, tac := w.debit(t, u, pur)
	w.ok(t, command)
	w.refused(t, command, apdu.OutOfOrder) // no second debit
	w.card.Reset()
	w.ok(t, selectAID)
	prove := "805A000902" + hexUint(uint32(u.Ctr))[4:] + "08"
	if got := w.ok(t, prove); !bytes.Equal(got, append(mac2[:], tac[:]...)) {
		t.Error("805A gives other MACs than 8054 did")
	}
	w.refused(t, "805A000902000908", apdu.ProofUnavailable)
	w.refused(t, "805A0006"+prove[8:], apdu.ProofUnavailable) // another type
	w.now = w.now.Add(30 * time.Second)
	w.refused(t, prove, apdu.ProofUnavailable)
}

func TestWindow(t *testing.T) {
	for name, tc := range map[string]struct {
		at   time.Duration
		open bool
	}{
		"121 s early": {-12*time.Hour - 121*time.Second, false}, "119 s early": {-12*time.Hour - 119*time.Second, true},
		"119 s late": {12*time.Hour + 119*time.Second, true}, "121 s late": {12*time.Hour + 121*time.Second, false},
	} {
		w := newBench(t, &bundle.Memory{})
		w.now = noon.Add(tc.at)
		w.ok(t, selectAID)
		want := apdu.OK
		if !tc.open {
			want = apdu.Conditions
		}
		for _, c := range []string{"80CADF0100", "805003020B01000000640011223344550F"} {
			if r := w.send(t, c); r.SW != want {
				t.Errorf("%s: %.8s: %v", name, c, r.SW)
			}
		}
	}
	w := newBench(t, &bundle.Memory{})
	u, pur := w.begin(t, 300)
	command, _, _ := w.debit(t, u, pur)
	w.now = noon.Add(13 * time.Hour) // it closes between initialisation and debit
	w.refused(t, command, apdu.Conditions)
}

// failing loses its disk, before or after a record is written.
type failing struct {
	bundle.Memory
	after bool
}

func (f *failing) Commit(r bundle.Record) error {
	if f.after {
		_ = f.Memory.Commit(r)
	}
	return errors.New("disk lost")
}

func TestCommitFails(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newBench(t, &failing{after: after})
		u, pur := w.begin(t, 300)
		command, _, _ := w.debit(t, u, pur)
		w.refused(t, command, apdu.MemoryFailure)
		if w.card.Live() != wallettest.Slots-1 {
			t.Errorf("after=%v: %d slots live", after, w.card.Live())
		}
		w.refused(t, "805A000902"+hexUint(uint32(u.Ctr))[4:]+"08", apdu.ProofUnavailable)
		if next, _ := w.begin(t, 300); next == u {
			t.Error("the slot may be spent again")
		}
	}
}

func TestContextEnds(t *testing.T) {
	w := newBench(t, &bundle.Memory{})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := w.card.Transmit(ctx, []byte{0, 0xA4, 4, 0}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestUDLies(t *testing.T) {
	for name, lie := range map[string]func(*credential.UD){
		"expiry": func(u *credential.UD) { u.HourExp++ }, "counter": func(u *credential.UD) { u.Ctr++ },
		"cap": func(u *credential.UD) { u.Cap++ }, "class": func(u *credential.UD) { u.Class = credential.Large },
		"key version": func(u *credential.UD) { u.KeyVer++ },
	} {
		w := newBench(t, &bundle.Memory{})
		u, pur := w.begin(t, 300)
		lie(&u) // a reader that believed the lie derives another key, and its MAC1 fails
		command, _, _ := w.debit(t, u, pur)
		if r := w.send(t, command); r.SW != apdu.BadMAC {
			t.Errorf("%s: %v", name, r.SW)
		}
	}
}
