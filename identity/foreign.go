package identity

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tapvault/tapvault/access"
)

// ForeignKey is a key of another issuer and the one algorithm it signs with.
type ForeignKey struct {
	Alg    string // ES256, EdDSA or PS256
	Public crypto.PublicKey
}

// same reports whether two are one key.
func (k ForeignKey) same(other ForeignKey) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Alg == other.Alg && public.Equal(other.Public)
}

// KeySource knows the keys of another issuer. It is safe for concurrent use.
type KeySource interface {
	// Key returns a key by its id, or an error that says why there is none.
	Key(ctx context.Context, kid string) (ForeignKey, error)
}

// Issuer is another issuer whose access tokens are believed.
type Issuer struct {
	Name     string // for records; lower-case letters, digits, hyphens
	Issuer   string // iss of its tokens
	Audience string // aud of those that are for this service
	Keys     KeySource
	Grants   []Rule        // the first that fits a token says what its bearer is
	MaxLife  time.Duration // the longest life of a token; 0: 1 hour
	Bound    bool          // only tokens that are bound to a certificate
}

// Rule says what the bearers of some tokens are.
type Rule struct {
	Claim, Value string // the claim holds the value, alone or in a list
	Role         access.Role
	Scopes       []access.Action // narrowed by the token's own scope, if it has one of ours
	Requestor    string
	Terminal     string
}

var issuerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// taken are names that stand before other colons: in records, of who works at the
// machine and of the service itself; in counts, of requests.
var taken = []string{"local", "service", "http"}

// Check says what is wrong with an issuer's configuration.
func (i Issuer) Check() error {
	u, err := url.Parse(i.Issuer)
	switch {
	case !issuerName.MatchString(i.Name):
		return errors.New("the name is lower-case letters, digits and hyphens")
	case slices.Contains(taken, i.Name):
		return errors.New("this name stands for something else in records")
	case err != nil || u.Scheme != "https" || u.Host == "":
		return errors.New("issuer must be an https URL")
	case i.Audience == "":
		return errors.New("audience is required: without it a token for anybody would be good here")
	case len(i.Grants) == 0:
		return errors.New("grants is required: without one nobody may do anything")
	case i.MaxLife < 0 || i.MaxLife > 24*time.Hour:
		return errors.New("max_life: up to 24h")
	}
	for _, g := range i.Grants {
		possible := access.ForRole(g.Role)
		switch {
		case g.Claim == "" || g.Value == "":
			return errors.New("grants: claim and value are required")
		case len(possible) == 0:
			return fmt.Errorf("grants: %q is no role; there are %v", g.Role, access.Roles)
		case len(g.Scopes) == 0:
			return errors.New("grants: scopes is required")
		case !requestor.MatchString(g.Requestor) || !groupName.MatchString(g.Terminal):
			return errors.New("grants: requestor is 11 digits, terminal a group's name")
		}
		for _, s := range g.Scopes {
			if !slices.Contains(possible, s) {
				return fmt.Errorf("grants: the role %s cannot have the scope %q", g.Role, s)
			}
		}
	}
	return nil
}

// ParseKeySet reads the keys of a JWK set that this service can use, by id, and
// leaves out the others. Keys without an id have their thumbprint for one.
func ParseKeySet(b []byte) (map[string]ForeignKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, errors.New("not a JWK set")
	}
	const most = 64
	if len(set.Keys) > most {
		return nil, fmt.Errorf("more than %d keys", most)
	}
	out := map[string]ForeignKey{}
	for _, raw := range set.Keys {
		k, err := parseKey(raw)
		if err != nil {
			continue // of a kind that nothing here is signed with
		}
		slices.Sort(k.ids)
		for _, id := range slices.Compact(k.ids) {
			if _, twice := out[id]; twice {
				return nil, errors.New("two keys have one id")
			}
			out[id] = ForeignKey{k.alg, k.public}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no key that can be used: EC P-256, Ed25519, or RSA of 2048 to 4096 bits for PS256")
	}
	return out, nil
}

// foreignClaims are what is read of another issuer's token.
type foreignClaims struct {
	jwt.RegisteredClaims
	ClientID string        `json:"client_id"`
	Scope    any           `json:"scope"`
	Cnf      *confirmation `json:"cnf"`
}

// issuerOf is the configured issuer that a token says it is of, before anything
// of it is believed.
func (s *Service) issuerOf(compact string) *Issuer {
	if len(s.cfg.Issuers) == 0 {
		return nil
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var says struct {
		Issuer string `json:"iss"`
	}
	if err != nil || json.Unmarshal(text, &says) != nil {
		return nil
	}
	for i := range s.cfg.Issuers {
		if s.cfg.Issuers[i].Issuer == says.Issuer {
			return &s.cfg.Issuers[i]
		}
	}
	return nil
}

// parseForeign checks another issuer's access token.
func (s *Service) parseForeign(ctx context.Context, i *Issuer, compact string) (entry, error) {
	h, err := inspect(compact, []string{es256, eddsa, ps256}, []string{accessType, "application/at+jwt", "jwt", ""})
	if err != nil {
		return entry{}, err
	}
	key, err := i.Keys.Key(ctx, h.Kid)
	if err != nil {
		return entry{}, fmt.Errorf("%w: of issuer %s: %w", ErrRefused, i.Name, err)
	}
	if key.Alg != h.Alg {
		return entry{}, fmt.Errorf("%w: not the algorithm of the issuer's key", ErrRefused)
	}
	c := &foreignClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{key.Alg}), jwt.WithStrictDecoding(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway),
		jwt.WithExpirationRequired(), jwt.WithIssuer(i.Issuer), jwt.WithAudience(i.Audience), jwt.WithTimeFunc(s.cfg.Now))
	t, err := parser.ParseWithClaims(compact, c, func(*jwt.Token) (any, error) { return key.Public, nil })
	if err != nil {
		return entry{}, refusal(err)
	}
	if err := s.lifeOf(i, c); err != nil {
		return entry{}, err
	}
	caller, err := i.caller(c, t.Raw)
	if err != nil {
		return entry{}, err
	}
	e := entry{caller: caller, expires: c.ExpiresAt.Time, foreign: i, kid: h.Kid, key: key}
	if c.Cnf != nil {
		e.bound = c.Cnf.X5T
	}
	if e.bound == "" && (i.Bound || c.Cnf != nil) { // a binding of another kind cannot be checked here
		return entry{}, fmt.Errorf("%w: not bound to a certificate", ErrRefused)
	}
	return e, nil
}

// lifeOf refuses a token that lives too long: it cannot be called back.
func (s *Service) lifeOf(i *Issuer, c *foreignClaims) error {
	longest := i.MaxLife
	if longest == 0 {
		longest = time.Hour
	}
	switch {
	case c.Subject == "":
		return fmt.Errorf("%w: no subject", ErrRefused)
	case c.ExpiresAt.After(s.cfg.Now().Add(longest + leeway)):
		return fmt.Errorf("%w: good for too long", ErrRefused)
	}
	return datesOf(&c.RegisteredClaims)
}

// caller is who a checked token speaks for.
func (i *Issuer) caller(c *foreignClaims, compact string) (access.Caller, error) {
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1])
	var all map[string]any
	if err != nil || json.Unmarshal(text, &all) != nil {
		return access.Caller{}, fmt.Errorf("%w: claims that cannot be read", ErrRefused)
	}
	for _, g := range i.Grants {
		if !holds(all[g.Claim], g.Value) {
			continue
		}
		return access.Caller{ID: i.Name + ":" + subjectName(c.Subject), Role: g.Role, Scopes: narrowed(g.Scopes, c.Scope),
			Requestor: g.Requestor, Terminal: g.Terminal}, nil
	}
	return access.Caller{}, fmt.Errorf("%w: no grant of issuer %s fits the token", ErrRefused, i.Name)
}

// holds reports whether a claim is a value, or a list with it.
func holds(claim any, value string) bool {
	switch v := claim.(type) {
	case string:
		return v == value
	case []any:
		return slices.Contains(v, any(value))
	}
	return false
}

// narrowed is what a token asks for of what its bearer may have. A token whose
// scope names nothing of ours narrows nothing: other issuers have scopes of
// their own.
func narrowed(may []access.Action, scope any) []access.Action {
	var asked []access.Action
	if text, ok := scope.(string); ok {
		for _, s := range ParseScope(text) {
			if slices.Contains(access.Actions, s) {
				asked = append(asked, s)
			}
		}
	}
	if len(asked) == 0 {
		return may
	}
	return slices.DeleteFunc(asked, func(a access.Action) bool { return !slices.Contains(may, a) })
}

var plainSubject = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._@-]{0,63}$`)

// digitRun is what could be a card number.
var digitRun = regexp.MustCompile(`[0-9]{9,}`)

// subjectName is a subject as records hold it: as it is where that is harmless,
// by its hash otherwise.
func subjectName(s string) string {
	if plainSubject.MatchString(s) && !digitRun.MatchString(s) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + base32.StdEncoding.EncodeToString(sum[:])[:26]
}
