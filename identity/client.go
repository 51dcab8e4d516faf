package identity

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
)

// Client is one registered caller.
type Client struct {
	ID        string // 1 to 64 lower-case letters, digits, dots, dashes and underlines
	Name      string // for people; up to 128 bytes
	Role      access.Role
	Scopes    []access.Action // the most it can be granted; each belongs to Role
	Requestor string          // Token Requestor ID, 11 digits; empty: none
	Terminal  string          // terminal group, up to 64 characters, for terminals; empty: all
	JWK       []byte          // public key that it signs with (RFC 7517): EC P-256 (ES256), Ed25519 (EdDSA), or RSA of 2048 to 4096 bits (PS256)
	EncJWK    []byte          // public key to which answers are sealed (RFC 7517): EC P-256; empty: none
	Bound     bool            // its tokens are bound to its TLS certificate, always
	Disabled  bool
	CreatedAt time.Time
}

var (
	clientID  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	groupName = regexp.MustCompile(`^[0-9A-Za-z._-]{0,64}$`)
	requestor = regexp.MustCompile(`^([0-9]{11})?$`)
)

// Validate says whether c can be registered; the error wraps [ErrClient].
func (c Client) Validate() error {
	possible := access.ForRole(c.Role)
	switch {
	case !clientID.MatchString(c.ID):
		return fmt.Errorf("%w: the id is 1 to 64 lower-case letters, digits, dots, dashes and underlines", ErrClient)
	case len(c.Name) > 128:
		return fmt.Errorf("%w: the name has at most 128 bytes", ErrClient)
	case len(possible) == 0:
		return fmt.Errorf("%w: no such role; there are %v", ErrClient, access.Roles)
	case len(c.Scopes) == 0:
		return fmt.Errorf("%w: it has no scope", ErrClient)
	case !requestor.MatchString(c.Requestor):
		return fmt.Errorf("%w: a token requestor id has 11 digits", ErrClient)
	case !groupName.MatchString(c.Terminal):
		return fmt.Errorf("%w: a terminal group is up to 64 letters, digits, dots, dashes and underlines", ErrClient)
	}
	for _, s := range c.Scopes {
		if !slices.Contains(possible, s) {
			return fmt.Errorf("%w: its role cannot have one of its scopes; it can have %v", ErrClient, possible)
		}
	}
	sig, err := parseKey(c.JWK)
	if err != nil || len(c.EncJWK) == 0 {
		return err
	}
	enc, _, err := parseEncKey(c.EncJWK)
	if err == nil && enc.Equal(sig.public) {
		return fmt.Errorf("%w: it signs with the key to which answers would be sealed", ErrClient)
	}
	return err
}

// caller is c with the scopes it was granted.
func (c Client) caller(scopes []access.Action) access.Caller {
	return access.Caller{ID: c.ID, Role: c.Role, Scopes: scopes, Requestor: c.Requestor, Terminal: c.Terminal}
}

// granted returns the scopes that c gets when it asks for wanted: all of its
// own for none.
func (c Client) granted(wanted []access.Action) ([]access.Action, error) {
	if len(wanted) == 0 {
		return c.Scopes, nil
	}
	for _, w := range wanted {
		if !slices.Contains(c.Scopes, w) {
			return nil, ErrScope
		}
	}
	return wanted, nil
}
