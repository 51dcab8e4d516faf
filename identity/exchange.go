package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
)

// assertionAlgs are the algorithms by which clients sign.
var assertionAlgs = []string{es256, eddsa, ps256}

// Limits of an assertion.
const (
	maxAhead = 5 * time.Minute  // how far ahead it may end
	leeway   = 30 * time.Second // clocks may differ by this much
	maxID    = 128              // bytes of its jti
)

// Grant is an access token and what it allows.
type Grant struct {
	Client    string // who it is for
	Token     string
	ExpiresIn time.Duration
	Scopes    []access.Action
}

// Exchange gives an access token for an assertion that a client signed. wanted
// narrows the client's scopes; none asks for all of them.
//
// An assertion is good once: its jti is noted durably before the token is
// made. Every failure that is the client's wraps [ErrRefused], [ErrUnknown],
// [ErrSpent] or [ErrScope].
func (s *Service) Exchange(ctx context.Context, assertion string, wanted ...access.Action) (Grant, error) {
	c, claims, err := s.verify(ctx, assertion)
	if err != nil {
		return Grant{}, fmt.Errorf("reading assertion: %w", err)
	}
	if c.Bound && certificateOf(ctx) == "" {
		return Grant{}, fmt.Errorf("%w: the client has to show a certificate", ErrRefused)
	}
	scopes, err := c.granted(wanted)
	if err != nil {
		return Grant{}, err
	}
	if err := s.cfg.Registry.Spend(ctx, c.ID, claims.ID, claims.ExpiresAt.Add(leeway)); err != nil {
		return Grant{}, fmt.Errorf("spending assertion: %w", err)
	}
	t, err := s.mint(ctx, c, scopes)
	if err != nil {
		return Grant{}, fmt.Errorf("making access token: %w", err)
	}
	return Grant{Client: c.ID, Token: t, ExpiresIn: s.cfg.AccessTTL, Scopes: scopes}, nil
}

// verify checks everything about an assertion but whether it is new.
func (s *Service) verify(ctx context.Context, assertion string) (Client, *jwt.RegisteredClaims, error) {
	h, err := inspect(assertion, assertionAlgs, []string{"", "jwt", "client-authentication+jwt"})
	if err != nil {
		return Client{}, nil, err
	}
	var c Client
	claims := &jwt.RegisteredClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{h.Alg}), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(s.cfg.Now))
	_, err = parser.ParseWithClaims(assertion, claims, func(*jwt.Token) (any, error) {
		var k clientKey
		if c, k, err = s.keyOf(ctx, claims.Issuer); err != nil {
			return nil, err
		}
		if k.alg != h.Alg || h.Kid != "" && !slices.Contains(k.ids, h.Kid) {
			return nil, fmt.Errorf("%w: not the client's algorithm or key", ErrRefused)
		}
		return k.public, nil
	})
	if err != nil {
		return Client{}, nil, refusal(err)
	}
	return c, claims, s.checkClaims(claims)
}

// keyOf returns an enabled client and its key.
func (s *Service) keyOf(ctx context.Context, id string) (Client, clientKey, error) {
	c, err := s.client(ctx, id)
	if err != nil {
		return c, clientKey{}, err
	}
	k, err := parseKey(c.JWK)
	if err != nil { // registration would not have taken it
		return c, k, fmt.Errorf("%w: the key on record cannot be used", ErrRefused)
	}
	return c, k, nil
}

// client returns an enabled client.
func (s *Service) client(ctx context.Context, id string) (Client, error) {
	if !clientID.MatchString(id) {
		return Client{}, ErrUnknown
	}
	c, err := s.cfg.Registry.Client(ctx, id)
	if err != nil {
		return Client{}, fmt.Errorf("looking up client: %w", err)
	}
	if c.Disabled {
		return Client{}, fmt.Errorf("%w: client %s is disabled", ErrRefused, id)
	}
	return c, nil
}

// checkClaims checks what the JWT library was not told to.
func (s *Service) checkClaims(c *jwt.RegisteredClaims) error {
	now := s.cfg.Now()
	switch {
	case len(c.Audience) != 1 || !slices.Contains([]string{s.cfg.Issuer, s.TokenEndpoint(), s.cfg.Audience}, c.Audience[0]):
		return fmt.Errorf("%w: for another audience", ErrRefused)
	case c.Subject != c.Issuer:
		return unfit("iss and sub differ")
	case c.ExpiresAt.After(now.Add(maxAhead)):
		return unfit("exp lies more than five minutes ahead")
	case c.IssuedAt != nil && c.IssuedAt.Before(now.Add(-maxAhead-leeway)):
		return unfit("iat lies more than five minutes back")
	case c.ID == "" || len(c.ID) > maxID || strings.ContainsFunc(c.ID, unprintable):
		return unfit("jti is missing, too long or not printable")
	}
	return datesOf(c)
}

// Unfit is a refusal of an assertion that the client did sign, and for this service, for
// what else it claims. Its text is for the client, which cannot mend it otherwise. Nobody
// else gets so far: an assertion that was stolen elsewhere has another audience.
type Unfit struct{ text string }

func unfit(text string) error { return fmt.Errorf("%w: %w", ErrRefused, &Unfit{text}) }

func (u *Unfit) Error() string { return u.text }

// unprintable characters cannot be kept by every database.
func unprintable(r rune) bool { return r < 0x20 || r == 0x7F || r == utf8.RuneError }

// datesOf refuses numbers that are no dates. Beyond what a clock counts, the far
// future reads as the past.
func datesOf(c *jwt.RegisteredClaims) error {
	for _, d := range []*jwt.NumericDate{c.ExpiresAt, c.NotBefore, c.IssuedAt} {
		if d != nil && (d.Year() < 1970 || d.Year() > 9999) {
			return fmt.Errorf("%w: a date that is none", ErrRefused)
		}
	}
	return nil
}

// refusal makes an error of the JWT library one of ours. A failing registry
// stays what it is: the client did nothing wrong.
func refusal(err error) error {
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrUnknown) || fault.KindOf(err) != fault.Internal {
		return err
	}
	// The library's text names the failed check and repeats nothing.
	for _, known := range []error{jwt.ErrTokenExpired, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued,
		jwt.ErrTokenSignatureInvalid, jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenInvalidAudience,
		jwt.ErrTokenInvalidIssuer, jwt.ErrTokenMalformed} {
		if errors.Is(err, known) {
			return fmt.Errorf("%w: %w", ErrRefused, known)
		}
	}
	if errors.Is(err, jwt.ErrTokenUnverifiable) { // the key function failed with an error of no kind
		return err
	}
	return ErrRefused
}
