package identity_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/tapvault/tapvault/access"
)

// TestMetadata: a library that knows no more than the issuer logs in.
func TestMetadata(t *testing.T) {
	w := newWorld(t)
	text, err := w.service.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Issuer    string          `json:"issuer"`
		Endpoint  string          `json:"token_endpoint"`
		KeySet    string          `json:"jwks_uri"`
		Scopes    []access.Action `json:"scopes_supported"`
		Responses []string        `json:"response_types_supported"`
		Methods   []string        `json:"token_endpoint_auth_methods_supported"`
		Algs      []string        `json:"token_endpoint_auth_signing_alg_values_supported"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if m.Issuer != issuer || m.KeySet != issuer+"/.well-known/jwks.json" || m.Responses == nil || !slices.Equal(m.Methods, []string{"private_key_jwt"}) {
		t.Errorf("%s", text)
	}
	c := w.claims("issuer")
	c["aud"] = m.Endpoint
	for client, alg := range map[string]string{"issuer": "ES256", "wallet": "PS256"} {
		if !slices.Contains(m.Algs, alg) {
			t.Errorf("%s, by which %s signs, is not among %v", alg, client, m.Algs)
		}
	}
	g, err := w.service.Exchange(t.Context(), signed(w.keys["issuer"], object{}, c))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range g.Scopes {
		if !slices.Contains(m.Scopes, s) {
			t.Errorf("scope %s was granted and is not told of", s)
		}
	}
}
