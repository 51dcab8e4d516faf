// Package jwks fetches the public keys of another issuer, within bounds.
//
// Keys are kept for a while, and go on serving when the issuer cannot be
// reached. A key that is not known makes them be fetched anew, but not often: a
// stranger who names keys must not make this service flood the issuer.
package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/fault"
)

// Config says where keys come from. URL is required.
type Config struct {
	URL     string         // https, without anything secret in it
	Roots   *x509.CertPool // nil: those of the system
	Refresh time.Duration  // keys this old are fetched anew; 0: 10 minutes
	Stale   time.Duration  // keys this old are not used any more; 0: 24 hours
	Retry   time.Duration  // the least time between two fetches; 0: 30 seconds
	Log     *slog.Logger   // nil: nothing is logged
	Now     func() time.Time
}

const (
	timeout = 5 * time.Second
	maxBody = 64 << 10
)

// Set is the keys of an issuer. It is safe for concurrent use.
type Set struct {
	cfg  Config
	http *http.Client

	fetching sync.Mutex // one fetch at a time
	mu       sync.Mutex // guards what follows
	keys     map[string]identity.ForeignKey
	fetched  time.Time // when they came
	tried    time.Time
}

var _ identity.KeySource = (*Set)(nil)

var (
	errUnknown = errors.New("its key is not among the issuer's")
	errNoKeys  = errors.New("the issuer's keys could not be fetched for too long")
)

// Check says what is wrong with an address of keys.
func Check(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("must be an https URL without a user")
	}
	return nil
}

// New returns a set; it fetches nothing yet.
func New(cfg Config) (*Set, error) {
	if err := Check(cfg.URL); err != nil {
		return nil, fmt.Errorf("jwks: the address %w", err)
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = 10 * time.Minute
	}
	if cfg.Stale == 0 {
		cfg.Stale = 24 * time.Hour
	}
	if cfg.Retry == 0 {
		cfg.Retry = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Set{cfg: cfg, http: &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Roots},
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: 16 << 10,
			DisableCompression:     true, // a small answer must not become a large one
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        30 * time.Second,
		},
		// The operator named one address; wherever else it leads is not believed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Key implements [identity.KeySource].
func (s *Set) Key(ctx context.Context, kid string) (identity.ForeignKey, error) {
	if kid == "" {
		return identity.ForeignKey{}, errUnknown
	}
	k, known, fresh := s.look(kid)
	switch {
	case known && fresh:
		return k, nil
	case known: // old, but good: others need not wait
		go s.fetch(context.WithoutCancel(ctx))
		return k, nil
	}
	s.fetch(ctx)
	if k, known, _ = s.look(kid); known {
		return k, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil || s.cfg.Now().Sub(s.fetched) >= s.cfg.Stale {
		return identity.ForeignKey{}, errNoKeys
	}
	return identity.ForeignKey{}, errUnknown
}

// look finds a key that may be used, and says whether it is fresh.
func (s *Set) look(kid string) (k identity.ForeignKey, known, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.cfg.Now().Sub(s.fetched)
	if s.keys == nil || age >= s.cfg.Stale {
		return k, false, false
	}
	k, known = s.keys[kid]
	return k, known, age < s.cfg.Refresh
}

// fetch fetches the keys, unless that was tried a moment ago.
func (s *Set) fetch(ctx context.Context) {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	if !s.due() {
		return
	}
	// The caller that asked first must not take the keys of the others with it
	// when it goes away.
	var keys map[string]identity.ForeignKey
	err := fault.Safely(func() (err error) { // what another site answers must not end the process
		keys, err = s.get(context.WithoutCancel(ctx))
		return err
	})
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "the keys of an issuer cannot be fetched: those at hand go on serving", "url", s.cfg.URL, "error", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.fetched = keys, s.cfg.Now()
}

func (s *Set) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if !s.tried.IsZero() && now.Sub(s.tried) < s.cfg.Retry && !now.Before(s.tried) {
		return false
	}
	s.tried = now
	return true
}

func (s *Set) get(ctx context.Context) (map[string]identity.ForeignKey, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.URL, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxBody {
		return nil, fmt.Errorf("it answers more than %d bytes", maxBody)
	}
	return identity.ParseKeySet(b)
}
