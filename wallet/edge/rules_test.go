package edge_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/mask"
)

type deafHSM struct {
	keys interface {
		Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) ([]byte, error)
		UnsealSecret(ctx context.Context, ref keyref.Ref, sealed, aad []byte, use func(secret []byte) error) error
		HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error)
	}
}

func (d deafHSM) Seal(ctx context.Context, ref keyref.Ref, plain, aad []byte) ([]byte, error) {
	return d.keys.Seal(ctx, ref, plain, aad)
}

func (d deafHSM) UnsealSecret(ctx context.Context, ref keyref.Ref, sealed, aad []byte, use func([]byte) error) error {
	return d.keys.UnsealSecret(ctx, ref, sealed, aad, use)
}

func (deafHSM) HMAC(context.Context, keyref.Ref, []byte) ([32]byte, error) { return [32]byte{}, errCut }

// TestRule0: the key under MAC1 is never masked, so any PIN pays at a reader, and
// the TAC's key always is, so only the right one gives a good TAC.
func TestRule0(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	for entered, good := range map[string]bool{goodPIN: true, "482914": false, "000000": false} {
		if err := p.EnterPIN(entered); err != nil {
			t.Fatal(err)
		}
		got, err := p.pay(t, 300) // which checks MAC1 and MAC2
		if err != nil {
			t.Fatalf("with one PIN of the two kinds (good: %v) MAC1 or MAC2 fails: %v", good, err)
		}
		if p.tacGood(t, got) != good {
			t.Errorf("TAC good: %v, want %v", !good, good)
		}
	}
}

// TestRule1: what the PIN changes in a bundle are 16 bytes of each slot, and
// nothing else: no tag, padding, check digit, length or type.
func TestRule1(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	l := r.stolen(t, p, false)
	const head, slot, clear = 159, 40, 24 // a slot is UD 8, DPK 16, masked DTK 16
	want := l.open[:]
	if len(want) != head+10*slot {
		t.Fatalf("a bundle of 10 slots has %d bytes", len(want))
	}
	for i, s := range l.payload.Slots {
		at := head + i*slot
		u := s.UD.Bytes()
		if !bytes.Equal(want[at:at+8], u[:]) || !bytes.Equal(want[at+8:at+clear], s.Purchase[:]) || !bytes.Equal(want[at+clear:at+slot], s.TAC[:]) {
			t.Errorf("slot %d holds something else", i)
		}
		if s.Purchase != r.purchaseKey(t, p.token, s.UD) {
			t.Errorf("slot %d: the purchase key is not clear", i)
		}
	}
}

// TestRule2: under the mask lies the key as the HSM derived it, with no bit mended.
func TestRule2(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	for _, hardware := range []bool{false, true} {
		l := r.stolen(t, p, hardware)
		s := cheap(pinOf(t, goodPIN), mask.Salt(walletA, l.epoch))
		even := false
		for _, slot := range l.payload.Slots {
			key := l.unmask(slot.TAC, &s, l.bundle, slot.UD.Ctr)
			if key != r.tacKey(t, p.token, slot.UD) {
				t.Fatal("the right PIN unmasks another key")
			}
			if key == slot.TAC {
				t.Error("a key is not masked")
			}
			even = even || !odd(key)
		}
		if !even {
			t.Error("all keys have odd parity")
		}
	}
}

// TestRule3: the token stands in the open device layer, and its number is not in
// what the PIN masks.
func TestRule3(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	l := r.stolen(t, p, false)
	asn := p.token.Number.ASN()
	if !bytes.Equal(l.open[2:12], asn[:]) || l.payload.Credential.Number.Digits() != p.token.Number.Digits() {
		t.Error("the token is not in the device layer")
	}
	s := cheap(pinOf(t, goodPIN), mask.Salt(walletA, l.epoch))
	for _, slot := range l.payload.Slots {
		if key := l.unmask(slot.TAC, &s, l.bundle, slot.UD.Ctr); bytes.Contains(key[:], asn[3:]) {
			t.Error("the token is under the PIN")
		}
	}
}

// TestRule4: a key is sealed once. See [TestProof03Redelivery] for the bytes; here
// the store refuses what would seal keys of one token twice.
func TestRule4(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	for name, edit := range map[string]func(*wallet.Grant){
		"another device": func(g *wallet.Grant) { g.Device = "dvZZZZZZZZZZZZZZZZZZZZZZZZZZ" },
		"another PIN": func(g *wallet.Grant) {
			g.PINEpoch = 2
			g.Lend = func(_ context.Context, use func(*mask.Secret) error) error { return use(&mask.Secret{}) }
		},
	} {
		g := r.grant(t, p, 2)
		d, err := r.devices.Device(t.Context(), p.id)
		if err != nil {
			t.Fatal(err)
		}
		g.WrapKey = d.WrapKey
		edit(&g)
		if _, err := r.bundles.Make(t.Context(), caller, g); !errors.Is(err, wallet.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRule5: no key of a bundle follows from another: nothing that the phone holds
// diversifies or enciphers to a key of another slot.
func TestRule5(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	l := r.stolen(t, p, false)
	keys := map[[16]byte]string{}
	var held [][16]byte
	for _, s := range l.payload.Slots {
		for _, k := range [][16]byte{s.Purchase, r.tacKey(t, p.token, s.UD)} {
			if keys[k] != "" {
				t.Error("two slots share a key")
			}
			keys[k], held = "slot", append(held, k)
		}
	}
	held = append(held, l.payload.Script)
	for _, parent := range held {
		for _, s := range l.payload.Slots {
			if keys[diversified(parent, s.UD)] != "" {
				t.Error("a key of the bundle is the parent of another")
			}
		}
	}
}

// TestRule6: what a phone stores tells nothing of MAC1, MAC2 and TAC.
func TestRule6(t *testing.T) {
	r := newRig(t)
	p := r.blank(t, walletA)
	dir := t.TempDir()
	p.Handset = r.handset(t, walletA, func(ref token.Ref) (bundle.Journal, error) { return bundle.OpenFile(dir, string(ref)) })
	p.enrol(t, r.attested())
	p.setPIN(t, goodPIN)
	p.bind(t)
	p.sync(t)
	if err := p.EnterPIN(goodPIN); err != nil {
		t.Fatal(err)
	}
	got, err := p.pay(t, 300)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join(dir, string(p.token.Ref)+".journal"))
	if err != nil || len(stored) < 200 {
		t.Fatalf("%d bytes stored, %v", len(stored), err)
	}
	q, err := p.Sync(p.token.Ref)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][4]byte{"MAC1": got.mac1, "MAC2": got.mac2, "TAC": got.tac} {
		text := hex.EncodeToString(secret[:])
		if bytes.Contains(stored, secret[:]) || strings.Contains(strings.ToLower(string(stored)+q.Signed), text) {
			t.Errorf("%s is stored", name)
		}
	}
}

// TestRule7: when MAC2 is out, the slot's keys are gone, also for a phone that is
// taken apart and put together again from what it stores.
func TestRule7(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	if err := p.EnterPIN(goodPIN); err != nil {
		t.Fatal(err)
	}
	first, debit, err := p.begin(t, 300)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.send(t, "805401000F", debit...); err != nil {
		t.Fatal(err)
	}
	if p.Count(p.token.Ref) != 9 {
		t.Error("the slot is still there")
	}
	if _, err := p.send(t, "805401000F", debit...); !errors.Is(err, errPhone) {
		t.Error("the slot pays twice")
	}
	next, _, err := p.begin(t, 300)
	if err != nil || next.ud.Ctr != first.ud.Ctr+1 {
		t.Errorf("the next slot is %d after %d (%v)", next.ud.Ctr, first.ud.Ctr, err)
	}
}

// TestRule8: offline the phone treats all PINs alike.
func TestRule8(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	for _, entered := range []string{goodPIN, "482914", "000000"} {
		if err := p.EnterPIN(entered); err != nil {
			t.Errorf("an entry is judged: %v", err)
		}
		if _, err := p.pay(t, 100); err != nil {
			t.Errorf("an entry does not pay: %v", err)
		}
		p.Lock()
		if _, err := p.pay(t, 100); !errors.Is(err, errPhone) {
			t.Errorf("it pays while it is locked: %v", err)
		}
	}
	for _, none := range []string{"", "48291", "4829150", "48291x"} {
		if p.EnterPIN(none) == nil {
			t.Errorf("%q is taken for a PIN", none)
		}
	}
}

// TestRule9: whatever does not hold at a sync is the one refusal. PINs are in
// [TestProof20PINOracle], the bytes of the answer in TestRule9AtTheEdge.
func TestRule9(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	q, err := p.Sync(p.token.Ref)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() (token.DeviceID, string){
		"unknown device": func() (token.DeviceID, string) { return "dvZZZZZZZZZZZZZZZZZZZZZZZZZZ", q.Signed },
		"forged": func() (token.DeviceID, string) {
			bad := []byte(q.Signed)
			if at := &bad[len(bad)-10]; *at == 'A' { // still base64url
				*at = 'B'
			} else {
				*at = 'A'
			}
			return q.Device, string(bad)
		},
	} {
		d, jws := change()
		_, err := r.Sync(t.Context(), caller, d, jws)
		uniform(t, name, err)
	}
	delete(r.accounts.bound, p.token.Ref)
	_, err = r.Sync(t.Context(), caller, q.Device, q.Signed)
	uniform(t, "unbound", err)
}

// TestTenBadMACs close the window, and cost no slot.
func TestTenBadMACs(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	p.sync(t)
	if err := p.EnterPIN(goodPIN); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_, debit, err := p.begin(t, 300)
		if err != nil {
			t.Fatal(err)
		}
		debit[len(debit)-2] ^= 1
		if _, err := p.send(t, "805401000F", debit...); !errors.Is(err, errPhone) {
			t.Fatal("a bad MAC1 is taken")
		}
	}
	if _, _, err := p.begin(t, 300); !errors.Is(err, errPhone) || p.Count(p.token.Ref) != 10 {
		t.Errorf("the window is open after ten bad MAC1 (%v), %d slots are left", err, p.Count(p.token.Ref))
	}
	if err := p.EnterPIN(goodPIN); err != nil {
		t.Fatal(err)
	}
	if _, err := p.pay(t, 300); err != nil {
		t.Errorf("after the PIN was entered again: %v", err)
	}
}
