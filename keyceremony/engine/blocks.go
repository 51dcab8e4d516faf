package engine

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// wrap writes a key as a key block in a file of its own.
func (r *run) wrap(ctx context.Context, s script.Step) (map[string]string, error) {
	k, ref := r.keyOf(s.Key), r.keyOf(s.Key).Ref()
	v, err := r.combined(s.Key)
	if err != nil {
		return nil, err
	}
	defer v.Wipe()
	if k.Source == "components" {
		if err := r.same(ctx, ref, v.Bytes()); err != nil {
			return nil, err
		}
	}
	kbpk, kcv, err := r.kbpk()
	if err != nil {
		return nil, err
	}
	defer kbpk.Wipe()
	h := header(r.Plan.Script.KBPK.Algorithm, ref, k)
	block, err := keyblock.Wrap(r.Rand, kbpk.Bytes(), h, v.Bytes())
	if err != nil {
		return nil, err
	}
	r.forget(script.KBPKName)
	name := filepath.Join("blocks", s.Key+".tr31")
	if err := r.write(name, []byte(block+"\n")); err != nil {
		return nil, err
	}
	check, err := keyCheck(ref, v.Bytes())
	return map[string]string{transcript.DataKey: s.Key, "file": name, "block": block, "kbpk_check": kcv, transcript.DataCheck: check}, err
}

// header is that of an exported key: for its one use, and not to be exported
// again.
func header(algorithm string, ref keyref.Ref, k script.Key) keyblock.Header {
	usage, _ := script.BlockUsage(ref, k.Usage)
	spec, _ := ref.Usage.Spec()
	h := keyblock.Header{Version: keyblock.VersionB, Usage: usage, Algorithm: keyblock.TDES, Mode: 'X', KeyVersion: "00", Export: keyblock.Never, Context: '0'}
	if algorithm == "aes" {
		h.Version = keyblock.VersionD
	}
	if spec.Type == keyref.AES {
		h.Algorithm = keyblock.AES
	}
	if usage == "C0" {
		h.Mode = 'C'
	}
	return h
}

// same sees that components are those of the key on the token.
func (r *run) same(ctx context.Context, ref keyref.Ref, value []byte) error {
	info, _, err := r.token.ReadBack(ctx, ref)
	if err != nil {
		return err
	}
	c, err := expected(ref, value)
	if err == nil && (info.Check == nil || info.Check.String() != c.String()) {
		err = fmt.Errorf("%w: these are not the components of %s on this token: bring the letters of its birth", ErrStep, ref)
	}
	return err
}

// kbpk puts the protection key together.
func (r *run) kbpk() (*secret.Buffer, string, error) {
	v, err := r.combined(script.KBPKName)
	if err != nil {
		return nil, "", err
	}
	kcv, err := r.partCheck(script.KBPKName, v.Bytes())
	if err == nil {
		err = r.known(script.KBPKName, kcv)
	}
	if err != nil {
		v.Wipe()
		return nil, "", err
	}
	return v, kcv, nil
}

// unwrapped opens the block of a key.
func (r *run) unwrapped(s script.Step) (*secret.Buffer, error) {
	kbpk, _, err := r.kbpk()
	if err != nil {
		return nil, err
	}
	defer kbpk.Wipe()
	k := r.keyOf(s.Key)
	text := k.Block
	if stand := r.Blocks[s.Key]; r.Played && stand != "" {
		text = stand
	}
	o, err := keyblock.Unwrap(kbpk.Bytes(), text)
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed on its way, or the protection key is another: compare its check value with the sender's", err)
	}
	defer o.Clear()
	if len(o.Key) == 24 && k.Length() == 16 && subtle.ConstantTimeCompare(o.Key[:8], o.Key[16:]) == 1 {
		o.Key = o.Key[:16]
	}
	if len(o.Key) != k.Length() {
		return nil, fmt.Errorf("%w: the block holds a key of %d bytes, and %s has %d", ErrStep, len(o.Key), s.Key, k.Length())
	}
	if why := r.weakness(s.Key, o.Key); why != "" {
		return nil, fmt.Errorf("%w: the key in the block is weak: %s: ask the sender for another", ErrStep, why)
	}
	return secret.Of(o.Key)
}

// write puts a file into the folder of the ceremony. One of an attempt that was
// cut off before it was recorded is void, and makes room.
func (r *run) write(name string, data []byte) error {
	err := writeNew(r.path(name), data)
	if r.Resume && errors.Is(err, os.ErrExist) {
		if err := os.Remove(r.path(name)); err != nil {
			return err
		}
		err = writeNew(r.path(name), data)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
