package edge_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"testing"

	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/mask"
)

// naive is a build that seals what should not be under a PIN. It is here so that
// the attacks are known to work: an attack that finds nothing anywhere proves
// nothing.
type naive struct {
	dpk     [16]byte // under the PIN: the key that readers make MAC1 with
	again   [16]byte // the same key under the PIN in another bundle
	bundle2 [16]byte
	parity  [10][16]byte // TAC keys of odd parity, under the PIN
	check   [3]byte      // KCV of the first TAC key
}

// TestProof01Blindness: nothing in a bundle, and nothing that a reader sends,
// tells the right PIN from another, whoever opened the device layer.
func TestProof01Blindness(t *testing.T) {
	r := newRig(t)
	p := r.phone(t, walletA)
	l := r.stolen(t, p, false)
	p.bind(t)
	la := r.stolen(t, p, true)
	all, first, second := stretched(t, walletA, l.epoch), l.payload.Slots[0], l.payload.Slots[1]
	under1 := l.masks(t, all, l.bundle, first.UD.Ctr)
	t.Run("every PIN gives a key", func(t *testing.T) {
		for name, masks := range map[string][][16]byte{
			"tier A": la.masks(t, all, la.bundle, la.payload.Slots[0].UD.Ctr), "tier B": slices.Clone(under1),
		} {
			slices.SortFunc(masks, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
			if n := len(slices.Compact(masks)); n != allPINs {
				t.Errorf("%s: %d keys of %d PINs", name, n, allPINs)
			}
		}
	})

	// The same slots as a naive build would have sealed them.
	secret := cheap(pinOf(t, goodPIN), mask.Salt(walletA, l.epoch))
	n := naive{bundle2: [16]byte{0xEE}, check: kcv(l.unmask(first.TAC, &secret, l.bundle, first.UD.Ctr))}
	n.dpk = l.unmask(first.Purchase, &secret, l.bundle, first.UD.Ctr)
	n.again = l.unmask(first.Purchase, &secret, n.bundle2, first.UD.Ctr)
	for i, s := range l.payload.Slots {
		key := madeOdd(l.unmask(s.TAC, &secret, l.bundle, s.UD.Ctr))
		n.parity[i] = l.unmask(key, &secret, l.bundle, s.UD.Ctr)
	}
	find := func(check func(i int) bool) []string { return guess(0, allPINs, check) }
	nothing := func(t *testing.T, found []string) {
		t.Helper()
		if slices.Contains(found, goodPIN) {
			t.Errorf("the right PIN is among %d that are left", len(found))
		}
	}
	unique := func(t *testing.T, found []string) {
		t.Helper()
		if len(found) != 1 || found[0] != goodPIN {
			t.Errorf("the attack does not work: %d PINs are left", len(found))
		}
	}

	t.Run("E2: a visit to a reader, which says MAC1", func(t *testing.T) {
		q := purchaseOf(first.UD)
		said := mac1(first.Purchase, q)
		nothing(t, find(func(i int) bool { return mac1(xor(first.TAC, under1[i]), q) == said }))
		unique(t, find(func(i int) bool { return mac1(xor(n.dpk, under1[i]), q) == said }))
	})
	t.Run("E3: one key sealed twice", func(t *testing.T) {
		under2 := l.masks(t, all, l.bundle, second.UD.Ctr)
		again := l.masks(t, all, n.bundle2, first.UD.Ctr)
		// Our bundle has no key twice: what one slot unmasks to, no other does.
		nothing(t, find(func(i int) bool { return xor(first.TAC, under1[i]) == xor(second.TAC, under2[i]) }))
		unique(t, find(func(i int) bool { return xor(n.dpk, under1[i]) == xor(n.again, again[i]) }))
	})
	t.Run("E4: parity", func(t *testing.T) {
		parity := func(of func(i int) [16]byte) func(i int) bool {
			return func(pin int) bool {
				if !odd(xor(of(0), under1[pin])) {
					return false
				}
				for i, slot := range l.payload.Slots[1:] {
					if !odd(l.unmask(of(1+i), &all[pin], l.bundle, slot.UD.Ctr)) {
						return false
					}
				}
				return true
			}
		}
		nothing(t, find(parity(func(i int) [16]byte { return l.payload.Slots[i].TAC })))
		unique(t, find(parity(func(i int) [16]byte { return n.parity[i] })))
	})
	t.Run("E4: check value", func(t *testing.T) {
		held := map[[3]byte]bool{} // any three bytes that the phone holds could be one
		for i := range len(l.open) - 2 {
			held[[3]byte(l.open[i:])] = true
		}
		nothing(t, find(func(i int) bool { return held[kcv(xor(first.TAC, under1[i]))] }))
		found := find(func(i int) bool { return kcv(xor(first.TAC, under1[i])) == n.check })
		if !slices.Contains(found, goodPIN) || len(found) > 5 {
			t.Errorf("the attack does not work: %d PINs are left", len(found))
		}
	})
	t.Run("the credential's signature as a check", func(t *testing.T) { signatureAsCheck(t, l, all) })
}

// signatureAsCheck: with the token under the PIN, each guess gives a token, and
// the issuer's public key tells which one is signed. A thousand PINs are enough
// to see it: a signature is dear to check.
func signatureAsCheck(t *testing.T, l loot, all []mask.Secret) {
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.payload.Credential.Sign(func(d [32]byte) (sig [64]byte, err error) {
		a, b, err := ecdsa.Sign(rand.Reader, issuer, d[:])
		if err == nil {
			a.FillBytes(sig[:32])
			b.FillBytes(sig[32:])
		}
		return sig, err
	})
	if err != nil {
		t.Fatal(err)
	}
	pinned := credential.Keys{c.KeyID: &issuer.PublicKey}
	signed := func(number [16]byte) bool { // the token's BCD in place of the credential's
		b := c.Bytes()
		copy(b[7:17], number[:10])
		got, err := credential.Parse(b[:])
		return err == nil && got.Verify(pinned) == nil
	}
	var number [16]byte
	body := c.Bytes()
	copy(number[:], body[7:17])
	const low, some = 482_000, 1000
	sealed := l.unmask(number, &all[482_915], l.bundle, 0)
	found := guess(low, some, func(i int) bool { return signed(l.unmask(sealed, &all[i], l.bundle, 0)) })
	if len(found) != 1 || found[0] != goodPIN {
		t.Errorf("the attack does not work: %v", found)
	}
	for _, slot := range l.payload.Slots { // what our bundles have under the PIN
		found := guess(low, some, func(i int) bool { return signed(l.unmask(slot.TAC, &all[i], l.bundle, slot.UD.Ctr)) })
		if len(found) != 0 {
			t.Errorf("slot %d: %v", slot.UD.Ctr, found)
		}
	}
}
