package group

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Require is [hsm.Token.Require] on every token that is up, and fails when two
// of them hold different keys under one name.
func (g *Group) Require(ctx context.Context, refs ...keyref.Ref) error {
	return g.require(ctx, &g.required, refs, func(t *hsm.Token) error { return t.Require(ctx, refs...) })
}

// RequireLate is [hsm.Token.RequireLate] on every token that is up: a key is there
// when all of them have it, and the same.
func (g *Group) RequireLate(ctx context.Context, ref keyref.Ref) error {
	return g.require(ctx, &g.late, []keyref.Ref{ref}, func(t *hsm.Token) error { return t.RequireLate(ctx, ref) })
}

func (g *Group) require(ctx context.Context, list *[]keyref.Ref, refs []keyref.Ref, ready func(*hsm.Token) error) error {
	select { // one after the other
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return fmt.Errorf("requiring keys: %w", ctx.Err())
	}
	var able []*member
	for _, m := range g.members {
		if !m.up.Load() {
			continue
		}
		err := ready(m.token.Load())
		if err == nil && len(able) > 0 {
			err = equal(ctx, able[0], m, refs)
		}
		switch {
		case err == nil:
			able = append(able, m)
		case len(g.members) == 1:
			return err
		case fault.KindOf(err) == fault.HSMUnavailable && ctx.Err() == nil:
			m.out() // and taken in with all keys
		default:
			return fmt.Errorf("token %s of the HSM: %w", m.Name, err)
		}
	}
	if len(able) == 0 {
		return fmt.Errorf("requiring keys: %w: no token answers", hsm.ErrUnavailable)
	}
	return g.accept(list, refs, able)
}

// accept has keys used that are ready in some tokens, and the same. A token that was taken
// in meanwhile does without them, and has to come once more.
func (g *Group) accept(list *[]keyref.Ref, refs []keyref.Ref, able []*member) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range refs {
		known := slices.Contains(g.required, r) || slices.Contains(g.late, r)
		if known && !slices.ContainsFunc(able, func(m *member) bool { return m.has(r) }) {
			return fmt.Errorf("requiring %v: %w", r, errStranger)
		}
	}
	*list = merged(*list, refs)
	for _, m := range g.members {
		switch {
		case slices.Contains(able, m):
			same := map[keyref.Ref]bool{}
			if old := m.same.Load(); old != nil {
				maps.Copy(same, *old)
			}
			for _, r := range refs {
				same[r] = true
			}
			m.same.Store(&same)
			m.proven.Store(true)
		case m.up.Load() && slices.ContainsFunc(refs, func(r keyref.Ref) bool { return !m.has(r) }):
			m.out()
		}
	}
	return nil
}

// out has a token given no work, and looked at.
func (m *member) out() {
	m.up.Store(false)
	m.suspect()
}

// knows reports whether a key was accepted once.
func (g *Group) knows(r keyref.Ref) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.required, r) || slices.Contains(g.late, r)
}

func merged(all, more []keyref.Ref) []keyref.Ref {
	for _, r := range more {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// takeIn makes every key ready that was asked for, compares it with that of a token
// which is up, and lets the token in, unless more keys were asked for meanwhile: then
// it does so again. Nobody waits for it, since it may take long, or hang.
func (g *Group) takeIn(ctx context.Context, m *member) error {
	for {
		g.mu.Lock()
		required, late := g.required, g.late
		g.mu.Unlock()
		same, err := g.compared(ctx, m, required, late)
		if g.settled(m, len(required)+len(late), same, err) {
			return err
		}
	}
}

// settled has m in, or not, unless other than so many keys are asked for by now.
func (g *Group) settled(m *member, asked int, same map[keyref.Ref]bool, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(err, hsm.ErrKeyUnfit): // whatever else is asked for
		m.proven.Store(false)
		m.same.Store(nil)
	case err != nil:
	case len(g.required)+len(g.late) != asked:
		return false
	default:
		m.same.Store(&same)
		m.proven.Store(true)
		m.up.Store(true)
	}
	return true
}

// compared makes keys ready and says which of them are those of the others. Where none
// is up that has a key, it has to have been compared before; a late key that was not is
// left out.
func (g *Group) compared(ctx context.Context, m *member, required, late []keyref.Ref) (map[keyref.Ref]bool, error) {
	t := m.token.Load()
	if err := t.Require(ctx, required...); err != nil {
		return nil, err
	}
	if !m.proven.Load() && !slices.ContainsFunc(g.members, m.besides) {
		return nil, errStranger
	}
	same := map[keyref.Ref]bool{}
	for _, r := range required {
		known, err := g.compare(ctx, g.holder(ctx, m, r, false), m, r)
		if err == nil && !known {
			err = errStranger
		}
		if err != nil {
			return nil, err
		}
		same[r] = true
	}
	for _, r := range late {
		err := t.RequireLate(ctx, r)
		if err != nil && !errors.Is(err, hsm.ErrKeyMissing) {
			return nil, err
		}
		other := g.holder(ctx, m, r, true)
		if err != nil && other != nil {
			return nil, err // the others have it
		}
		if err == nil {
			same[r], err = g.compare(ctx, other, m, r)
			if err != nil {
				return nil, err
			}
		}
	}
	return same, nil
}

// besides reports whether x is another token that is up, and has keys that are right.
func (m *member) besides(x *member) bool { return x != m && x.up.Load() && x.proven.Load() }

// holder is another token that is up and has a key, or nil. A late one may have gone.
func (g *Group) holder(ctx context.Context, m *member, r keyref.Ref, late bool) *member {
	for _, x := range g.members {
		if m.besides(x) && x.has(r) && (!late || !errors.Is(x.token.Load().RequireLate(ctx, r), hsm.ErrKeyMissing)) {
			return x
		}
	}
	return nil
}

// compare says whether a key of m is known to be right: by another token, or from before.
func (g *Group) compare(ctx context.Context, other, m *member, r keyref.Ref) (bool, error) {
	if other == nil {
		return m.has(r), nil
	}
	return true, equal(ctx, other, m, []keyref.Ref{r})
}

// errStranger reports a token whose keys cannot be compared, as no other is up.
var errStranger = fmt.Errorf("%w: no token is up that its keys could be compared with", hsm.ErrUnavailable)

// equal fails when two tokens hold different keys. Nothing of a key is shown.
func equal(ctx context.Context, a, b *member, refs []keyref.Ref) error {
	for _, r := range refs {
		same, err := agree(ctx, a.token.Load(), b.token.Load(), r)
		if err != nil {
			return fmt.Errorf("comparing %v: %w", r, err)
		}
		if !same {
			return fmt.Errorf("%w: %q is another key in token %s than in token %s: one ceremony has to bring it to both",
				hsm.ErrKeyUnfit, r.Label(), a.Name, b.Name)
		}
	}
	return nil
}

// agree has both tokens compute what only equal keys agree on.
func agree(ctx context.Context, a, b *hsm.Token, r keyref.Ref) (bool, error) {
	spec, _ := r.Usage.Spec()
	switch spec.Type {
	case keyref.ECP256:
		x, err := a.PublicKey(ctx, r)
		if err != nil {
			return false, err
		}
		y, err := b.PublicKey(ctx, r)
		return err == nil && x.Equal(y), err
	case keyref.AES256:
		return opens(ctx, a, b, r)
	}
	x, err := a.Trial(ctx, r)
	if err != nil {
		return false, err
	}
	y, err := b.Trial(ctx, r)
	if err == nil && len(x) == 0 {
		err = fmt.Errorf("%w: keys of this kind cannot be compared", hsm.ErrKeyUnfit)
	}
	return subtle.ConstantTimeCompare(x, y) == 1, err
}

// opens says whether b opens what a seals.
func opens(ctx context.Context, a, b *hsm.Token, r keyref.Ref) (bool, error) {
	text, aad := make([]byte, 16), []byte("are they the same key?")
	if _, err := rand.Read(text); err != nil {
		return false, err
	}
	sealed, err := a.Seal(ctx, r, text, aad)
	if err != nil {
		return false, err
	}
	back, err := b.Unseal(ctx, r, sealed, aad)
	if err != nil {
		if k := fault.KindOf(err); k == fault.HSMUnavailable || k == fault.HSMKey || b.Health(ctx) != nil {
			return false, err
		}
		return false, nil // it answers, and does not open it
	}
	return subtle.ConstantTimeCompare(back, text) == 1, nil
}
