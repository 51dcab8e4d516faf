//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// ProcessMAC diversifies the key of path, makes the process key from input
// under it, and returns the left four bytes of the CBC-MAC of each message. It
// takes up to 4 messages of 2048 bytes in all, and pads them itself.
func (t *Token) ProcessMAC(ctx context.Context, path keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	if spec, _ := path.Key.Usage.Spec(); spec.Type == keyref.SM4 {
		if err := path.CheckSM4(true); err != nil {
			return nil, fmt.Errorf("computing with %v: %w: %w", path.Key, ErrKeyUnfit, err)
		}
		return t.sm4MACs(ctx, path.Key, append(path.Steps(), keyref.Factor(input).Block()), msgs)
	}
	if err := t.depth(path, keyref.Derive, 0, keyref.MaxLevels); err != nil {
		return nil, err
	}
	j := &job{path: path, levels: int(path.Levels), last: single(input, kindEncrypts), hasLast: true}
	if err := j.pad(msgs); err != nil {
		return nil, err
	}
	if err := t.engine.do(ctx, j); err != nil {
		return nil, err
	}
	out := make([][4]byte, len(msgs))
	for i := range out {
		copy(out[i][:], j.macs[i][:])
	}
	return out, nil
}

// FoldedMAC returns the left four bytes of the CBC-MAC of msg under "left half
// xor right half" of the diversified key, which is how TACs are made. Of a
// [keyref.FoldedTAC] key, which was folded at its birth, the path has no
// levels.
//
// No mechanism folds a key inside, so a diversified key passes through locked
// memory of this process, is folded, goes back in and is wiped. For a slot key
// ([keyref.SlotTACMaster]) that is its nature; for a physical card's key it is
// refused when [Config.RefuseTACFold] is set.
func (t *Token) FoldedMAC(ctx context.Context, path keyref.Path, msg []byte) (mac [4]byte, err error) {
	j := &job{path: path}
	if path.Key.Usage == keyref.FoldedTAC {
		err = t.depth(path, keyref.Encrypt, 0, 0)
	} else {
		err = t.depth(path, keyref.Derive, 1, keyref.MaxLevels)
		if err == nil && t.cfg.RefuseTACFold && path.Key.Usage != keyref.SlotTACMaster {
			err = fmt.Errorf("computing with %v: %w: folding a card's TAC key is switched off", path.Key, ErrKeyUnfit)
		}
		j.op = opFold
		j.leaf(kindReadable)
	}
	if err == nil {
		err = j.pad([][]byte{msg})
	}
	if err == nil {
		err = t.engine.do(ctx, j)
	}
	if err != nil {
		return mac, err
	}
	return [4]byte(j.macs[0][:4]), nil
}

// RetailMAC returns the left four bytes of the MAC of msg by algorithm 3 of
// ISO 9797-1 under the diversified key, or under a [keyref.RetailTAC] key
// without levels. Of an SM4 key it is the MAC by CBC.
func (t *Token) RetailMAC(ctx context.Context, path keyref.Path, msg []byte) (mac [4]byte, err error) {
	if spec, _ := path.Key.Usage.Spec(); spec.Type == keyref.SM4 {
		return t.sm4Whole(ctx, path, msg)
	}
	stored := path.Key.Usage == keyref.RetailTAC
	if stored {
		err = t.depth(path, keyref.Encrypt, 0, 0)
	} else {
		err = t.depth(path, keyref.Derive, 1, keyref.MaxLevels)
	}
	if err != nil {
		return mac, err
	}
	// All blocks but the last are chained under the left half alone; the last
	// one, xored with the chain, is enciphered under the whole key.
	chain, whole := &job{path: path, second: stored}, &job{path: path}
	if !stored {
		chain.leaf(kindEncrypts)
		chain.last = single(path.Factors[path.Levels-1], kindEncrypts)
		whole.leaf(kindEncrypts)
	}
	if err := chain.pad([][]byte{msg}); err != nil {
		return mac, err
	}
	full, err := t.retail(ctx, chain, whole)
	return [4]byte(full[:4]), err
}

// retail computes algorithm 3 over the one message of chain, which chains all
// its blocks but the last; whole enciphers that.
func (t *Token) retail(ctx context.Context, chain, whole *job) (mac [8]byte, err error) {
	n := chain.lens[0] - 8
	last := [8]byte(chain.data[n:])
	if chain.lens[0] = n; n > 0 {
		if err := t.engine.do(ctx, chain); err != nil {
			return mac, err
		}
		for i, b := range chain.macs[0] {
			last[i] ^= b
		}
	}
	whole.block(last)
	if err := t.engine.do(ctx, whole); err != nil {
		return mac, err
	}
	return whole.macs[0], nil
}

// Encipher enciphers one block under a diversified key, so that two keys can
// be compared without being seen. A stored key is enciphered under only if
// enciphering is its role; never a master.
func (t *Token) Encipher(ctx context.Context, path keyref.Path, block [8]byte) (out [8]byte, err error) {
	j := &job{path: path}
	if spec, _ := path.Key.Usage.Spec(); spec.Role == keyref.Encrypt {
		err = t.depth(path, keyref.Encrypt, 0, 0)
	} else {
		err = t.depth(path, keyref.Derive, 1, keyref.MaxLevels)
		j.leaf(kindEncrypts)
	}
	if err != nil {
		return out, err
	}
	j.block(block)
	err = t.engine.do(ctx, j)
	if err != nil {
		return out, err
	}
	return j.macs[0], nil
}

// SlotKeys returns the keys of a phone's slots, one for each use descriptor,
// under the token key at path: two levels below a slot master, and no other
// key. These keys are made to be sent to the phone; the caller wipes them.
func (t *Token) SlotKeys(ctx context.Context, path keyref.Path, uds []keyref.Factor) ([][16]byte, error) {
	if !path.Key.Usage.Slot() {
		return nil, fmt.Errorf("making slot keys: %w: %v is no slot master", ErrKeyUnfit, path.Key)
	}
	if err := t.depth(path, keyref.Derive, 2, 2); err != nil {
		return nil, err
	}
	if len(uds) == 0 || len(uds) > maxData/16 {
		return nil, fmt.Errorf("making slot keys: %w: %d use descriptors, between 1 and %d can be had at once", keyref.ErrMalformed, len(uds), maxData/16)
	}
	j := &job{path: path, op: opECB, count: 1}
	j.leaf(kindEncrypts)
	for _, ud := range uds {
		d := diversify(ud, 0).data
		j.data = append(j.data, d[:16]...)
	}
	j.lens[0] = len(j.data)
	if err := t.engine.do(ctx, j); err != nil {
		return nil, err
	}
	defer clear(j.data)
	out := make([][16]byte, len(uds))
	for i := range out {
		copy(out[i][:], j.data[16*i:])
	}
	return out, nil
}

// depth refuses a path that its usage does not allow. Slot masters are used at
// three levels and at no other: one level up, the process key of a token key
// over a use descriptor is half of that slot's key. Only [Token.SlotKeys] and
// [Token.WrapTokenKey] stop at two.
func (t *Token) depth(p keyref.Path, role keyref.Role, low, high uint8) error {
	if p.Key.Usage.Slot() && high == keyref.MaxLevels {
		low = keyref.MaxLevels
	}
	spec, ok := p.Key.Usage.Spec()
	if ok && !spec.EMV && spec.Type == keyref.DES3 && spec.Role == role && p.Levels >= low && p.Levels <= high {
		return nil
	}
	return fmt.Errorf("computing with %v: %w: its usage does not allow this operation at %d levels", p.Key, ErrKeyUnfit, p.Levels)
}

// leaf makes the last level of the path a key of its own kind, which is not
// kept.
func (j *job) leaf(kind uint8) {
	n := int(j.path.Levels)
	if n == 0 {
		return
	}
	j.levels, j.hasLast = n-1, true
	j.last = diversify(j.path.Factors[n-1], kind)
}

// block makes one block the only message.
func (j *job) block(b [8]byte) {
	j.data, j.lens[0], j.count = b[:], 8, 1
}

// pad lays messages out one after the other, each with 80 and zeros up to a
// whole block.
func (j *job) pad(msgs [][]byte) error {
	total := 0
	for _, m := range msgs {
		total += len(m)/8*8 + 8
	}
	if len(msgs) == 0 || len(msgs) > maxMessages || total > maxData {
		return fmt.Errorf("computing with %v: %w: %d messages of %d bytes, at most %d of %d in all", j.path.Key,
			keyref.ErrMalformed, len(msgs), total, maxMessages, maxData)
	}
	j.data, j.count = make([]byte, total), len(msgs)
	at := 0
	for i, m := range msgs {
		copy(j.data[at:], m)
		j.data[at+len(m)] = 0x80
		j.lens[i] = len(m)/8*8 + 8
		at += j.lens[i]
	}
	return nil
}
