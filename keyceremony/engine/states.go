package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

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
