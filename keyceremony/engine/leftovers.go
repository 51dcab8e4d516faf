package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// births are those that were begun and not recorded: what they left without a label
// is this ceremony's to destroy.
func (r *run) births() (all []hsm.Birth) {
	for _, s := range r.Plan.Steps {
		if _, done := r.done[s.Number]; !done && r.begun[s.Number].Number > 0 && bears(s.Op) {
			ref, _ := keyref.Parse(s.Key)
			all = append(all, hsm.Birth{Ref: ref, Mark: r.mark(s)})
		}
	}
	return all
}

// vacant refuses a plan that would make a key which exists.
func (r *run) vacant(ctx context.Context) error {
	for _, s := range r.Plan.Steps {
		if !bears(s.Op) || r.done[s.Number].Number > 0 || r.begun[s.Number].Number > 0 {
			continue
		}
		ref, _ := keyref.Parse(s.Key)
		switch _, _, err := r.token.ReadBack(ctx, ref); {
		case fault.KindOf(err) == fault.HSMUnavailable:
			return err
		case !errors.Is(err, hsm.ErrKeyMissing):
			return fmt.Errorf("%w: %s exists on token %s and is never overwritten: take the next version, or destroy it in a ceremony of its own", ErrStep, s.Key, r.Plan.Script.Token)
		}
	}
	return nil
}

// bears reports whether a step gives birth to a key of the token.
func bears(o script.Op) bool {
	return o == script.OpGenerate || o == script.OpImport || o == script.OpUnwrap || o == script.OpRestore
}

// settle decides about keys whose birth was begun and not recorded: whole ones
// are taken, anything less is destroyed.
func (r *run) settle(ctx context.Context) error {
	for _, s := range r.Plan.Steps {
		if _, done := r.done[s.Number]; done || r.begun[s.Number].Number == 0 || !bears(s.Op) {
			continue
		}
		if err := r.judge(ctx, s); err != nil {
			return err
		}
	}
	clear(r.again)
	r.rewind()
	return nil
}

// judge looks at one key whose birth was cut off. One that does not bear this
// ceremony's mark, or is whole and of another value than the one whose birth was
// begun, is not ours: it is left alone.
func (r *run) judge(ctx context.Context, s script.Step) error {
	ref, _ := keyref.Parse(s.Key)
	begin := r.begun[s.Number].Data
	switch own, err := r.token.Bears(ctx, ref, r.mark(s)); {
	case errors.Is(err, hsm.ErrKeyMissing):
		return nil
	case err != nil:
		return err
	case !own:
		return fmt.Errorf("%w: the token holds a %s without the mark of this ceremony: a later ceremony or somebody else made it, or this ceremony under a version of the program that made no marks; it is left as it is: if nobody needs it, destroy it in a ceremony of its own, and resume this one, which then makes its key", ErrStep, s.Key)
	}
	info, traits, err := r.token.ReadBack(ctx, ref)
	switch {
	case err == nil && (s.Op == script.OpGenerate || info.Check != nil && info.Check.String() == begin[transcript.DataTokenCheck]):
		data := r.born(s, info, traits)
		if begin[transcript.DataCheck] != "" {
			data[transcript.DataCheck] = begin[transcript.DataCheck]
		}
		data["found"] = "it was whole when the ceremony was resumed"
		return r.finish(s, transcript.Record{Data: data})
	case err == nil:
		return fmt.Errorf("%w: the token holds another %s than the one whose birth this transcript tells of: an older transcript was resumed; it is left as it is: find the newest transcript of this ceremony", ErrStep, s.Key)
	case !errors.Is(err, hsm.ErrKeyMissing) && !errors.Is(err, hsm.ErrKeyUnfit):
		return err
	}
	if err := r.token.Destroy(ctx, ref); errors.Is(err, hsm.ErrKeyMissing) {
		return nil
	} else if err != nil {
		return fmt.Errorf("destroying what is left of %s: %w", s.Key, err)
	}
	return r.book.Add(transcript.Record{Type: transcript.Refused, Step: s.Number, Says: "A half-made " + s.Key + " was found and destroyed."})
}
