package engine

import (
	"context"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

func (r *run) confirm(ctx context.Context, v View) error {
	for range tries {
		typed, err := r.Desk.Confirm(ctx, v)
		if err != nil {
			return err
		}
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(typed), "-", ""), strings.ReplaceAll(r.Plan.Short(), "-", "")) {
			return nil
		}
		v.Note = "This is not the plan's short hash. Read it from the approved plan, not from this screen."
		if err := r.refuse(v.Step, v.Note); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: the short hash was typed wrong %d times: see that everybody holds the same plan (keyceremony check), then resume", ErrStep, tries)
}

func (r *run) pin(ctx context.Context, v View) error {
	b, err := r.typed(ctx, Ask{View: v, PIN: true}, func(b []byte) string {
		if len(b) < minPINPart {
			return fmt.Sprintf("A part of a PIN has %d characters at least.", minPINPart)
		}
		return ""
	})
	if err != nil {
		return err
	}
	r.parts[v.Step.Key] = append(r.parts[v.Step.Key], b)
	return nil
}

// typed asks until what was typed passes judge, but not for ever.
func (r *run) typed(ctx context.Context, a Ask, judge func([]byte) string) (*secret.Buffer, error) {
	a.Refused = func(why string) error { return r.refuse(a.Step, why) }
	for range tries {
		b, err := r.Desk.Enter(ctx, a)
		if err != nil {
			return nil, err
		}
		why := judge(b.Bytes())
		if why == "" {
			return b, nil
		}
		b.Wipe()
		a.Note = why
		if err := r.refuse(a.Step, why); err != nil {
			return nil, err
		}
	}
	if a.PIN {
		return nil, fmt.Errorf("%w: this part of the %s was refused %d times: choose one that is long enough, then resume the ceremony", ErrStep, a.Step.Key, tries)
	}
	return nil, fmt.Errorf("%w: %s was refused %d times: compare it with the letter, then resume the ceremony", ErrStep, a.Step.Key, tries)
}

// joined is a PIN of all its parts.
func (r *run) joined(what string) (pin []byte) {
	for _, b := range r.parts[what] {
		pin = append(pin, b.Bytes()...)
	}
	return pin
}

// enter takes a component or share from one person.
func (r *run) enter(ctx context.Context, v View) (map[string]string, error) {
	s := v.Step
	k, err := r.unlock(ctx, s.Who)
	if err != nil {
		return nil, err
	}
	k.Wipe()
	check := func(b []byte) (string, error) { return r.partCheck(s.Key, b) }
	b, err := r.typed(ctx, Ask{View: v, Length: r.partLength(s.Key), Check: check}, func(b []byte) string { return r.implausible(s.Key, b) })
	if err != nil {
		return nil, err
	}
	text, err := check(b.Bytes())
	if err != nil {
		return nil, err
	}
	r.parts[s.Key] = append(r.parts[s.Key], b)
	return map[string]string{transcript.DataCheck: text}, nil
}

// implausible says why what was typed cannot be a component or share.
func (r *run) implausible(key string, b []byte) string {
	if n := r.partLength(key); len(b) != n {
		return fmt.Sprintf("It has %d bytes, and %d are wanted: see that the letter is of this key.", len(b), n)
	}
	if subtle.ConstantTimeCompare(b, make([]byte, len(b))) == 1 {
		return "It is zero, which no component is: see that the letter is whole, and ask for a new one."
	}
	for _, other := range r.parts[key] {
		if key == script.BackupName && b[0] == other.Bytes()[0] {
			return fmt.Sprintf("Share %d was typed already: each person types their own.", b[0])
		}
		if subtle.ConstantTimeCompare(b, other.Bytes()) == 1 {
			return "It equals a component that was typed before: each custodian types their own."
		}
	}
	return ""
}
