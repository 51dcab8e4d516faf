package terminal_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

func TestTap(t *testing.T) {
	onEstates(t, func(t *testing.T, r *rig) {
		reader := r.reader(t)
		for n := range uint16(wallettest.Slots) {
			tap, err := reader.Tap(t.Context(), r.phone, 300)
			if err != nil {
				t.Fatal(err)
			}
			if tap.Seq != n+1 || tap.TermSeq != uint32(n)+1 || !tap.Phone || tap.Number().Digits() != wallettest.Number ||
				tap.Balance != 1000*uint32(wallettest.Slots-int(n)) || tap.Terminal != number || tap.Proof {
				t.Errorf("tap %d: %+v", n, tap)
			}
			path, err := wallettest.TACMaster.Path(tap.Issuer, keyref.Factor(tap.ASN[2:]), tap.UD.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			tac, err := cryptogram.TAC(t.Context(), r.tac, path, cryptogram.TACFold, tap.Purchase())
			if err != nil || tac != tap.TAC {
				t.Errorf("the issuer computes another TAC (%v)", err)
			}
		}
		if r.queue.Pending() != wallettest.Slots {
			t.Errorf("%d taps wait", r.queue.Pending())
		}
		if _, err := reader.Tap(t.Context(), r.phone, 300); !errors.Is(err, terminal.Card) {
			t.Errorf("no slots left: %v", err)
		}
	})
}

func TestTamperedAnswer(t *testing.T) {
	onEstates(t, func(t *testing.T, r *rig) {
		r.refuses(t, estates["softkey"](t).phone, terminal.Untrusted, wallettest.Slots) // of another issuer
		tampered := between{r.phone, func(cmd apdu.Command, out []byte) []byte {
			if cmd.INS == 0x54 && len(out) == 10 {
				out[7] ^= 1 // MAC2
			}
			return out
		}}
		if _, err := r.reader(t).Tap(t.Context(), tampered, 300); !errors.Is(err, terminal.BadMAC2) {
			t.Errorf("%v", err)
		}
		if r.phone.Live() != wallettest.Slots-1 || r.queue.Pending() != 1 || r.queue.Seen(wallettestASN(t), 1) {
			t.Errorf("%d slots live, %d records kept", r.phone.Live(), r.queue.Pending())
		}
	})
}

// TestUDLies: the reader itself catches what the credential bounds; what it
// lets pass gives the module another key, and the phone refuses MAC1.
func TestUDLies(t *testing.T) {
	onEstates(t, func(t *testing.T, r *rig) {
		for name, tc := range map[string]struct {
			lie  func(u *credential.UD)
			want terminal.Refusal
		}{
			"ends later":           {func(u *credential.UD) { u.HourExp++ }, terminal.Mismatch},
			"ends earlier":         {func(u *credential.UD) { u.HourExp-- }, terminal.Card},
			"ended already":        {func(u *credential.UD) { u.HourExp -= 13 }, terminal.Window},
			"counter of the next":  {func(u *credential.UD) { u.Ctr++ }, terminal.Mismatch}, // 8050 names another
			"counter out of range": {func(u *credential.UD) { u.Ctr += 100 }, terminal.Mismatch},
			"cap raised":           {func(u *credential.UD) { u.Cap *= 2 }, terminal.Mismatch},
			"cap lowered":          {func(u *credential.UD) { u.Cap-- }, terminal.Card},
			"class":                {func(u *credential.UD) { u.Class = credential.Large }, terminal.Card},
			"key version":          {func(u *credential.UD) { u.KeyVer = 2 }, terminal.Mismatch},
		} {
			t.Run(name, func(t *testing.T) {
				r.refuses(t, presenting(r.phone, func(p *credential.Presentation) { tc.lie(&p.UD) }), tc.want, wallettest.Slots)
			})
		}
	})
}

func TestCredentialLies(t *testing.T) {
	r := softRig(t)
	forger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := token.ParseNumber("3104209999999999999")
	if err != nil {
		t.Fatal(err)
	}
	resign := func(k *ecdsa.PrivateKey, edit func(c *credential.Credential)) func(p *credential.Presentation) {
		return func(p *credential.Presentation) {
			edit(&p.Credential)
			signer := wallettest.Keys{Signer: k}
			c, err := p.Credential.Sign(func(d [32]byte) ([64]byte, error) { return signer.Sign(t.Context(), keyref.Ref{}, d) })
			if err != nil {
				t.Fatal(err)
			}
			p.Credential = c
		}
	}
	issuer := r.issuer.Keys.Signer
	for name, tc := range map[string]struct {
		edit func(p *credential.Presentation)
		want terminal.Refusal
	}{
		"cap raised, not signed": {func(p *credential.Presentation) { p.Credential.MaxTap += 10; p.Credential.Limit += 10 }, terminal.Untrusted},
		"signed by a forger":     {resign(forger, func(*credential.Credential) {}), terminal.Untrusted},
		"wrong key id":           {resign(issuer, func(c *credential.Credential) { c.KeyID = 9 }), terminal.Untrusted},
		"of another token":       {resign(issuer, func(c *credential.Credential) { c.Number = other }), terminal.Mismatch},
		"of another issuer":      {resign(issuer, func(c *credential.Credential) { c.IssuerID[0] ^= 1 }), terminal.Mismatch},
		"of an earlier bundle":   {resign(issuer, func(c *credential.Credential) { c.CtrFirst += 50 }), terminal.Mismatch},
		"expired":                {resign(issuer, func(c *credential.Credential) { c.NotAfter = noon.Add(-3 * time.Minute) }), terminal.Window},
		"future":                 {resign(issuer, func(c *credential.Credential) { c.NotBefore = noon.Add(3 * time.Minute) }), terminal.Window},
		"a proof that fails":     {func(p *credential.Presentation) { p.Proof = credential.Proof{Ctr: p.UD.Ctr, Signature: [64]byte{1}} }, terminal.NoProof},
		"signature cut to zeros": {func(p *credential.Presentation) { p.Credential.Signature = [64]byte{} }, terminal.Untrusted},
	} {
		t.Run(name, func(t *testing.T) {
			r.refuses(t, presenting(r.phone, tc.edit), tc.want, wallettest.Slots)
		})
	}
}

func TestPresentationForm(t *testing.T) {
	r := softRig(t)
	for name, edit := range map[string]func([]byte) []byte{
		"trailing byte": func(b []byte) []byte { return append(b, 0) },
		"short":         func(b []byte) []byte { return b[:len(b)-1] },
		"version":       func(b []byte) []byte { b[0] = 2; return b },
		"empty":         func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r.refuses(t, between{r.phone, func(cmd apdu.Command, out []byte) []byte {
				if cmd.INS != 0xCA {
					return out
				}
				return append(edit(out[:len(out)-2:len(out)-2]), 0x90, 0)
			}}, terminal.Unreadable, wallettest.Slots)
		})
	}
}

func TestAmountOverCap(t *testing.T) {
	r := softRig(t)
	if _, err := r.reader(t).Tap(t.Context(), r.phone, 1001); !errors.Is(err, terminal.OverCap) {
		t.Errorf("%v", err)
	}
	if _, err := r.reader(t).Tap(t.Context(), r.phone, 1000); err != nil {
		t.Errorf("the cap itself: %v", err)
	}
}

func TestClockEdges(t *testing.T) {
	for off, want := range map[time.Duration]error{
		12*time.Hour + 119*time.Second: nil, 12*time.Hour + 121*time.Second: terminal.Window,
		-12*time.Hour - 119*time.Second: nil, -12*time.Hour - 121*time.Second: terminal.Window,
	} {
		r := softRig(t)
		r.offset = off // of the reader's clock; the phone's is right
		tap, err := r.reader(t).Tap(t.Context(), r.phone, 300)
		if !errors.Is(err, want) {
			t.Errorf("%v: %v", off, err)
		}
		if err == nil && tap.At != cryptogram.DateTimeOf(noon.Add(off)) {
			t.Errorf("%v: the tap is dated %v", off, tap.At)
		}
	}
}

// TestReplayedSlot: a copied phone shows a slot that paid here before.
func TestReplayedSlot(t *testing.T) {
	r := softRig(t)
	var shown []byte
	record := between{r.phone, func(cmd apdu.Command, out []byte) []byte {
		if cmd.INS == 0xCA {
			shown = append([]byte(nil), out...)
		}
		return out
	}}
	if _, err := r.reader(t).Tap(t.Context(), record, 300); err != nil {
		t.Fatal(err)
	}
	replay := between{r.phone, func(cmd apdu.Command, out []byte) []byte {
		if cmd.INS == 0xCA {
			return append([]byte(nil), shown...)
		}
		return out
	}}
	if _, err := r.reader(t).Tap(t.Context(), replay, 300); !errors.Is(err, terminal.Seen) {
		t.Errorf("%v", err)
	}
}

// TestTerminalWithoutRelease: a reader that knows nothing of phones takes the
// phone for a plain card, derives two levels, and the phone refuses its MAC1.
func TestTerminalWithoutRelease(t *testing.T) {
	onEstates(t, func(t *testing.T, r *rig) {
		r.policy.Tokens = nil
		r.refuses(t, r.phone, terminal.Card, wallettest.Slots)
	})
}

func TestProofDemanded(t *testing.T) {
	r := softRig(t)
	r.policy.RequireProof = true
	r.refuses(t, r.phone, terminal.NoProof, wallettest.Slots)
}

func TestTornTap(t *testing.T) {
	onEstates(t, func(t *testing.T, r *rig) {
		torn := between{r.phone, func(cmd apdu.Command, out []byte) []byte {
			if cmd.INS == 0x54 {
				return nil // the answer is lost, the debit is done
			}
			return out
		}}
		if _, err := r.reader(t).Tap(t.Context(), torn, 300); err != nil {
			t.Fatal(err)
		}
		if r.phone.Live() != wallettest.Slots-1 || r.queue.Pending() != 1 {
			t.Errorf("%d slots live, %d taps wait", r.phone.Live(), r.queue.Pending())
		}
	})
}

func TestCardGone(t *testing.T) {
	for _, ins := range []byte{0xA4, 0xB0, 0xCA, 0x50} {
		r := softRig(t)
		gone := between{r.phone, func(cmd apdu.Command, out []byte) []byte {
			if cmd.INS == ins {
				return nil
			}
			return out
		}}
		r.refuses(t, gone, terminal.Unreadable, wallettest.Slots)
	}
	r := softRig(t)
	r.module = between{r.module, func(cmd apdu.Command, out []byte) []byte {
		if cmd.INS == 0x70 {
			return []byte{0x6A, 0x88}
		}
		return out
	}}
	r.refuses(t, r.phone, terminal.Module, wallettest.Slots)
}

func TestPolicyRefused(t *testing.T) {
	r := softRig(t)
	for name, p := range map[string]terminal.Policy{
		"no pinned key": {Tokens: r.policy.Tokens},
		"letters":       {Tokens: []terminal.Range{{Prefix: "31A", Length: 19}}, Issuers: r.policy.Issuers},
		"short":         {Tokens: []terminal.Range{{Prefix: "31", Length: 12}}, Issuers: r.policy.Issuers},
		"no prefix":     {Tokens: []terminal.Range{{Length: 19}}, Issuers: r.policy.Issuers},
	} {
		if _, err := terminal.NewReader(t.Context(), terminal.Config{Module: r.module, Queue: r.queue, Policy: p}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := terminal.NewReader(t.Context(), terminal.Config{Module: r.module}); err == nil {
		t.Error("no queue: accepted")
	}
}
