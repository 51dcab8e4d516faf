// Package softring computes purse cryptograms of SM4 keys in the memory of this
// process, for HSMs that have no mechanism for SM4.
//
// It is the one place where masters of a service are outside the HSM, and so off
// unless configured. A key is sealed by the HSM, and unsealed when it is made
// ready into locked memory that is wiped in the end. So are keys derived from it.
// Their schedules of rounds, in the memory of package sm4, are wiped after use.
package softring

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"sync"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony/secret"
)

// Sentinels. They are of the kinds that those of an HSM are.
var (
	ErrKeyMissing = fault.New(fault.HSMKey, "no such SM4 key is ready")
	ErrKeyExists  = fault.New(fault.HSMKey, "an SM4 key of this label exists already")
	ErrKeyUnfit   = fault.New(fault.HSMKey, "an SM4 key is not fit for its use")
	// ErrMemory reports memory that cannot be locked or wiped.
	ErrMemory = fault.New(fault.HSMUnavailable, "SM4 keys cannot be held safely in memory")
)

const (
	block    = 16
	atOnce   = 4    // computations in parallel, each with locked memory of its own
	maxBytes = 2048 // of the messages of one call, padded; as an HSM has it
)

// Ring holds SM4 keys. It allows what an HSM does. Safe for concurrent use.
type Ring struct {
	mu   sync.RWMutex
	keys map[keyref.Ref]*secret.Buffer
	work chan *secret.Buffer // memory for derived keys
}

// New returns an empty ring. It fails where memory cannot be locked, or the
// schedules of package sm4 cannot be wiped.
func New() (*Ring, error) {
	if err := wipes(); err != nil {
		return nil, err
	}
	r := &Ring{keys: map[keyref.Ref]*secret.Buffer{}, work: make(chan *secret.Buffer, atOnce)}
	for range atOnce {
		b, err := secret.New(2 * block)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMemory, err)
		}
		r.work <- b
	}
	return r, nil
}

// ImportScratch copies a key into the ring.
func (r *Ring) ImportScratch(_ context.Context, ref keyref.Ref, key []byte) error {
	if spec, _ := ref.Usage.Spec(); spec.Type != keyref.SM4 || !ref.Valid() || len(key) != block {
		return fmt.Errorf("importing %v: %w: it is no SM4 key of 16 bytes", ref, ErrKeyUnfit)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys[ref] != nil {
		return fmt.Errorf("importing %v: %w", ref, ErrKeyExists)
	}
	b, err := secret.New(block)
	if err != nil {
		return fmt.Errorf("importing %v: %w: %w", ref, ErrMemory, err)
	}
	copy(b.Bytes(), key)
	r.keys[ref] = b
	return nil
}

// Forget wipes and drops a key.
func (r *Ring) Forget(_ context.Context, ref keyref.Ref) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.keys[ref]
	if b == nil {
		return fmt.Errorf("forgetting %v: %w", ref, ErrKeyMissing)
	}
	b.Wipe()
	delete(r.keys, ref)
	return nil
}

// Close wipes every key.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.keys {
		b.Wipe()
	}
	clear(r.keys)
	return nil
}

// ProcessMAC implements the process key and its MACs.
func (r *Ring) ProcessMAC(ctx context.Context, p keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	if err := p.CheckSM4(true); err != nil {
		return nil, fmt.Errorf("using %v: %w: %w", p.Key, ErrKeyUnfit, err)
	}
	return r.macs(ctx, p.Key, append(p.Steps(), keyref.Factor(input).Block()), msgs)
}

// RetailMAC implements the MAC under a whole TAC key.
func (r *Ring) RetailMAC(ctx context.Context, p keyref.Path, msg []byte) ([4]byte, error) {
	if err := p.CheckSM4(false); err != nil {
		return [4]byte{}, fmt.Errorf("using %v: %w: %w", p.Key, ErrKeyUnfit, err)
	}
	macs, err := r.macs(ctx, p.Key, p.Steps(), [][]byte{msg})
	if err != nil {
		return [4]byte{}, err
	}
	return macs[0], nil
}

// FoldedMAC refuses: SM4 keys are not folded.
func (r *Ring) FoldedMAC(_ context.Context, p keyref.Path, _ []byte) (mac [4]byte, err error) {
	return mac, fmt.Errorf("using %v: %w: SM4 keys are not folded", p.Key, ErrKeyUnfit)
}

// CheckValue is the left three bytes of a zero block enciphered under a key.
func (r *Ring) CheckValue(ref keyref.Ref) (v keyref.CheckValue, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	b := r.keys[ref]
	if b == nil {
		return v, fmt.Errorf("using %v: %w", ref, ErrKeyMissing)
	}
	out := make([]byte, block)
	if err := under(b.Bytes(), func(c cipher.Block) { c.Encrypt(out, out) }); err != nil {
		return v, err
	}
	copy(v[:], out)
	return v, nil
}

// macs computes MACs under the key at the end of steps.
func (r *Ring) macs(ctx context.Context, ref keyref.Ref, steps [][]byte, msgs [][]byte) ([][4]byte, error) {
	total := 0
	for _, m := range msgs {
		total += len(m)/block*block + block
	}
	if len(msgs) == 0 || total > maxBytes {
		return nil, fmt.Errorf("using %v: %w: %d bytes of messages, at most %d can be had", ref, keyref.ErrMalformed, total, maxBytes)
	}
	out := make([][4]byte, len(msgs))
	err := r.at(ctx, ref, steps, func(c cipher.Block) {
		for i, m := range msgs {
			out[i] = cbcMAC(c, m)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("using %v: %w", ref, err)
	}
	return out, nil
}

// at lends use the cipher of the key at the end of steps. A key and the next
// one take turns in the two halves of locked memory.
func (r *Ring) at(ctx context.Context, ref keyref.Ref, steps [][]byte, use func(cipher.Block)) (err error) {
	var b *secret.Buffer
	select {
	case b = <-r.work:
	case <-ctx.Done():
		return ctx.Err()
	}
	mem := b.Bytes()
	defer func() { clear(mem); r.work <- b }()
	k, next := mem[:block], mem[block:]
	r.mu.RLock()
	stored := r.keys[ref].Bytes()
	copy(k, stored)
	r.mu.RUnlock()
	if stored == nil {
		return ErrKeyMissing
	}
	for _, s := range steps {
		if err := under(k, func(c cipher.Block) { c.Encrypt(next, s) }); err != nil {
			return err
		}
		k, next = next, k
	}
	return under(k, use)
}

// cbcMAC chains the padded message from a zero start.
func cbcMAC(c cipher.Block, msg []byte) [4]byte {
	padded := make([]byte, len(msg)/block*block+block)
	copy(padded, msg)
	padded[len(msg)] = 0x80
	last := make([]byte, block)
	for ; len(padded) > 0; padded = padded[block:] {
		for i := range last {
			last[i] ^= padded[i]
		}
		c.Encrypt(last, last)
	}
	return [4]byte(last)
}

var errSchedule = errors.New("the schedule of package sm4 has another form than it had")
