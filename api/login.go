package api

import (
	"context"
	"errors"
	"net/url"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/fault"
)

const loginPath = identity.TokenPath

// login exchanges a client's assertion for an access token (RFC 7523).
func (s *server) login(ctx context.Context, q *request) (any, error) {
	form, err := readForm(q.body)
	if err != nil {
		return nil, err
	}
	g, err := s.Identity.Exchange(ctx, form.assertion, form.scopes...)
	if err != nil {
		return nil, err
	}
	if form.client != "" && form.client != g.Client {
		return nil, identity.ErrRefused
	}
	return wire.AccessToken{AccessToken: g.Token, TokenType: "Bearer",
		ExpiresIn: int(g.ExpiresIn.Seconds()), Scope: identity.Scope(g.Scopes)}, nil
}

// form is a token request.
type form struct {
	assertion, client string
	scopes            []access.Action
}

// readForm reads a token request. A parameter may stand once; unknown ones are
// ignored, as RFC 6749 demands.
func readForm(body []byte) (f form, err error) {
	v, err := url.ParseQuery(string(body))
	if err != nil {
		return f, &wire.FieldError{Text: "must be a form"}
	}
	for _, name := range []string{"grant_type", "client_assertion_type", "client_assertion", "client_id", "scope"} {
		if len(v[name]) > 1 {
			return f, &wire.FieldError{Path: name, Text: "stands twice"}
		}
	}
	if v.Get("grant_type") != "client_credentials" {
		return f, &wire.FieldError{Path: "grant_type", Text: "must be client_credentials"}
	}
	if v.Get("client_assertion_type") != identity.AssertionType {
		return f, &wire.FieldError{Path: "client_assertion_type", Text: "must be " + identity.AssertionType}
	}
	if v.Get("client_assertion") == "" {
		return f, &wire.FieldError{Path: "client_assertion", Text: "is missing"}
	}
	return form{v.Get("client_assertion"), v.Get("client_id"), identity.ParseScope(v.Get("scope"))}, nil
}

// oauthError is the error code that RFC 6749 gives a failed token request, so
// that OAuth libraries understand the problem too.
func oauthError(route string, err error, p wire.Problem) string {
	switch {
	case route != loginPath:
		return ""
	case errors.Is(err, identity.ErrScope):
		return "invalid_scope"
	case p.Field == "grant_type":
		return "unsupported_grant_type"
	case p.Type == problemBase+string(fault.Unauthenticated):
		return "invalid_client"
	case p.Status >= 500:
		return "temporarily_unavailable"
	}
	return "invalid_request"
}

// authServer tells OAuth libraries where and how clients log in.
func (s *server) authServer(context.Context, *request) (any, error) { return s.Identity.Metadata() }

// keySet publishes the keys of access tokens.
func (s *server) keySet(context.Context, *request) (any, error) { return s.Identity.KeySet() }
