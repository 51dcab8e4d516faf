package identity

import (
	"encoding/json"

	"github.com/tapvault/tapvault/access"
)

// metadata is what RFC 8414 has an authorization server say of itself.
type metadata struct {
	Issuer        string          `json:"issuer"`
	TokenEndpoint string          `json:"token_endpoint"`
	KeySet        string          `json:"jwks_uri"`
	Scopes        []access.Action `json:"scopes_supported"`
	ResponseTypes []string        `json:"response_types_supported"` // required; there is nowhere to be sent back from
	GrantTypes    []string        `json:"grant_types_supported"`
	AuthMethods   []string        `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs      []string        `json:"token_endpoint_auth_signing_alg_values_supported"`
	Documentation string          `json:"service_documentation"`
}

// Metadata describes the service as an authorization server (RFC 8414), so that an
// OAuth library finds out where and how clients log in.
func (s *Service) Metadata() ([]byte, error) {
	return json.Marshal(metadata{
		Issuer: s.cfg.Issuer, TokenEndpoint: s.TokenEndpoint(), KeySet: s.cfg.Issuer + "/.well-known/jwks.json",
		Scopes: access.Actions, ResponseTypes: []string{}, GrantTypes: []string{"client_credentials"},
		AuthMethods: []string{"private_key_jwt"}, AuthAlgs: assertionAlgs, Documentation: s.cfg.Issuer + "/docs",
	})
}
