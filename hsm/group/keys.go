package group

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Require is [hsm.Token.Require] on every token that is up, and fails when two
// of them hold different keys under one name.
func (g *Group) Require(ctx context.Context, refs ...keyref.Ref) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var first *member
	for _, m := range g.members {
		if !m.up.Load() {
			continue
		}
		err := m.token.Load().Require(ctx, refs...)
		if err == nil && first != nil {
			err = equal(ctx, first, m, refs)
		}
		if err != nil && len(g.members) > 1 {
			if fault.KindOf(err) == fault.HSMUnavailable && ctx.Err() == nil {
				m.up.Store(false) // and taken in with all keys
				m.suspect()
				continue
			}
			err = fmt.Errorf("token %s of the HSM: %w", m.Name, err)
		}
		if err != nil {
			return err
		}
		m.proven.Store(true)
		if first == nil {
			first = m
		}
	}
	if first == nil {
		return fmt.Errorf("requiring keys: %w: no token answers", hsm.ErrUnavailable)
	}
	g.required = merged(g.required, refs)
	return nil
}

// RequireLate is [hsm.Token.RequireLate] on every token that is up: a key is there
// when all of them have it.
func (g *Group) RequireLate(ctx context.Context, ref keyref.Ref) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var first *member
	for _, m := range g.members {
		if !m.up.Load() {
			continue
		}
		err := m.token.Load().RequireLate(ctx, ref)
		if err == nil && first != nil {
			err = equal(ctx, first, m, []keyref.Ref{ref})
		}
		if err != nil && len(g.members) > 1 && fault.KindOf(err) == fault.HSMUnavailable && ctx.Err() == nil {
			m.suspect()
			continue
		}
		if err != nil {
			return err
		}
		if first == nil {
			first = m
		}
	}
	if first == nil {
		return fmt.Errorf("requiring %v: %w: no token answers", ref, hsm.ErrUnavailable)
	}
	g.late = merged(g.late, []keyref.Ref{ref})
	return nil
}

func merged(all, more []keyref.Ref) []keyref.Ref {
	for _, r := range more {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// takeIn makes every key ready that was asked for, and compares it with that of
// a token which is up. Where none is, only a token that was compared before may
// come in.
func (g *Group) takeIn(ctx context.Context, m *member) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := m.token.Load()
	if err := t.Require(ctx, g.required...); err != nil {
		return err
	}
	var other *member
	for _, x := range g.members {
		if x != m && x.up.Load() && x.proven.Load() {
			other = x
			break
		}
	}
	if other == nil && !m.proven.Load() {
		return errStranger
	}
	keys := slices.Clone(g.required)
	for _, r := range g.late {
		err := t.RequireLate(ctx, r)
		if err == nil {
			keys = append(keys, r)
			continue
		}
		if !errors.Is(err, hsm.ErrKeyMissing) {
			return err
		}
		if other != nil && other.token.Load().RequireLate(ctx, r) == nil {
			return err // the others have it
		}
	}
	if other != nil {
		if err := equal(ctx, other, m, keys); err != nil {
			m.proven.Store(false)
			return err
		}
	}
	m.proven.Store(true)
	return nil
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
		if b.Health(ctx) != nil {
			return false, err
		}
		return false, nil // it answers, and does not open it
	}
	return subtle.ConstantTimeCompare(back, text) == 1, nil
}
