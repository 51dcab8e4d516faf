//go:build cgo

package hsm

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// login proves the PIN on session s. One that the token refused before is not tried
// again, by no session of this process, unless the token shows that somebody logged
// in or gave it a new PIN since; one that has changed is, once.
//
// A token answers CKR_USER_ALREADY_LOGGED_IN to any PIN, so at the first login
// that code is refused: somebody else in this process owns the login, and our
// PIN is unproven. Later, when a lost session is made anew, it is welcome.
func (t *Token) login(s pkcs11.SessionHandle, again bool) error {
	return t.withPIN(true, func(pin []byte, d pinDigest) error {
		err := loginError(t.cfg, t.mod.native.login(s, pin))
		if again && code(err) == pkcs11.CKR_USER_ALREADY_LOGGED_IN {
			return nil
		}
		switch {
		case errors.Is(err, errNoPIN):
			return err // it says nothing of the PIN either
		case errors.Is(err, ErrPIN):
			full, ferr := t.counterFull()
			refusedPINs.add(t.name(), d, err, ferr == nil && !full)
		case err == nil:
			refusedPINs.forget(t.name())
		default:
			return err // it says nothing of the PIN
		}
		if again && t.cfg.OnPIN != nil && (err != nil || d != t.proven) {
			t.cfg.OnPIN(err)
		}
		if err == nil {
			t.proven = d
		}
		return err
	})
}

// counterFull reports whether no flag of the token says that a PIN was refused since
// the last that was accepted.
func (t *Token) counterFull() (bool, error) {
	info, err := t.mod.ctx.GetTokenInfo(uint(t.slot.Load()))
	return info.Flags&notFull == 0, err
}

// onceMore reports whether a PIN that was refused may have become right, and trying
// it takes none of the tries that the token had then: its flags said that its counter
// was not full, and say now that it is.
func (t *Token) onceMore(d pinDigest) bool {
	if !refusedPINs.rested(t.name(), d) {
		return false
	}
	full, err := t.counterFull()
	return err == nil && full
}

// withPIN lends the PIN, unless it was refused before: with again, one that may have
// become right is lent all the same.
func (t *Token) withPIN(again bool, use func(pin []byte, d pinDigest) error) error {
	lent := false
	err := t.cfg.PIN(func(pin []byte) error {
		lent = true
		d := refusedPINs.digest(pin)
		if err := refusedPINs.of(t.name(), d); err != nil && !(again && t.onceMore(d)) {
			return err
		}
		return use(pin, d)
	})
	if err != nil && !lent { // it may be readable the next time
		return noPIN{err}
	}
	return err
}

// noPIN is an [ErrPIN] of a PIN that the HSM was never shown.
type noPIN struct{ error }

func (e noPIN) Error() string { return "there is no PIN for the HSM: " + e.error.Error() }

func (e noPIN) Unwrap() []error { return []error{ErrPIN, e.error} }

// name tells tokens of this process apart.
func (t *Token) name() string { return t.mod.path + "\x00" + t.cfg.Token }

// loginError says what a failed login means and what to do about it.
func loginError(c Config, err error) error {
	token := c.Token
	switch code(err) {
	case pkcs11.CKR_OK:
		return err
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_INVALID:
		mend := cmp.Or(c.WrongPIN, "correct the PIN file; it will not be tried again until the file changes, or the token shows that its PIN did, because more tries may lock the token")
		return fmt.Errorf("%w: wrong PIN for token %q: %s", ErrPIN, token, mend)
	case pkcs11.CKR_PIN_LOCKED:
		return fmt.Errorf("%w: the PIN of token %q is locked: its security officer has to unlock it", ErrPIN, token)
	case pkcs11.CKR_PIN_EXPIRED:
		return fmt.Errorf("%w: the PIN of token %q has expired: set a new one", ErrPIN, token)
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return fmt.Errorf("%w: token %q %w: let its security officer set one, or finish the ceremony that initialises it (keyceremony run --resume)", ErrPIN, token, errNoPIN)
	case pkcs11.CKR_USER_ALREADY_LOGGED_IN, pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN:
		return fmt.Errorf("%w: somebody else in this process is logged in to token %q, so its PIN could not be proven: %w", ErrUnavailable, token, err)
	}
	return fmt.Errorf("%w: logging in to token %q: %w", ErrUnavailable, token, told(err))
}

// unreachable reports whether err, of a login that was to be made anew, may come of a
// module that lost what it talks to: it says nothing of PIN or keys.
func unreachable(err error) bool {
	return !errors.Is(err, ErrPIN) && (errors.Is(err, errNoToken) || code(err) != pkcs11.CKR_OK)
}

// lost reports whether err may mean that session, login or session objects are
// gone, so that making them anew and trying once more is worth it.
func lost(err error) bool {
	if errors.Is(err, errNoSession) {
		return true
	}
	switch code(err) {
	case pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, // it could not be made anew, see recycle.go
		pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED,
		pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_DEVICE_REMOVED,
		pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_ERROR,
		pkcs11.CKR_HOST_MEMORY: // NSS answers so for a private key when the login is gone
		return true
	}
	return false
}

// Absent reports whether err says that the token is not there, or was pulled out, and
// how that showed.
func Absent(err error) (how string, is bool) {
	switch c := code(err); {
	case errors.Is(err, errNoToken):
		return errNoToken.Error(), true
	case errors.Is(err, ErrPIN), c == pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, c == pkcs11.CKR_HOST_MEMORY:
		return "", false
	case lost(err), c == pkcs11.CKR_TOKEN_NOT_RECOGNIZED, c == pkcs11.CKR_SLOT_ID_INVALID:
		return c.Error(), true
	}
	return "", false
}

// opError wraps what went wrong while doing something.
func opError(doing string, err error) error {
	if err == nil {
		return nil
	}
	if code(err) != pkcs11.CKR_OK && !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, told(err))
	}
	return fmt.Errorf("%s: %w", doing, told(err))
}
