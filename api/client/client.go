// Package client calls the HTTP API.
//
// A client proves who it is with its own private key (private_key_jwt, RFC 7523 section
// 2.2) and renews its access token before that ends.
//
// Every call sends one request and returns the answer's type of package wire. An answer
// other than success is an [*Error], which holds the service's problem (RFC 9457): see
// [IsProblem]. Any other error means that no answer came: a call that writes may have
// taken effect, and is safe to repeat under the same key of [WithAttempt]. Amounts are
// minor units (fen); references, PANs and dates are texts as docs/api.md describes them.
package client

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tapvault/tapvault/api/wire"
)

// Config says where the service is and who calls.
type Config struct {
	BaseURL  string        // such as https://localhost:8443; required
	ClientID string        // required
	Key      crypto.Signer // P-256, Ed25519 or RSA; required; see [ReadKey]
	KeyID    string        // empty: no kid is sent
	CAFile   string        // PEM file of trusted roots; empty: those of the system
	Audience string        // of assertions; empty: BaseURL + /oauth2/token
	// Certificate is shown in the TLS handshake, so that access tokens are bound to
	// it (RFC 8705); nil: none. With HTTP set, that has to show it.
	Certificate *tls.Certificate
	Scope       string // scopes to ask for, separated by spaces; empty: all that are granted

	HTTP *http.Client     // nil: TLS 1.3, 30 s per call
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
}

// Client calls one service as one client. It is safe for concurrent use.
type Client struct {
	cfg   Config
	login chan struct{} // room for one: one login at a time
	mu    sync.Mutex    // guards the next two
	token string
	until time.Time // renew from here on
}

// New checks cfg and returns a client. It does not connect.
func New(cfg Config) (*Client, error) {
	if cfg.BaseURL == "" || cfg.ClientID == "" || cfg.Key == nil {
		return nil, errors.New("client: BaseURL, ClientID and Key are required")
	}
	if at, err := url.Parse(cfg.BaseURL); cfg.HTTP == nil && (err != nil || at.Scheme != "https" || at.Host == "") {
		return nil, errors.New("client: the service is at a URL such as https://tapvault.example:8443, and speaks nothing but https")
	}
	cfg.BaseURL = strings.TrimRight(cfg.BaseURL, "/")
	if cfg.Audience == "" {
		cfg.Audience = cfg.BaseURL + tokenPath
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.HTTP == nil {
		roots, err := readRoots(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		cfg.HTTP = NewHTTP(roots)
		if t, ok := cfg.HTTP.Transport.(*http.Transport); ok && cfg.Certificate != nil {
			t.TLSClientConfig.Certificates = []tls.Certificate{*cfg.Certificate}
		}
	}
	return &Client{cfg: cfg, login: make(chan struct{}, 1)}, nil
}

// NewHTTP returns what [Config].HTTP is by default: TLS 1.3, the given roots
// (nil: the system's), 30 seconds per call, redirects refused.
func NewHTTP(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading trusted roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("reading trusted roots: %s holds no certificate", file)
	}
	return pool, nil
}

// Error is a problem that the service answered.
type Error struct {
	wire.Problem
	health wire.Health // of a service that is not ready, which answers no problem
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s (%d %s)", e.Title, e.Status, e.Type)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// IsProblem reports whether err is the service's problem of the given kind,
// which is the last part of its type, such as "refused".
func IsProblem(err error, kind string) bool {
	var e *Error
	return errors.As(err, &e) && e.Type == "urn:tapvault:problem:"+kind
}

type attemptKey struct{}

// WithAttempt returns a context whose writes carry key as their Idempotency-Key: a call
// that is repeated with the same key and body has one effect. Without it each call gets a
// fresh key, and repeating it asks for a second effect.
func WithAttempt(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, attemptKey{}, key)
}

func (c *Client) attempt(ctx context.Context) (string, error) {
	if k, ok := ctx.Value(attemptKey{}).(string); ok {
		return k, nil
	}
	return c.random()
}

func (c *Client) random() (string, error) {
	var b [20]byte
	if _, err := io.ReadFull(c.cfg.Rand, b[:]); err != nil {
		return "", fmt.Errorf("drawing a random id: %w", err)
	}
	return base32.StdEncoding.EncodeToString(b[:]), nil
}

// call sends one authenticated request and reads the answer into out. A token
// that the service no longer takes is renewed once.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	q := request{method: method, path: path}
	if in != nil {
		var err error
		if q.body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encoding request: %w", err)
		}
		if q.attempt, err = c.attempt(ctx); err != nil {
			return err
		}
	}
	for try := 0; ; try++ {
		token, err := c.AccessToken(ctx)
		if err != nil {
			return err
		}
		err = c.send(ctx, q, token, out)
		var e *Error
		if try == 0 && errors.As(err, &e) && e.Status == http.StatusUnauthorized {
			c.forget(token)
			continue
		}
		return err
	}
}

// request is what is sent once more, to the letter, with a new access token.
type request struct {
	method, path string
	body         []byte // nil: there is none
	attempt      string // of a request with a body
}

func (c *Client) send(ctx context.Context, q request, token string, out any) error {
	r, err := http.NewRequestWithContext(ctx, q.method, c.cfg.BaseURL+q.path, bytes.NewReader(q.body))
	if err != nil {
		return fmt.Errorf("building request: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if q.body != nil {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", q.attempt)
	}
	return c.do(r, out)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

func (c *Client) do(r *http.Request, out any) error {
	resp, err := c.cfg.HTTP.Do(r)
	if err != nil {
		return fmt.Errorf("calling the service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return problem(resp.StatusCode, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// problem reads a problem; an answer that is none, from a proxy perhaps, keeps
// its status.
func problem(status int, b []byte) error {
	e := &Error{}
	if json.Unmarshal(b, &e.Problem) != nil || e.Type == "" {
		e.Problem = wire.Problem{Type: "about:blank", Title: http.StatusText(status)}
		_ = json.Unmarshal(b, &e.health)
	}
	e.Status = status
	return e
}

func segment(s string) string { return url.PathEscape(s) }
