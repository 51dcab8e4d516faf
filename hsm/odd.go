//go:build cgo

package hsm

import (
	"errors"

	"github.com/miekg/pkcs11"
)

// A module may answer what the standard does not allow: a length beyond the room, a key
// without a handle, success and nothing written. Such an answer is never used. It ends
// what was asked like an error of the module's own, and the session is given up. See
// docs/decisions/183.

// odd is such an answer. To whoever looks at codes it is CKR_GENERAL_ERROR.
type odd struct{ words string }

func (o odd) Error() string {
	return "the module breaks the rules of PKCS #11: " + o.words + ": ask its vendor, or use another version of it"
}

func (odd) Unwrap() error { return pkcs11.Error(pkcs11.CKR_GENERAL_ERROR) }

// ofModule reports whether err tells of the module, and nothing of the key that it
// was asked for.
func ofModule(err error) bool {
	c := code(err)
	return errors.As(err, new(odd)) || c == pkcs11.CKR_FUNCTION_NOT_SUPPORTED || c == pkcs11.CKR_BUFFER_TOO_SMALL
}

const (
	oddLength = "its answer has another length than is right"
	oddHandle = "it says that it made something, and gives no handle of it"
	oddSilent = "it says that it has answered, and wrote nothing"
	oddCount  = "it lists more than there was room for"
)

// given refuses 0 as the handle of something that was made: a session or an object.
func given[H ~uint](h H, err error) (H, error) {
	if err == nil && h == 0 {
		err = odd{oddHandle}
	}
	if err != nil { // with an error the handle means nothing
		return 0, err
	}
	return h, nil
}

// blank reports whether nothing was written where zeros were.
func blank(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
