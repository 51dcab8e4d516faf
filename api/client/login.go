package client

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/api/wire"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	tokenPath     = "/oauth2/token" // where assertions are exchanged
)

// ReadKey reads a private key from a PEM file: PKCS #8, or what older commands of
// openssl write. One under a passphrase is refused.
func ReadKey(file string) (crypto.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading client key: %w", err)
	}
	block, rest := pem.Decode(b)
	if block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam puts them before the key
		block, _ = pem.Decode(rest)
	}
	if block == nil {
		return nil, fmt.Errorf("reading client key: %s holds no PEM block", file)
	}
	k, err := parsePrivate(block)
	if err != nil {
		return nil, fmt.Errorf("reading client key: %s %w", file, err)
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading client key: %s holds a key that does not sign", file)
	}
	return s, nil
}

func parsePrivate(b *pem.Block) (k any, err error) {
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY", b.Headers["DEK-Info"] != "":
		return nil, errors.New("is under a passphrase, for which nobody is asked here: keep the key without one, readable by its owner alone (openssl pkey -in FILE -out NEW)")
	case b.Type == "EC PRIVATE KEY":
		k, err = x509.ParseECPrivateKey(b.Bytes)
	case b.Type == "RSA PRIVATE KEY":
		k, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case b.Type == "PUBLIC KEY", b.Type == "CERTIFICATE":
		return nil, errors.New("holds a public key, and the private one is needed to log in")
	default:
		k, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, errors.New("holds no PKCS #8 key")
	}
	return k, nil
}

// errLogin is what a login fails with.
var errLogin = errors.New("logging in")

// AccessToken returns a token that is good for some time yet; it logs in when
// there is none.
func (c *Client) AccessToken(ctx context.Context) (string, error) {
	if t := c.current(); t != "" {
		return t, nil
	}
	select {
	case c.login <- struct{}{}:
		defer func() { <-c.login }()
	case <-ctx.Done():
		return "", fmt.Errorf("%w: %w", errLogin, ctx.Err())
	}
	if t := c.current(); t != "" {
		return t, nil
	}
	answer, err := c.exchange(ctx)
	if unanswered(ctx, err) {
		answer, err = c.exchange(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errLogin, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = answer.AccessToken
	c.until = c.cfg.Now().Add(time.Duration(answer.ExpiresIn) * time.Second * 4 / 5)
	return c.token, nil
}

// unanswered reports whether a login ended without an answer, before its time. That
// is how a connection ends that was kept open while the service started anew. A new
// assertion can be sent, whatever became of the one before.
func unanswered(ctx context.Context, err error) bool {
	var answered *Error
	var slow net.Error
	return err != nil && ctx.Err() == nil && !errors.As(err, &answered) && !(errors.As(err, &slow) && slow.Timeout())
}

func (c *Client) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == "" || !c.cfg.Now().Before(c.until) {
		return ""
	}
	return c.token
}

// forget drops token, unless it was already replaced.
func (c *Client) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}

func (c *Client) exchange(ctx context.Context) (wire.AccessToken, error) {
	var answer wire.AccessToken
	assertion, err := c.assertion()
	if err != nil {
		return answer, err
	}
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {assertionType},
		"client_assertion":      {assertion},
	}
	if c.cfg.Scope != "" {
		form.Set("scope", c.cfg.Scope)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.BaseURL+tokenPath, strings.NewReader(form.Encode()))
	if err != nil {
		return answer, fmt.Errorf("building request: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	err = c.do(r, &answer)
	return answer, err
}

// assertion signs a statement of who calls, good for one minute and one use.
func (c *Client) assertion() (string, error) {
	alg, err := algorithm(c.cfg.Key)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if c.cfg.KeyID != "" {
		options = options.WithHeader("kid", c.cfg.KeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: c.cfg.Key}, options)
	if err != nil {
		return "", fmt.Errorf("preparing to sign: %w", err)
	}
	jti, err := c.random()
	if err != nil {
		return "", err
	}
	now := c.cfg.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"iss": c.cfg.ClientID, "sub": c.cfg.ClientID, "aud": c.cfg.Audience,
		"jti": jti, "iat": now, "nbf": now, "exp": now + 60,
	})
	if err != nil {
		return "", fmt.Errorf("encoding the assertion: %w", err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("signing the assertion: %w", err)
	}
	return signed.CompactSerialize()
}

func algorithm(k crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch k.(type) {
	case *ecdsa.PrivateKey:
		return jose.ES256, nil
	case ed25519.PrivateKey:
		return jose.EdDSA, nil
	case *rsa.PrivateKey:
		return jose.PS256, nil
	}
	return "", errors.New("client: the key must be P-256, Ed25519 or RSA")
}
