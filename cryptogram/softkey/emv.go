package softkey

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
)

// importEMV keeps a key that is used along a chain: 16 bytes of Triple DES, or
// 16, 24 or 32 of AES. r.mu is held.
func (r *Ring) importEMV(ref keyref.Ref, typ keyref.Type, key []byte) error {
	if n := len(key); n != 16 && (typ != keyref.AES || n != 24 && n != 32) {
		return fmt.Errorf("importing %v: %w: it cannot have %d bytes", ref, ErrKeyUnfit, n)
	}
	if r.emv == nil {
		r.emv = make(map[keyref.Ref][]byte)
	}
	r.emv[ref] = bytes.Clone(key)
	return nil
}

// chained returns the key at the end of c; the caller zeroes it.
func (r *Ring) chained(c keyref.Chain, typ keyref.Type) ([]byte, error) {
	if err := c.Check(typ); err != nil {
		return nil, fmt.Errorf("using %v: %w: %w", c.Key, ErrKeyUnfit, err)
	}
	r.mu.RLock()
	key := bytes.Clone(r.emv[c.Key])
	r.mu.RUnlock()
	if key == nil {
		return nil, fmt.Errorf("using %v: %w", c.Key, ErrKeyMissing)
	}
	for _, s := range c.Steps {
		next, err := child(key, typ, s)
		clear(key)
		if err != nil {
			return nil, fmt.Errorf("using %v: %w", c.Key, err)
		}
		key = next
	}
	return key, nil
}

// child is the left of the cipher text of data under key, and as long as key.
func child(key []byte, typ keyref.Type, data []byte) ([]byte, error) {
	b, err := block(key, typ)
	if err != nil {
		return nil, err
	}
	if len(data) < len(key) {
		return nil, fmt.Errorf("%w: one block makes no key of %d bytes", ErrKeyUnfit, len(key))
	}
	out := make([]byte, len(data))
	for i := 0; i < len(data); i += b.BlockSize() {
		b.Encrypt(out[i:], data[i:])
	}
	clear(out[len(key):])
	return out[:len(key)], nil
}

func block(key []byte, typ keyref.Type) (cipher.Block, error) {
	if typ == keyref.AES {
		return aes.NewCipher(key)
	}
	return tdes.New(key)
}

// MAC3 implements algorithm 3 of ISO 9797-1 over whole blocks.
func (r *Ring) MAC3(_ context.Context, c keyref.Chain, padded []byte) (out [8]byte, err error) {
	key, err := r.chained(c, keyref.DES3)
	if err != nil {
		return out, err
	}
	defer clear(key)
	if n := len(padded); n == 0 || n%8 != 0 {
		return out, fmt.Errorf("using %v: %w: %d bytes are no blocks", c.Key, keyref.ErrMalformed, n)
	}
	left, right := must(tdes.New(key[:8])), must(tdes.New(key[8:]))
	return [8]byte(mac.Retail(left, right, padded)), nil
}

// EncipherBlocks implements ECB, and CBC from a zero start, over whole blocks.
func (r *Ring) EncipherBlocks(_ context.Context, c keyref.Chain, chained bool, blocks []byte) ([]byte, error) {
	key, err := r.chained(c, keyref.DES3)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if n := len(blocks); n == 0 || n%8 != 0 {
		return nil, fmt.Errorf("using %v: %w: %d bytes are no blocks", c.Key, keyref.ErrMalformed, n)
	}
	b, out := must(tdes.New(key)), make([]byte, len(blocks))
	if chained {
		cipher.NewCBCEncrypter(b, make([]byte, 8)).CryptBlocks(out, blocks)
		return out, nil
	}
	for i := 0; i < len(blocks); i += 8 {
		b.Encrypt(out[i:], blocks[i:])
	}
	return out, nil
}

// CMAC implements AES-CMAC.
func (r *Ring) CMAC(_ context.Context, c keyref.Chain, msg []byte) (out [16]byte, err error) {
	key, err := r.chained(c, keyref.AES)
	if err != nil {
		return out, err
	}
	defer clear(key)
	return [16]byte(mac.CMAC(must(aes.NewCipher(key)), msg)), nil
}

// Reveal returns the key at the end of a chain of two steps from a master of
// phones' keys, as an HSM does.
func (r *Ring) Reveal(_ context.Context, c keyref.Chain) ([]byte, error) {
	switch c.Key.Usage {
	case keyref.DeviceMaster, keyref.UserMaster, keyref.LimitedUseMaster:
		if len(c.Steps) == 2 {
			return r.chained(c, keyref.DES3)
		}
	}
	return nil, fmt.Errorf("revealing a key of %v: %w: it is not made to leave", c.Key, ErrKeyUnfit)
}
