package lab

import (
	"bytes"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
)

// Client returns a caller. "stranger" has a key that nobody registered.
func (l *Lab) Client(t testing.TB, id string) *client.Client { return l.ClientAs(t, id, id) }

// ClientAs returns a caller that says it is id and signs with another's key.
func (l *Lab) ClientAs(t testing.TB, id, signer string) *client.Client {
	t.Helper()
	return l.client(t, client.Config{ClientID: id, Key: l.keys[signer]})
}

// ClientFor returns a caller that asks for some of its scopes only.
func (l *Lab) ClientFor(t testing.TB, id, scope string) *client.Client {
	t.Helper()
	return l.client(t, client.Config{ClientID: id, Key: l.keys[id], Scope: scope})
}

func (l *Lab) client(t testing.TB, c client.Config) *client.Client {
	t.Helper()
	c.BaseURL, c.HTTP, c.Now, c.Audience = l.URL, l.HTTP, l.Now, l.Config.Identity.IssuerURL
	made, err := client.New(c)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return made
}

// Register registers one more client.
func (l *Lab) Register(t testing.TB, c identity.Client) {
	t.Helper()
	db, err := assembly.OpenStore(t.Context(), l.Config, l.Now)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	defer closing(t, db.Close)
	if err := clientdb.New(db, l.Now).Add(t.Context(), c); err != nil {
		t.Fatalf("lab: registering %s: %v", c.ID, err)
	}
}

// Enlist registers one more caller with a key of its own and all scopes of its
// role.
func (l *Lab) Enlist(t testing.TB, id string, r access.Role) {
	t.Helper()
	l.Register(t, identity.Client{ID: id, Role: r, Scopes: access.ForRole(r), JWK: l.newKey(t, id)})
}

// Roots are what the service's certificate is checked by.
func (l *Lab) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(l.server.Certificate())
	return roots
}

// Answer is what the service said to a raw request.
type Answer struct {
	Status  int
	Type    string // of its problem, without what all types begin with; "" when it is none
	Body    []byte
	Request string // its id
	Again   string // Retry-After
}

// Send sends a request as it is. A body is JSON unless header says otherwise.
func (l *Lab) Send(t testing.TB, method, path string, header http.Header, body []byte) Answer {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, l.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		q.Header[k] = v
	}
	resp, err := l.HTTP.Do(q)
	if err != nil {
		t.Fatalf("lab: %s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, Request: resp.Header.Get("X-Request-Id"), Again: resp.Header.Get("Retry-After")}
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatalf("lab: %s %s: %v", method, path, err)
	}
	if resp.Header.Get("Content-Type") == "application/problem+json" || resp.StatusCode >= 400 && path == "/oauth2/token" {
		var p wire.Problem
		if err := json.Unmarshal(a.Body, &p); err != nil || p.Status != a.Status {
			t.Errorf("lab: %s %s: the problem is not in its form", method, path)
		}
		a.Type = strings.TrimPrefix(p.Type, "urn:tapvault:problem:")
	}
	return a
}

// Assertion is the form with which id logs in, caught before it is sent.
func (l *Lab) Assertion(t testing.TB, id string) (form []byte) {
	t.Helper()
	caught := errors.New("caught")
	h := &http.Client{Transport: trip(func(q *http.Request) (*http.Response, error) {
		var err error
		form, err = io.ReadAll(q.Body)
		return nil, errors.Join(caught, err)
	})}
	c, err := client.New(client.Config{BaseURL: l.URL, ClientID: id, Key: l.keys[id], HTTP: h, Now: l.Now,
		Audience: l.Config.Identity.IssuerURL})
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	if _, err := c.AccessToken(t.Context()); !errors.Is(err, caught) {
		t.Fatalf("lab: the login was not caught: %v", err)
	}
	return form
}

type trip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f trip) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// Count counts the rows of a table, past every package.
func (l *Lab) Count(t testing.TB, table string) int {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+l.Config.Path(l.Config.Store.DSN)+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, db.Close)
	n := 0
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatalf("lab: counting %s: %v", table, err)
	}
	return n
}

// Bearer is the header that says who calls.
func (l *Lab) Bearer(t testing.TB, id string) http.Header {
	t.Helper()
	token, err := l.Client(t, id).AccessToken(t.Context())
	if err != nil {
		t.Fatalf("lab: logging in as %s: %v", id, err)
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

// recorder keeps every answer, so that tests can search them.
type recorder struct {
	next http.RoundTripper
	into io.Writer
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	if resp.Header.Get("Content-Type") == "text/event-stream" { // it has no end to wait for
		return resp, nil
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(b))
	if resp.StatusCode >= 400 {
		_ = resp.Header.Write(r.into)
		_, _ = r.into.Write(append(b, '\n'))
	}
	return resp, err
}
