package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// maxCompact bounds a token or assertion before anything of it is decoded.
const maxCompact = 4096

// header is what a JWT's header may hold; any other member is refused. That
// leaves no room for a key or the address of one (jwk, jku, x5u, x5c).
type header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

// inspect looks at a compact JWT before the JWT library does: its size, the
// members of its header, and that no name stands twice, which different
// readers would read differently. It checks no signature.
func inspect(compact string, algs, typs []string) (header, error) {
	var h header
	if len(compact) > maxCompact {
		return h, fmt.Errorf("%w: longer than %d bytes", ErrRefused, maxCompact)
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return h, fmt.Errorf("%w: not three parts", ErrRefused)
	}
	var texts [2][]byte
	for i := range texts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return h, fmt.Errorf("%w: not base64url", ErrRefused)
		}
		if err := uniqueNames(b); err != nil {
			return h, err
		}
		texts[i] = b
	}
	d := json.NewDecoder(bytes.NewReader(texts[0]))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return h, fmt.Errorf("%w: header holds what it may not", ErrRefused)
	}
	if !slices.Contains(algs, h.Alg) || !slices.Contains(typs, strings.ToLower(h.Typ)) {
		return h, fmt.Errorf("%w: algorithm or type not allowed", ErrRefused)
	}
	return h, nil
}

// maxNesting bounds how deep claims may nest.
const maxNesting = 4

// uniqueNames reports whether b is one JSON object in which no object holds a
// name twice. Names that differ in case only count as one, and must be ASCII:
// encoding/json would take either for the field it looks for.
func uniqueNames(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: not a JSON object", ErrRefused)
	}
	if err := objectNames(d, 1); err != nil {
		return err
	}
	if d.More() || len(bytes.TrimSpace(b[d.InputOffset():])) > 0 {
		return fmt.Errorf("%w: text follows the JSON object", ErrRefused)
	}
	return nil
}

// objectNames reads an object whose brace was read.
func objectNames(d *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok || strings.ContainsFunc(name, func(r rune) bool { return r > 0x7E || r < 0x20 }) {
			return fmt.Errorf("%w: not JSON with ASCII names", ErrRefused)
		}
		if name = strings.ToLower(name); seen[name] {
			return fmt.Errorf("%w: a name stands twice", ErrRefused)
		}
		seen[name] = true
		if err := value(d, depth); err != nil {
			return err
		}
	}
	return closing(d)
}

func value(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil || depth >= maxNesting {
		return fmt.Errorf("%w: not JSON, or nested too deep", ErrRefused)
	}
	switch t {
	case json.Delim('{'):
		return objectNames(d, depth+1)
	case json.Delim('['):
		for d.More() {
			if err := value(d, depth+1); err != nil {
				return err
			}
		}
		return closing(d)
	}
	return nil
}

func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: not JSON", ErrRefused)
	}
	return nil
}
