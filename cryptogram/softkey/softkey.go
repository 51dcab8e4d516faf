// Package softkey computes cryptograms with key bytes held in memory, for
// handsets and tests; a master key of a service never belongs here.
package softkey

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Sentinels.
var (
	// ErrKeyMissing reports a key that was never imported, or was forgotten.
	ErrKeyMissing = errors.New("no such key in the ring")
	// ErrKeyExists reports an import under a name that is taken.
	ErrKeyExists = errors.New("key exists already")
	// ErrKeyUnfit reports a key asked to do what its usage does not allow.
	ErrKeyUnfit = errors.New("key is not meant for that")
)

// Ring holds 16-byte DES keys, and AES keys of EMV. It allows and refuses what an HSM does, so that
// what runs on a ring also runs on an HSM. Safe for concurrent use. The zero
// value is an empty ring.
type Ring struct {
	mu   sync.RWMutex
	keys map[keyref.Ref]*[16]byte
	emv  map[keyref.Ref][]byte // keys used along chains
}

// ImportScratch copies a key, of 16 bytes unless it is AES, into the ring. A key of usage
// [keyref.FoldedTAC] is folded: what is kept is left xor right.
func (r *Ring) ImportScratch(_ context.Context, ref keyref.Ref, key []byte) error {
	s, ok := ref.Usage.Spec()
	if !ok || s.Type != keyref.DES3 && !s.EMV || !ref.Valid() {
		return fmt.Errorf("importing %v: %w", ref, ErrKeyUnfit)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys[ref] != nil || r.emv[ref] != nil {
		return fmt.Errorf("importing %v: %w", ref, ErrKeyExists)
	}
	if s.EMV {
		return r.importEMV(ref, s.Type, key)
	}
	if len(key) != 16 {
		return fmt.Errorf("importing %v: %w: a key has 16 bytes", ref, ErrKeyUnfit)
	}
	if r.keys == nil {
		r.keys = make(map[keyref.Ref]*[16]byte)
	}
	k := [16]byte(key)
	if ref.Usage == keyref.FoldedTAC {
		f := fold(&k)
		copy(k[:8], f[:])
		copy(k[8:], f[:])
	}
	r.keys[ref] = &k
	return nil
}

// Forget zeroes and drops a key.
func (r *Ring) Forget(_ context.Context, ref keyref.Ref) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.emv[ref]; k != nil {
		clear(k)
		delete(r.emv, ref)
		return nil
	}
	k, ok := r.keys[ref]
	if !ok {
		return fmt.Errorf("forgetting %v: %w", ref, ErrKeyMissing)
	}
	clear(k[:])
	delete(r.keys, ref)
	return nil
}

// Close zeroes and drops every key.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.keys {
		clear(k[:])
	}
	clear(r.keys)
	for _, k := range r.emv {
		clear(k)
	}
	clear(r.emv)
	return nil
}

// derived returns the key at the end of p; the caller zeroes it.
func (r *Ring) derived(p keyref.Path) (k [16]byte, err error) {
	r.mu.RLock()
	stored, ok := r.keys[p.Key]
	if ok {
		k = *stored
	}
	r.mu.RUnlock()
	if !ok {
		return k, fmt.Errorf("using %v: %w", p.Key, ErrKeyMissing)
	}
	if int(p.Levels) > len(p.Factors) {
		return k, fmt.Errorf("using %v: %w: too many levels", p.Key, ErrKeyUnfit)
	}
	for _, f := range p.Factors[:p.Levels] {
		k = diversify(&k, f)
	}
	return k, nil
}

// ProcessMAC implements the process key and its MACs.
func (r *Ring) ProcessMAC(_ context.Context, p keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	if !transacts(p) {
		return nil, fmt.Errorf("using %v: %w", p.Key, ErrKeyUnfit)
	}
	k, err := r.derived(p)
	if err != nil {
		return nil, err
	}
	defer clear(k[:])
	process := encipher(&k, input)
	defer clear(process[:])
	macs := make([][4]byte, len(msgs))
	for i, m := range msgs {
		macs[i] = cbcMAC(&process, m)
	}
	return macs, nil
}

// FoldedMAC implements the MAC under left xor right.
func (r *Ring) FoldedMAC(_ context.Context, p keyref.Path, msg []byte) ([4]byte, error) {
	if !receipts(p, keyref.FoldedTAC) {
		return [4]byte{}, fmt.Errorf("using %v: %w", p.Key, ErrKeyUnfit)
	}
	k, err := r.derived(p)
	if err != nil {
		return [4]byte{}, err
	}
	defer clear(k[:])
	f := [8]byte(k[:8]) // folded when it was imported
	if p.Levels > 0 {
		f = fold(&k)
	}
	defer clear(f[:])
	return cbcMAC(&f, msg), nil
}

// RetailMAC implements ISO 9797-1 algorithm 3 with padding method 2.
func (r *Ring) RetailMAC(_ context.Context, p keyref.Path, msg []byte) ([4]byte, error) {
	if !receipts(p, keyref.RetailTAC) {
		return [4]byte{}, fmt.Errorf("using %v: %w", p.Key, ErrKeyUnfit)
	}
	k, err := r.derived(p)
	if err != nil {
		return [4]byte{}, err
	}
	defer clear(k[:])
	return retailMAC(&k, msg), nil
}

// Encipher returns 3DES-E of one block under a diversified key, or under a
// stored key whose role is to encipher. It exists to compare keys without
// showing them.
func (r *Ring) Encipher(_ context.Context, p keyref.Path, block [8]byte) ([8]byte, error) {
	s, _ := p.Key.Usage.Spec()
	if (s.Role == keyref.Encrypt) != (p.Levels == 0) || p.Key.Usage.Slot() && p.Levels != keyref.MaxLevels {
		return [8]byte{}, fmt.Errorf("using %v: %w", p.Key, ErrKeyUnfit)
	}
	k, err := r.derived(p)
	if err != nil {
		return [8]byte{}, err
	}
	defer clear(k[:])
	return encipher(&k, block), nil
}

// transacts reports whether p can lead to a process key.
func transacts(p keyref.Path) bool {
	switch p.Key.Usage {
	case keyref.PurchaseMaster, keyref.LoadMaster, keyref.UnloadMaster, keyref.OverdraftMaster:
		return true
	case keyref.SlotPurchaseMaster:
		return p.Levels == keyref.MaxLevels
	default:
		return false
	}
}

// receipts reports whether p can lead to a TAC key; stored is the usage that a
// path without levels must have.
func receipts(p keyref.Path, stored keyref.Usage) bool {
	switch p.Key.Usage {
	case keyref.TACMaster:
		return p.Levels > 0
	case keyref.SlotTACMaster:
		return p.Levels == keyref.MaxLevels
	default:
		return p.Key.Usage == stored && p.Levels == 0
	}
}
