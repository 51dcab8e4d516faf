package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tapvault/tapvault/access"
)

// accessType is the typ of access tokens (RFC 9068). Assertions have another,
// so neither passes for the other.
const accessType = "at+jwt"

// claims are those of an access token.
type claims struct {
	jwt.RegisteredClaims
	ClientID  string `json:"client_id"`
	Role      string `json:"role"`
	Scope     string `json:"scope"`
	Requestor string `json:"requestor,omitempty"`
	Terminal  string `json:"terminal,omitempty"`

	Cnf *confirmation `json:"cnf,omitempty"`
}

// mint makes an access token. The JWT library writes the text that is signed;
// the HSM signs its digest.
func (s *Service) mint(ctx context.Context, c Client, scopes []access.Action) (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, id[:]); err != nil {
		return "", fmt.Errorf("drawing an id: %w", err)
	}
	now, keys := s.cfg.Now(), s.ring.Load()
	var bound *confirmation
	if x := certificateOf(ctx); x != "" {
		bound = &confirmation{x}
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.cfg.Issuer, Subject: c.ID, Audience: jwt.ClaimStrings{s.cfg.Audience},
			ExpiresAt: jwt.NewNumericDate(now.Add(s.cfg.AccessTTL)),
			NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now),
			ID: base64.RawURLEncoding.EncodeToString(id[:]),
		},
		ClientID: c.ID, Role: string(c.Role), Scope: Scope(scopes), Requestor: c.Requestor, Terminal: c.Terminal, Cnf: bound,
	})
	t.Header["typ"], t.Header["kid"] = accessType, keys.signing
	text, err := t.SigningString()
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	sig, err := keys.keys[keys.signing].Sign(ctx, sha256.Sum256([]byte(text)))
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig[:]), nil
}

// Check reads an access token and returns who it speaks for. Errors of the
// caller wrap [ErrRefused] or [ErrUnknown]; when the registry cannot be asked,
// its error is returned and nobody is believed.
func (s *Service) Check(ctx context.Context, bearer string) (access.Caller, error) {
	if len(bearer) > maxCompact {
		return access.Caller{}, fmt.Errorf("reading access token: %w: longer than %d bytes", ErrRefused, maxCompact)
	}
	var text [maxCompact]byte // on the stack: a conversion would allocate for every request
	now, hash := s.cfg.Now(), sha256.Sum256(text[:copy(text[:], bearer)])
	e, found := s.cache.get(hash)
	if found && !now.Before(e.expires) {
		return access.Caller{}, fmt.Errorf("reading access token: %w: it has expired", ErrRefused)
	}
	if age := now.Sub(e.checked); found && age >= 0 && age < s.cfg.Recheck { // a clock may be set back
		if err := presented(ctx, e.bound); err != nil {
			return access.Caller{}, fmt.Errorf("reading access token: %w", err)
		}
		return e.caller, nil
	}
	if !found {
		var err error
		if e, err = s.parse(ctx, bearer); err != nil {
			return access.Caller{}, fmt.Errorf("reading access token: %w", err)
		}
	}
	if err := s.stillGood(ctx, e); err != nil {
		return access.Caller{}, fmt.Errorf("reading access token: %w", err)
	}
	e.checked = now
	s.cache.put(hash, e, now)
	return e.caller, nil
}

// stillGood looks again at what may have changed since a token was given: its
// key, its client, and who presents it.
func (s *Service) stillGood(ctx context.Context, e entry) error {
	if err := presented(ctx, e.bound); err != nil {
		return err
	}
	if e.foreign != nil {
		k, err := e.foreign.Keys.Key(ctx, e.kid)
		if err != nil {
			return fmt.Errorf("%w: of issuer %s: %w", ErrRefused, e.foreign.Name, err)
		}
		if !k.same(e.key) {
			return fmt.Errorf("%w: of issuer %s: its key was replaced under the same name", ErrRefused, e.foreign.Name)
		}
		return nil
	}
	if _, ok := s.key(ctx, e.kid); !ok {
		return fmt.Errorf("%w: its key was taken away", ErrRefused)
	}
	c, err := s.client(ctx, e.caller.ID)
	if err == nil && c.Bound && e.bound == "" {
		err = fmt.Errorf("%w: the client's tokens are bound to certificates, and this one is not", ErrRefused)
	}
	return err
}

// parse checks an access token's signature and claims.
func (s *Service) parse(ctx context.Context, bearer string) (entry, error) {
	if i := s.issuerOf(bearer); i != nil {
		return s.parseForeign(ctx, i, bearer)
	}
	h, err := inspect(bearer, []string{es256}, []string{accessType})
	if err != nil {
		return entry{}, err
	}
	key, ok := s.key(ctx, h.Kid)
	if !ok {
		return entry{}, fmt.Errorf("%w: signed with a key that is not ours", ErrRefused)
	}
	c := &claims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{es256}), jwt.WithStrictDecoding(), jwt.WithIssuedAt(),
		jwt.WithExpirationRequired(), jwt.WithIssuer(s.cfg.Issuer), jwt.WithAudience(s.cfg.Audience),
		jwt.WithTimeFunc(s.cfg.Now), jwt.WithLeeway(leeway))
	if _, err := parser.ParseWithClaims(bearer, c, func(*jwt.Token) (any, error) { return key.Public, nil }); err != nil {
		return entry{}, refusal(err)
	}
	// Another process made it, whose clock may be ahead; none makes it last longer.
	if !s.cfg.Now().Before(c.ExpiresAt.Time) {
		return entry{}, fmt.Errorf("%w: it has expired", ErrRefused)
	}
	if c.Subject == "" || c.Subject != c.ClientID || c.ID == "" || len(c.Audience) != 1 {
		return entry{}, fmt.Errorf("%w: a claim is missing", ErrRefused)
	}
	caller := Client{ID: c.Subject, Role: access.Role(c.Role), Requestor: c.Requestor, Terminal: c.Terminal}.
		caller(ParseScope(c.Scope))
	e := entry{caller: caller, expires: c.ExpiresAt.Time, kid: h.Kid}
	if c.Cnf != nil {
		if e.bound = c.Cnf.X5T; e.bound == "" {
			return entry{}, fmt.Errorf("%w: bound to something that is no certificate", ErrRefused)
		}
	}
	return e, nil
}

// Scope prints scopes as OAuth does, separated by spaces.
func Scope(as []access.Action) string {
	words := make([]string, len(as))
	for i, a := range as {
		words[i] = string(a)
	}
	return strings.Join(words, " ")
}

// ParseScope is the inverse of [Scope]. Whether a scope exists, and whether
// its holder may have it, is judged where it is used.
func ParseScope(s string) []access.Action {
	var as []access.Action
	for _, w := range strings.Fields(s) {
		as = append(as, access.Action(w))
	}
	return as
}

// entry is what the cache knows of a token.
type entry struct {
	caller  access.Caller
	expires time.Time
	checked time.Time  // when its client was last looked up
	kid     string     // of the key that signed it
	foreign *Issuer    // nil: it is our own
	key     ForeignKey // of foreign; our own keys are named after themselves
	bound   string     // thumbprint of the certificate that it is bound to
}
