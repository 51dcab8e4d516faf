//go:build cgo

package hsm

import (
	"errors"

	"github.com/miekg/pkcs11"
)

// meanings are what modules mean by a code of PKCS #11, and what to do then. Codes
// that have words of their own where they come up are not here.
var meanings = map[pkcs11.Error]string{
	pkcs11.CKR_GENERAL_ERROR:           "the module gives no reason: see what it printed or logs itself, and whether the HSM, daemon or server that it talks to is there for this user",
	pkcs11.CKR_FUNCTION_FAILED:         "the module gives no reason: see what it logs itself",
	pkcs11.CKR_DEVICE_ERROR:            "the HSM, or the way to it, is at fault: see its own log",
	pkcs11.CKR_DEVICE_REMOVED:          "the HSM was pulled out, or cannot be reached any more",
	pkcs11.CKR_TOKEN_NOT_PRESENT:       "the HSM was pulled out, or cannot be reached any more",
	pkcs11.CKR_TOKEN_NOT_RECOGNIZED:    "the module does not know this token: is it the module of this HSM?",
	pkcs11.CKR_DEVICE_MEMORY:           "the token is full",
	pkcs11.CKR_HOST_MEMORY:             "the module has no memory left on this machine",
	pkcs11.CKR_SLOT_ID_INVALID:         "the slot has gone: was the HSM pulled out?",
	pkcs11.CKR_SESSION_COUNT:           "the token opens no more sessions: lower hsm.workers and hsm.max_sessions, or see who else uses it",
	pkcs11.CKR_BUFFER_TOO_SMALL:        "the module wants more room than its answer may take by the standard: ask its vendor",
	pkcs11.CKR_CANT_LOCK:               "the module cannot be called by several threads at once, which it has to be",
	pkcs11.CKR_NEED_TO_CREATE_THREADS:  "the module cannot be called by several threads at once, which it has to be",
	pkcs11.CKR_FUNCTION_NOT_SUPPORTED:  "the module does not have this function at all: use another",
	pkcs11.CKR_MECHANISM_INVALID:       "the module does not have this mechanism, or not for such keys",
	pkcs11.CKR_MECHANISM_PARAM_INVALID: "the module has this mechanism, and not with these parameters",
	pkcs11.CKR_ATTRIBUTE_TYPE_INVALID:  "the module takes no key with such attributes",
	pkcs11.CKR_ATTRIBUTE_VALUE_INVALID: "the module takes no key with such attributes",
	pkcs11.CKR_ATTRIBUTE_READ_ONLY:     "the module takes no key with such attributes",
	pkcs11.CKR_TEMPLATE_INCOMPLETE:     "the module takes no key with such attributes",
	pkcs11.CKR_TEMPLATE_INCONSISTENT:   "the module takes no key with such attributes",
	pkcs11.CKR_ACTION_PROHIBITED:       "the HSM's policy forbids it: see its configuration",
	pkcs11.CKR_TOKEN_WRITE_PROTECTED:   "the token is read-only: lift its write protection",
	pkcs11.CKR_SESSION_READ_ONLY:       "the token is read-only: lift its write protection",
}

// meant is an error of which its text says what a code in it means.
type meant struct {
	error
	words string
}

func (m meant) Error() string { return m.error.Error() + " (" + m.words + ")" }
func (m meant) Unwrap() error { return m.error }

// told gives an error that names a bare code words, once.
func told(err error) error {
	words := meanings[code(err)]
	if words == "" || errors.As(err, new(meant)) || errors.As(err, new(odd)) {
		return err
	}
	return meant{err, words}
}
