package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tapvault/tapvault/hsm"
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

// prove computes a trial with a key: written beside its backup at its birth,
// compared at its restoration.
func (r *run) prove(ctx context.Context, s script.Step) (map[string]string, error) {
	out, err := r.token.Trial(ctx, r.keyOf(s.Key).Ref())
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%X", out)
	if r.Plan.Script.Kind == script.Backup {
		return map[string]string{transcript.DataKey: s.Key, "trial": text}, r.write(filepath.Join(backupFolder, s.Key+".trial"), []byte(text+"\n"))
	}
	want, err := os.ReadFile(filepath.Join(r.backupDir(), s.Key+".trial"))
	if err != nil {
		return nil, fmt.Errorf("reading the trial of its birth: %w", err)
	}
	if strings.TrimSpace(string(want)) != text {
		return nil, fmt.Errorf("%w: %s answers a trial otherwise than at its birth: destroy it, and look for another copy of the backup", ErrStep, s.Key)
	}
	return map[string]string{transcript.DataKey: s.Key, "trial": text}, nil
}

// move changes the state of a key.
func (r *run) move(ctx context.Context, s script.Step) (map[string]string, error) {
	k := r.keyOf(s.Key)
	info, traits, err := r.token.ReadBack(ctx, k.Ref())
	gone := s.Op == script.OpDestroy && r.Resume && errors.Is(err, hsm.ErrKeyMissing) && r.begun[s.Number].Number > 0
	if err != nil && !gone && (s.Op != script.OpDestroy || errors.Is(err, hsm.ErrKeyMissing)) {
		return nil, err
	}
	data := map[string]string{transcript.DataKey: s.Key, "evidence": k.Evidence}
	if info.Check != nil {
		data[transcript.DataCheck] = info.Check.String()
	}
	switch s.Op {
	case script.OpActivate:
		data["attributes"] = traits
		return r.activate(k, info, data)
	case script.OpRetire:
		data[transcript.DataState] = string(script.Retired)
		return data, r.demand(k.Label, script.Retiring)
	}
	data[transcript.DataState] = string(script.Destroyed)
	if err := r.demand(k.Label, script.Retired, script.Pending, ""); err != nil || gone {
		return data, err
	}
	if err := r.token.Destroy(ctx, k.Ref()); err != nil {
		return nil, err
	}
	if _, _, err := r.token.ReadBack(ctx, k.Ref()); !errors.Is(err, hsm.ErrKeyMissing) {
		return nil, fmt.Errorf("%w: %s is still there after it was destroyed", ErrStep, k.Label)
	}
	return data, nil
}

// doomed is what is recorded of a key before it is destroyed. When the ceremony was cut
// off then, a key of another check value was made since, and is not the one meant.
func (r *run) doomed(ctx context.Context, s script.Step) (map[string]string, error) {
	info, _, err := r.token.ReadBack(ctx, r.keyOf(s.Key).Ref())
	begun, want := r.begun[s.Number], r.keyOf(s.Key).Check
	if r.Played || begun.Number > 0 {
		want = "" // made-up keys have others, and what was begun was compared
	}
	if err != nil && want != "" {
		return nil, err
	}
	if err != nil || info.Check == nil {
		if want != "" {
			return nil, fmt.Errorf("%w: the token shows no check value for %s: a script about it says none", ErrStep, s.Key)
		}
		return begun.Data, nil // the step says what is wrong, or destroys what is left
	}
	shown := info.Check.String()
	if want != "" && !strings.HasPrefix(want, shown) {
		return nil, fmt.Errorf("%w: %s shows the check value %s, and the script means the key with %s: it is left as it is", ErrStep, s.Key, shown, want)
	}
	if meant := r.begun[s.Number].Data[transcript.DataTokenCheck]; meant != "" && meant != shown {
		return nil, fmt.Errorf("%w: %s shows the check value %s, and the key that this ceremony began to destroy showed %s: a later ceremony made it; it is left as it is: destroy it by a new script, if that is what is wanted", ErrStep, s.Key, shown, meant)
	}
	return map[string]string{transcript.DataTokenCheck: shown}, nil
}

// demand refuses a key in another state than the given ones; the empty one is
// that of a key that no transcript tells of.
func (r *run) demand(label string, states ...script.State) error {
	at := r.States[label]
	for _, s := range states {
		if s == at {
			return nil
		}
	}
	was := string(at)
	if was == "" {
		was = "in no transcript"
	}
	return fmt.Errorf("%w: %s is %s, and has to be %s: give the folder of all transcripts (--transcripts), and do the ceremonies in their order", ErrStep, label, was, states[0])
}

func (r *run) activate(k script.Key, info keyref.Info, data map[string]string) (map[string]string, error) {
	if err := r.demand(k.Label, script.Pending); err != nil {
		return nil, err
	}
	if k.Replaces != "" {
		if err := r.demand(k.Replaces, script.Active); err != nil {
			return nil, err
		}
		data[transcript.DataReplaces] = k.Replaces
	}
	for _, h := range k.HeldBy {
		if !r.Played && (info.Check == nil || !strings.HasPrefix(h.Check, info.Check.String())) {
			return nil, fmt.Errorf("%w: %s shows the check value %s for %s, and this token another: load that device again before the rotation", ErrStep, h.Device, h.Check, k.Label)
		}
		data["held_by"] += h.Device + "=" + h.Check + " "
	}
	data[transcript.DataState] = string(script.Active)
	return data, nil
}
