package issuerhost

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
)

// maxExplained is how often a caller may ask about one card in a day.
const maxExplained = 200

// Explanation says how a cryptogram was checked, and what would have made it
// hold. It holds no key, no cryptogram and no value of a field.
type Explanation struct {
	Holds    bool
	Used     Method
	Remarks  []Remark  // what can be seen without any key
	Variants []Variant // the simplest ways in which it would have held; empty: none that is known
	Tried    int       // how many ways were tried
}

// Method is one way to compute a cryptogram.
type Method struct {
	Profile   string
	Key       string // label of the issuer's key
	Master    emv.MasterRule
	Session   emv.SessionRule
	Algorithm string // iso9797-3, iso9797-1 or cmac
	Padding   emv.Padding
	PSN       string
	Fields    []FieldUse
	Length    int // of the message, without padding
	Padded    int // and with it
}

// FieldUse is a field in the order of the message.
type FieldUse struct {
	Name   string
	Length int    // as it came; 0: it is missing
	Wants  string // what the profile wants where that is something else, such as 4 or 8-16
}

// Remark is something odd about a request. Code is of a closed set.
type Remark struct {
	Code  string
	Field string // empty: the whole request
	Text  string
}

// Variant is a way in which the cryptogram would have held, and in what it
// differs from the one that was used.
type Variant struct {
	Method  Method
	Changes []Change
}

// Change is one difference. What is of a closed set; Note says it in words.
type Change struct {
	What       string
	Used, Held string
	Note       string
}

// Explain says why a cryptogram does not hold. It takes no counter and answers
// no transaction: that it finds a way proves nothing about a payment. It is for
// cards only.
func (s *Service) Explain(ctx context.Context, c access.Caller, t Transaction) (Explanation, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVExplain, "emv"); err != nil {
		return Explanation{}, err
	}
	f, err := s.cardOnly(ctx, c, access.EMVExplain, t)
	if err != nil {
		return Explanation{}, err
	}
	if err := f.mayAsk(ctx); err != nil {
		return Explanation{}, err
	}
	if err := s.cfg.Gate.Check(ctx, c, access.EMVExplain, f.object); err != nil {
		return Explanation{}, err
	}
	return f.explain(ctx, t)
}

// mayAsk counts a question about the card.
func (f subject) mayAsk(ctx context.Context) error {
	name, err := f.name(ctx, "explain")
	if err != nil {
		return err
	}
	taken, err := f.cfg.Counters.Take(ctx, f.caller.ID, name, maxExplained)
	if err == nil && taken == nil {
		err = f.tooMany(ctx, "questions")
	}
	return err
}

func (f subject) explain(ctx context.Context, t Transaction) (out Explanation, err error) {
	if t.Payer.PSN == "" {
		t.Payer.PSN = "00"
	}
	err = f.profile.Divide(t.Data)
	if err != nil {
		out.Remarks = append(out.Remarks, Remark{"iad-layout", "9F10", "the issuer application data is not of the layout that this profile has"})
	}
	out.Remarks = append(out.Remarks, f.remarks(t)...)
	base := f.base(t)
	out.Used = base.method(f.profile)
	search := search{subject: f, ac: t.AC, seen: map[string]bool{}}
	out.Holds, err = search.holds(ctx, base)
	if err == nil && !out.Holds {
		out.Variants, err = search.variants(ctx, base, t)
	}
	out.Tried = search.tried
	return out, err
}

// search looks for ways in which one cryptogram holds.
type search struct {
	subject
	ac    [8]byte
	seen  map[string]bool // what was computed: two ways may come to the same
	tried int
}

// holds reports whether the cryptogram is what a way gives. A way that the data
// does not allow gives nothing.
func (s *search) holds(ctx context.Context, w way) (bool, error) {
	key, padded, err := w.compose()
	if err != nil {
		return false, nil // not possible with this data
	}
	print := fmt.Sprintf("%v %x %s %x", key.Key, key.Steps, w.algorithm(), padded)
	if s.seen[print] {
		return false, nil
	}
	s.seen[print] = true
	s.tried++
	ac, err := w.compute(ctx, s.cfg.Keys, key, padded)
	if errors.Is(err, emv.ErrMalformed) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("explaining a cryptogram: %w", err)
	}
	return subtle.ConstantTimeCompare(ac[:], s.ac[:]) == 1, nil
}

// maxTried bounds the work of one question.
const maxTried = 900

// variants tries every single change, and pairs of changes only when no single
// one explains it.
func (s *search) variants(ctx context.Context, base way, t Transaction) (found []Variant, err error) {
	singles := s.turns(base, t)
	for _, c := range singles {
		if found, err = s.try(ctx, found, base, c); err != nil {
			return nil, err
		}
	}
	for i, a := range singles {
		for _, b := range singles[i+1:] {
			if len(found) > 0 || s.tried >= maxTried {
				return found, nil
			}
			if a.What == b.What || a.alone || b.alone || slices.Contains(a.without, b.What) || slices.Contains(b.without, a.What) {
				continue
			}
			if found, err = s.try(ctx, found, base, a, b); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func (s *search) try(ctx context.Context, found []Variant, base way, turns ...turn) ([]Variant, error) {
	w := base.clone()
	var changes []Change
	for _, t := range turns {
		t.do(&w)
		changes = append(changes, t.Change)
	}
	ok, err := s.holds(ctx, w)
	if err != nil || !ok {
		return found, err
	}
	return append(found, Variant{w.method(s.profiles[w.profile]), changes}), nil
}
