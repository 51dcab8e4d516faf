// Package keyref names keys that live in the HSM; it never holds key bytes.
//
// A key is named by a [Ref]: the realm whose masters it belongs to (empty for
// the service's own keys), what it is for, and its version. A [Path] adds the
// diversification factors that lead from a master to one card's or one slot's
// key. The [Spec] of a usage fixes the attributes an object must bear.
package keyref

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ErrMalformed reports a reference or label that does not name a key.
var ErrMalformed = errors.New("keyref: malformed key reference")

// Ref names one version of one key.
type Ref struct {
	Realm   string // scheme the masters belong to; empty for the service's own keys
	Usage   Usage
	Version uint8 // from 1
}

var realmName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Valid reports whether r names a key that can exist.
func (r Ref) Valid() bool {
	s, ok := r.Usage.Spec()
	if !ok || r.Version == 0 {
		return false
	}
	if !s.Realm {
		return r.Realm == ""
	}
	return realmName.MatchString(r.Realm)
}

// Label is the CKA_LABEL of the first object: "realm.usage.vN", or "usage.vN".
func (r Ref) Label() string {
	l := string(r.Usage) + ".v" + strconv.Itoa(int(r.Version))
	if r.Realm != "" {
		l = r.Realm + "." + l
	}
	return l
}

// SecondLabel is the CKA_LABEL of the second object of a paired usage.
func (r Ref) SecondLabel() string { return r.Label() + ".2" }

// String is the label: a Ref is safe to log.
func (r Ref) String() string { return r.Label() }

// Parse is the inverse of [Ref.Label].
func Parse(label string) (Ref, error) {
	parts := strings.Split(label, ".")
	var r Ref
	if len(parts) == 3 {
		r.Realm, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 || !strings.HasPrefix(parts[1], "v") {
		return Ref{}, fmt.Errorf("%w: %q", ErrMalformed, label)
	}
	n, err := strconv.ParseUint(parts[1][1:], 10, 8)
	r.Usage, r.Version = Usage(parts[0]), uint8(n)
	if err != nil || !r.Valid() || r.Label() != label {
		return Ref{}, fmt.Errorf("%w: %q", ErrMalformed, label)
	}
	return r, nil
}

// CheckValue is the left three bytes of a zero block enciphered under a key.
type CheckValue [3]byte

// String prints the check value in upper-case hex.
func (c CheckValue) String() string { return fmt.Sprintf("%X", c[:]) }

// Info describes a stored key for inventories; it holds nothing secret.
type Info struct {
	Ref   Ref
	Spec  Spec
	Local bool        // generated inside the HSM, not imported
	Check *CheckValue // nil where no check value can be computed without showing more
	State string      // ACTIVE unless a ceremony says otherwise
	// Software says that the key is computed with in the memory of the service:
	// the HSM only seals it.
	Software bool

	Ceremony   string // that gave birth to it; empty: none that is known
	Transcript string // digest of that ceremony's transcript
	Flag       string // what is wrong with the key's papers; empty: nothing

	// Tokens are the names of those that hold it, where there are several.
	Tokens []string
}
