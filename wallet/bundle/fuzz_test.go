package bundle_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

// split reads commands from fuzz input: a length byte, then that many bytes.
// FF stands for the debit that the card's last initialisation asks for.
func split(in []byte) (commands [][]byte) {
	for len(in) > 0 && len(commands) < 64 {
		n := int(in[0])
		in = in[1:]
		if n == 0xFF {
			commands = append(commands, nil)
			continue
		}
		n = min(n, len(in))
		commands, in = append(commands, in[:n]), in[n:]
	}
	return commands
}

func script(commands ...string) (out []byte) {
	for _, c := range commands {
		b, _ := hex.DecodeString(c)
		if c == "debit" {
			out = append(out, 0xFF)
			continue
		}
		out = append(append(out, byte(len(b))), b...)
	}
	return out
}

// FuzzCard sends arbitrary commands. Whatever they are: the card answers, every
// good debit burns one slot and nothing else burns any, and no answer holds
// bytes of a slot key.
func FuzzCard(f *testing.F) {
	const init = "805003020B01000000640011223344550F"
	f.Add(script(selectAID, "00B095001C", "80CADF0100", init, "80DC00F00101", "debit", "805A000902000108"))
	f.Add(script(selectAID, init, "debit", "debit", init, init, "debit", "805C000204"))
	home, d := newBench(f, &bundle.Memory{}), device(f)
	jwe := sealed(f, home, d)
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := d.Open(jwe)
		if err != nil {
			t.Fatal(err)
		}
		w := &bench{issuer: home.issuer, journal: &bundle.Memory{}, now: noon}
		w.card = w.insert(t, b)
		keys := slotKeys(t, w)
		for _, c := range split(in) {
			live, debit := w.card.Live(), c == nil
			if debit {
				w.card.Reset()
				if live == 0 {
					continue
				}
				u, pur := w.begin(t, 100)
				text, _, _ := w.debit(t, u, pur)
				c, _ = hex.DecodeString(text)
			}
			out, err := w.card.Transmit(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			r, err := apdu.ParseResponse(out)
			if err != nil {
				t.Fatalf("%X answers %X", c, out)
			}
			burned := live - w.card.Live()
			if debit && (burned != 1 || r.SW != apdu.OK) || !debit && burned != 0 {
				t.Fatalf("%X burned %d slots, %v", c, burned, r.SW)
			}
			for _, k := range keys {
				if bytes.Contains(out, k[:8]) || bytes.Contains(out, k[8:]) {
					t.Fatalf("%X answers with bytes of a key", c)
				}
			}
		}
		if recs, _ := w.journal.Records(); len(recs)+w.card.Live() != wallettest.Slots {
			t.Fatalf("%d records, %d live slots", len(recs), w.card.Live())
		}
	})
}

// slotKeys derives the keys of every slot, as the issuer does.
func slotKeys(t testing.TB, w *bench) (keys [][16]byte) {
	t.Helper()
	w.ok(t, selectAID)
	u, _ := w.begin(t, 0)
	for range wallettest.Slots {
		for _, master := range []keyref.Ref{wallettest.PurchaseMaster, wallettest.TACMaster} {
			path := w.path(t, master, u)
			path.Levels = 2
			got, err := w.issuer.Keys.SlotKeys(t.Context(), path, []keyref.Factor{u.Bytes()})
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, got...)
		}
		u.Ctr++
	}
	w.card.Reset()
	return keys
}

func FuzzOpen(f *testing.F) {
	w, d := newBench(f, &bundle.Memory{}), device(f)
	f.Add(sealed(f, w, d))
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := d.Open(s); err == nil && b.Slots() == 0 {
			t.Fatal("opened to nothing")
		}
	})
}
