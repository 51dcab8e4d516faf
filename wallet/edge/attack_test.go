package edge_test

import (
	"context"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"sync"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// loot is what is left to an attacker who broke the phone's device key: the open
// device layer, all of it.
type loot struct {
	payload payload.Payload
	open    []byte // its bytes
	bundle  [16]byte
	epoch   uint32
	hw      mask.HMAC // tier A: usable on the phone only, and counted
}

// stolen makes a real bundle and opens its device layer. The TAC keys in it are
// still under the PIN.
func (r *rig) stolen(t testing.TB, p *phone, hardware bool) loot {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g := r.grant(t, p, 10)
	g.WrapKey, g.Hardware = &k.PublicKey, hardware
	b, err := r.bundles.Make(t.Context(), caller, g)
	if err != nil {
		t.Fatal(err)
	}
	l := loot{open: decrypt(t, k, b.JWE), epoch: g.PINEpoch}
	id, err := hex.DecodeString(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	l.bundle = [16]byte(id)
	if l.payload, err = payload.Parse(l.open); err != nil {
		t.Fatal(err)
	}
	if hardware {
		key := [32]byte(decrypt(t, k, b.Hardware))
		l.hw = mask.Software(&key)
	}
	return l
}

// grant is a grant of n slots to a phone, as an account would make it.
func (r *rig) grant(t testing.TB, p *phone, n int) wallet.Grant {
	t.Helper()
	first, err := r.tokens.TakeCounters(t.Context(), p.token.Ref, n)
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := r.pins.Epoch(t.Context(), p.wallet)
	if err != nil {
		t.Fatal(err)
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	g := wallet.Grant{ID: hex.EncodeToString(id[:]), Ref: p.token.Ref, Device: p.id, PINEpoch: epoch,
		Lend: func(ctx context.Context, use func(*mask.Secret) error) error {
			return r.pins.Lend(ctx, p.wallet, epoch, use)
		}}
	for i := range n {
		u, err := credential.NewUD(p.token.NotAfter, first+uint16(i), 1000, credential.Medium, 1)
		if err != nil {
			t.Fatal(err)
		}
		g.Slots = append(g.Slots, u)
	}
	return g
}

func decrypt(t testing.TB, k *ecdsa.PrivateKey, jwe string) []byte {
	t.Helper()
	obj, err := jose.ParseEncryptedCompact(jwe, []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := obj.Decrypt(k)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

const allPINs = 1_000_000

// spread runs f for 0 to n on all processors.
func spread(n int, f func(i int)) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}

// stretched is what every PIN stretches to.
func stretched(t testing.TB, w token.WalletID, epoch uint32) []mask.Secret {
	t.Helper()
	salt, out := mask.Salt(w, epoch), make([]mask.Secret, allPINs)
	spread(allPINs, func(i int) { out[i] = cheap(pinOf(t, digits(i)), salt) })
	return out
}

// masks are the masks of one slot under every PIN.
func (l *loot) masks(t testing.TB, all []mask.Secret, bundle [16]byte, ctr uint16) [][16]byte {
	t.Helper()
	out := make([][16]byte, len(all))
	spread(len(all), func(i int) { out[i] = l.unmask([16]byte{}, &all[i], bundle, ctr) })
	return out
}

// guess lists the PINs, among those from low on, that a check lets pass.
func guess(low, n int, check func(i int) bool) (left []string) {
	var mu sync.Mutex
	spread(n, func(i int) {
		if check(low + i) {
			mu.Lock()
			defer mu.Unlock()
			left = append(left, digits(low+i))
		}
	})
	return left
}

// xor of a masked key and a mask is a key.
func xor(a, b [16]byte) [16]byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}

// unmask takes a guess's mask off a masked key.
func (l *loot) unmask(masked [16]byte, s *mask.Secret, bundle [16]byte, ctr uint16) [16]byte {
	if err := mask.Apply(&masked, s, l.hw, mask.Slot{Bundle: bundle, Ctr: ctr}); err != nil {
		panic(err) // a mask in memory always comes off
	}
	return masked
}

// mac1 is MAC1 of a purchase under a card key of 16 bytes, by the formulas of the
// scheme and nothing of this service.
func mac1(key [16]byte, p cryptogram.Purchase) (mac [4]byte) {
	whole, _ := des.NewTripleDESCipher(append(key[:], key[:8]...))
	in := binary.BigEndian.AppendUint16(append([]byte(nil), p.Rand[:]...), p.Seq)
	in = binary.BigEndian.AppendUint16(in, uint16(p.TermSeq))
	var session [8]byte
	whole.Encrypt(session[:], in)
	single, _ := des.NewCipher(session[:])
	msg := binary.BigEndian.AppendUint32(nil, p.Amount)
	msg = append(append(append(msg, byte(p.Type)), p.Terminal[:]...), p.At[:]...)
	msg = append(msg, 0x80)
	for len(msg)%8 != 0 {
		msg = append(msg, 0)
	}
	var chain [8]byte
	for ; len(msg) > 0; msg = msg[8:] {
		for i := range chain {
			chain[i] ^= msg[i]
		}
		single.Encrypt(chain[:], chain[:])
	}
	return [4]byte(chain[:4])
}

// kcv is the check value of a key.
func kcv(key [16]byte) [3]byte {
	c, _ := des.NewTripleDESCipher(append(key[:], key[:8]...))
	var b [8]byte
	c.Encrypt(b[:], b[:])
	return [3]byte(b[:3])
}

// odd reports whether every byte has odd parity, as keys of DES once had.
func odd(key [16]byte) bool {
	for _, b := range key {
		b ^= b >> 4
		b ^= b >> 2
		b ^= b >> 1
		if b&1 == 0 {
			return false
		}
	}
	return true
}

func madeOdd(key [16]byte) [16]byte {
	for i, b := range key {
		x := b ^ b>>4
		x ^= x >> 2
		x ^= x >> 1
		if x&1 == 0 {
			key[i] ^= 1
		}
	}
	return key
}
