package wallet_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/wallet"
)

func TestDeviceKeys(t *testing.T) {
	r := newRig(t)
	tok := r.token(t, 1)
	_, good := phone(t)
	var jwk map[string]any
	if err := json.Unmarshal(good, &jwk); err != nil {
		t.Fatal(err)
	}
	edit := func(k string, v any) []byte {
		m := maps.Clone(jwk)
		m[k] = v
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"empty":             nil,
		"no JSON":           []byte("key"),
		"a list":            []byte("[]"),
		"two objects":       append(append([]byte{}, good...), good...),
		"long":              edit("kid", strings.Repeat("k", 1024)),
		"a private part":    edit("d", "AAAA"),
		"a certificate":     edit("x5c", []string{"AAAA"}),
		"RSA":               edit("kty", "RSA"),
		"another curve":     edit("crv", "P-384"),
		"for signatures":    edit("use", "sig"),
		"another algorithm": edit("alg", "RSA-OAEP"),
		"no x":              edit("x", ""),
		"short x":           edit("x", "AAAA"),
		"padded y":          edit("y", jwk["y"].(string)+"="),
		"off the curve":     edit("y", jwk["x"]),
		"at infinity":       []byte(`{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`),
	} {
		if _, err := r.Bundle(t.Context(), caller, tok.Ref, b, access.Attempt{}); !errors.Is(err, wallet.ErrDeviceKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := r.read(t, tok.Ref); got.CtrNext != got.CtrFirst {
		t.Error("a bad device key took counters")
	}
	for name, b := range map[string][]byte{"alg": edit("alg", "ECDH-ES+A256KW"), "use": edit("use", "enc"), "kid": edit("kid", "phone 1")} {
		if _, err := r.Bundle(t.Context(), caller, tok.Ref, b, access.Attempt{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
