package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/tdes"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// random fills b from the token and from this machine: either alone would do.
func (r *run) random(ctx context.Context, b []byte) error {
	if err := r.token.Random(ctx, b); err != nil {
		return err
	}
	own := make([]byte, len(b))
	defer clear(own)
	if _, err := io.ReadFull(r.Rand, own); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	subtle.XORBytes(b, b, own)
	return nil
}

// draw makes the components of a key: one for each custodian, or one alone.
func (r *run) draw(ctx context.Context, s script.Step) (map[string]string, error) {
	n := 1
	if r.Plan.Script.Kind == script.Letters {
		n = len(r.Plan.Script.Custodians)
	}
	r.forget(s.Key)
	for range n {
		b, err := secret.New(r.keyOf(s.Key).Length())
		if err != nil {
			return nil, err
		}
		r.parts[s.Key] = append(r.parts[s.Key], b)
		if err := r.random(ctx, b.Bytes()); err != nil {
			return nil, err
		}
	}
	v, err := r.combined(s.Key)
	v.Wipe()
	return nil, err
}

func (r *run) forget(key string) {
	for _, b := range r.parts[key] {
		b.Wipe()
	}
	delete(r.parts, key)
}

// combined xors the components of a key, gives it parity where the script says
// so, and refuses what honest randomness does not give.
func (r *run) combined(key string) (*secret.Buffer, error) {
	parts := r.parts[key]
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: no component of %s was entered", ErrStep, key)
	}
	out, err := secret.New(len(parts[0].Bytes()))
	if err != nil {
		return nil, err
	}
	if len(parts) == 1 {
		copy(out.Bytes(), parts[0].Bytes())
	} else {
		values := make([][]byte, len(parts))
		for i, b := range parts {
			values[i] = b.Bytes()
		}
		whole, err := keyblock.Xor(values...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: have new components made", key, err)
		}
		copy(out.Bytes(), whole)
		clear(whole)
	}
	if why := r.weakness(key, out.Bytes()); why != "" {
		out.Wipe()
		return nil, fmt.Errorf("%w: %s would be weak: %s: have new components made", ErrStep, key, why)
	}
	if r.keyOf(key).Parity == "odd" {
		tdes.OddParity(out.Bytes())
	}
	return out, nil
}

func (r *run) weakness(key string, b []byte) string {
	spec, _ := r.keyOf(key).Ref().Usage.Spec()
	if spec.Type == keyref.DES3 || key == script.KBPKName && r.Plan.Script.KBPK.Algorithm == "tdes" {
		return tdes.Weakness(b)
	}
	for _, x := range b {
		if x != b[0] {
			return ""
		}
	}
	return "all its bytes are equal"
}

// value is what a step brings to the token.
func (r *run) value(s script.Step) (*secret.Buffer, error) {
	switch s.Op {
	case script.OpUnwrap:
		return r.unwrapped(s)
	case script.OpRestore:
		return r.restored(s)
	}
	return r.combined(s.Key)
}

// intent is what is recorded before a value becomes a key, so that a half-done
// step can be judged.
func (r *run) intent(s script.Step) (map[string]string, error) {
	data := map[string]string{transcript.DataMark: r.mark(s)}
	if s.Op == script.OpGenerate {
		return data, nil
	}
	v, err := r.value(s)
	if err != nil {
		return nil, err
	}
	defer v.Wipe()
	ref := r.keyOf(s.Key).Ref()
	kcv, err := keyCheck(ref, v.Bytes())
	if err != nil {
		return nil, err
	}
	if err := r.known(s.Key, kcv); err != nil {
		return nil, err
	}
	c, err := expected(ref, v.Bytes())
	data[transcript.DataCheck], data[transcript.DataTokenCheck] = kcv, c.String()
	return data, err
}

// mark is what the key of a step bears on the token. It follows from what the
// officers' approvals are over, so that a transcript cannot be made to claim the
// key of another ceremony.
func (r *run) mark(s script.Step) string {
	h := sha256.New()
	fmt.Fprintf(h, "tapvault ceremony mark\x00%x\x00%s\x00%d\x00%s", r.Plan.Digest(), r.nonce, s.Number, s.Key)
	return fmt.Sprintf("%X", h.Sum(nil)[:16])
}

// known compares with the check value that the script gives.
func (r *run) known(key, kcv string) error {
	want := r.keyOf(key).Check
	if key == script.KBPKName {
		want = r.Plan.Script.KBPK.Check
	}
	if want == "" || r.Played || strings.HasPrefix(kcv, want) {
		return nil
	}
	return fmt.Errorf("%w: the components of %s together give the check value %s, and the script says %s: a component is of another key: find out which, then resume", ErrStep, key, kcv, want)
}

func (r *run) generate(ctx context.Context, s script.Step) (map[string]string, error) {
	ref := r.keyOf(s.Key).Ref()
	if err := r.token.GenerateMarked(ctx, ref, r.mark(s)); err != nil {
		return nil, err
	}
	info, traits, err := r.token.ReadBack(ctx, ref)
	if err != nil {
		return nil, err
	}
	return r.born(s, info, traits), nil
}

// born is what the record of a birth says.
func (r *run) born(s script.Step, info keyref.Info, traits string) map[string]string {
	data := map[string]string{transcript.DataKey: s.Key, transcript.DataState: string(r.keyOf(s.Key).State), "attributes": traits}
	if info.Check != nil {
		data[transcript.DataTokenCheck] = info.Check.String()
		data[transcript.DataCheck] = info.Check.String()
		if info.Spec.Type == keyref.AES {
			data[transcript.DataTokenCheck] += " (legacy, ECB)"
		}
	}
	return data
}

// bring makes a value a key of the token, and reads it back.
func (r *run) bring(ctx context.Context, s script.Step) (map[string]string, error) {
	v, err := r.value(s)
	if err != nil {
		return nil, err
	}
	defer v.Wipe()
	ref := r.keyOf(s.Key).Ref()
	kcv, err := keyCheck(ref, v.Bytes())
	if err != nil {
		return nil, err
	}
	if err := r.token.ImportMarked(ctx, ref, v.Bytes(), r.mark(s)); err != nil {
		return nil, err
	}
	info, traits, err := r.token.ReadBack(ctx, ref)
	want, err2 := expected(ref, v.Bytes())
	if err = errors.Join(err, err2); err == nil && (info.Check == nil || info.Check.String() != want.String()) {
		err = fmt.Errorf("%w: the token shows another check value for %s than it has to", ErrStep, s.Key)
	}
	if err != nil {
		return nil, errors.Join(err, r.token.Destroy(ctx, ref))
	}
	data := r.born(s, info, traits)
	data[transcript.DataCheck] = kcv
	r.forget(s.Key)
	return data, nil
}
