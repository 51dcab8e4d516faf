//go:build cgo

package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"
)

// login proves the PIN on session s.
//
// A token answers CKR_USER_ALREADY_LOGGED_IN to any PIN, so at the first login
// that code is refused: somebody else in this process owns the login, and our
// PIN is unproven. Later, when a lost session is made anew, it is welcome.
func (t *Token) login(s pkcs11.SessionHandle, again bool) error {
	pin, err := t.cfg.PIN()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPIN, err)
	}
	err = t.mod.native.login(s, pin)
	if again && code(err) == pkcs11.CKR_USER_ALREADY_LOGGED_IN {
		return nil
	}
	return loginError(t.cfg.Token, err)
}

// loginError says what a failed login means and what to do about it.
func loginError(token string, err error) error {
	switch code(err) {
	case pkcs11.CKR_OK:
		return err
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_INVALID:
		return fmt.Errorf("%w: wrong PIN for token %q: correct the PIN file; it will not be tried again, because more tries may lock the token", ErrPIN, token)
	case pkcs11.CKR_PIN_LOCKED:
		return fmt.Errorf("%w: the PIN of token %q is locked: its security officer has to unlock it", ErrPIN, token)
	case pkcs11.CKR_PIN_EXPIRED:
		return fmt.Errorf("%w: the PIN of token %q has expired: set a new one", ErrPIN, token)
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return fmt.Errorf("%w: token %q has no user PIN yet: run tapvault init, or let its security officer set one", ErrPIN, token)
	case pkcs11.CKR_USER_ALREADY_LOGGED_IN, pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN:
		return fmt.Errorf("%w: somebody else in this process is logged in to token %q, so its PIN could not be proven", ErrUnavailable, token)
	}
	return fmt.Errorf("%w: logging in to token %q: %w", ErrUnavailable, token, err)
}

// lost reports whether err may mean that session, login or session objects are
// gone, so that making them anew and trying once more is worth it.
func lost(err error) bool {
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

// opError wraps what went wrong while doing something.
func opError(doing string, err error) error {
	if err == nil {
		return nil
	}
	if code(err) != pkcs11.CKR_OK {
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
