//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"
)

// InitToken initialises a token in the first slot that holds an uninitialised
// one, and sets its user PIN. It refuses a label that a token has already, so
// it never wipes one.
func InitToken(ctx context.Context, c InitConfig) (err error) {
	if l := len(c.Label); l == 0 || l > 32 || strings.TrimSpace(c.Label) != c.Label {
		return fmt.Errorf("initialising a token: %w: a label has 1 to 32 bytes and no space around it", ErrUnavailable)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m, err := load(c.Module, c.InitArgs, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.release()) }()
	m.mu.Lock() // two callers must not take one slot
	defer m.mu.Unlock()
	if err := m.raise(); err != nil {
		return err
	}
	if half, err := m.begun(c); err != nil || half {
		return err
	}
	slot, err := m.blank(c.Label)
	if err != nil {
		return fmt.Errorf("initialising token %q: %w", c.Label, err)
	}
	if err := m.ctx.InitToken(slot, string(c.SOPIN), c.Label); err != nil {
		return fmt.Errorf("initialising token %q: %w: %w", c.Label, ErrUnavailable, told(err))
	}
	return m.initPIN(c)
}

// begun finishes what an initialisation left that was cut off, if c asks for
// it and there is such a token.
func (m *module) begun(c InitConfig) (bool, error) {
	if !c.Resume {
		return false, nil
	}
	_, info, err := m.slot(c.Label)
	switch {
	case err != nil:
		return false, nil // none: blank says what is wrong, if anything is
	case info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED != 0:
		return true, nil
	}
	return true, m.initPIN(c)
}

// blank finds a slot with an uninitialised token.
func (m *module) blank(label string) (uint, error) {
	slots, err := m.ctx.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("%w: listing the slots: %w", ErrUnavailable, err)
	}
	free, found := uint(0), false
	for _, s := range slots {
		i, err := m.ctx.GetTokenInfo(s)
		switch {
		case err != nil:
			continue
		case i.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 && i.Label == label: // it was given its label before
			return s, nil
		case i.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0:
			free, found = s, !m.native.nss // whose tokens have labels from the start
		case i.Label == label:
			return 0, fmt.Errorf("%w: a token of this label exists and will not be wiped", ErrUnavailable)
		}
	}
	switch {
	case m.native.nss:
		return 0, fmt.Errorf("%w: no token of NSS softokn has this label: give it one in init_args, by dbTokenDescription", ErrUnavailable)
	case !found:
		return 0, fmt.Errorf("%w: no slot holds an uninitialised token", ErrUnavailable)
	}
	return free, nil
}

func (m *module) initPIN(c InitConfig) error {
	slot, err := m.labelled(c.Label) // some modules renumber slots now
	if err != nil {
		return fmt.Errorf("setting the PIN of %q: %w", c.Label, err)
	}
	s, err := m.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return fmt.Errorf("setting the PIN of %q: %w: %w", c.Label, ErrUnavailable, err)
	}
	defer m.ctx.CloseSession(s)
	if err := m.loginOfficer(s, c.SOPIN); err != nil {
		return fmt.Errorf("setting the PIN of %q: %w: %w", c.Label, ErrPIN, told(err))
	}
	defer m.ctx.Logout(s)
	if err := m.ctx.InitPIN(s, string(c.UserPIN)); err != nil {
		return fmt.Errorf("setting the PIN of %q: %w: %w", c.Label, ErrPIN, told(err))
	}
	return nil
}

// labelled finds a token that was just initialised. Some modules do not say
// that it is until it has a user PIN.
func (m *module) labelled(label string) (uint, error) {
	slots, err := m.ctx.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("%w: listing the slots: %w", ErrUnavailable, err)
	}
	for _, s := range slots {
		if i, err := m.ctx.GetTokenInfo(s); err == nil && i.Label == label {
			return s, nil
		}
	}
	return 0, fmt.Errorf("%w: the module did not take the label: it may have labels of its own, as in its init_args", ErrUnavailable)
}

// loginOfficer logs the security officer in. NSS softokn has none: until there
// is a user PIN, it takes the empty PIN and no other. Elsewhere a token that was
// initialised with this PIN a moment ago does not call it wrong.
func (m *module) loginOfficer(s pkcs11.SessionHandle, pin []byte) error {
	err := m.ctx.Login(s, pkcs11.CKU_SO, string(pin))
	if code(err) == pkcs11.CKR_PIN_INCORRECT && m.native.nss {
		return m.ctx.Login(s, pkcs11.CKU_SO, "")
	}
	return err
}
