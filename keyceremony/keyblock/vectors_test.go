package keyblock_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/keyceremony/keyblock"
)

// vector holds the members that these functions have; each uses some.
type vector struct {
	ID string `json:"id"`
	In struct {
		KBPK       string   `json:"kbpk"`
		Block      string   `json:"key_block"`
		Version    string   `json:"version_id"`
		Header     string   `json:"header"`
		Key        string   `json:"key"`
		Padding    string   `json:"padding"`
		Algorithm  string   `json:"algorithm"`
		Components []string `json:"components"`
	} `json:"in"`
	Out struct {
		Version   string            `json:"version_id"`
		Length    int               `json:"length"`
		Usage     string            `json:"key_usage"`
		Algorithm string            `json:"algorithm"`
		Mode      string            `json:"mode_of_use"`
		KeyVer    string            `json:"key_version"`
		Export    string            `json:"exportability"`
		Optional  map[string]string `json:"optional_blocks"`
		Key       string            `json:"key"`
		Block     string            `json:"key_block"`
		KBEK      string            `json:"kbek"`
		KBAK      string            `json:"kbak"`
		KCV3      string            `json:"kcv3"`
		KCV5      string            `json:"kcv5"`
		Legacy    string            `json:"legacy_ecb_kcv3"`
		KCVs      []string          `json:"component_kcvs"`
		Odd       string            `json:"key_odd_parity"`
	} `json:"out"`
}

// vectors returns the vectors of the functions whose names start with prefix.
func vectors(t testing.TB, prefix string, want int) (vs []vector) {
	t.Helper()
	b, err := os.ReadFile("../../cryptogram/testdata/vectors/emv.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Functions []struct {
			Function string          `json:"function"`
			Vectors  json.RawMessage `json:"vectors"`
		} `json:"functions"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, f := range file.Functions {
		if !strings.HasPrefix(f.Function, prefix) {
			continue
		}
		var more []vector
		if err := json.Unmarshal(f.Vectors, &more); err != nil {
			t.Fatal(err)
		}
		vs = append(vs, more...)
	}
	if len(vs) != want {
		t.Fatalf("%s: %d vectors, not %d", prefix, len(vs), want)
	}
	return vs
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func TestUnwrapVectors(t *testing.T) {
	for v, n := range map[string]int{"a": 14, "b": 18, "c": 15, "d": 23} {
		for _, v := range vectors(t, "tr31_unwrap_"+v, n) {
			o, err := keyblock.UnwrapLegacy(unhex(t, v.In.KBPK), v.In.Block)
			if err != nil {
				t.Errorf("%s: %v", v.ID, err)
				continue
			}
			h := o.Header
			got := []string{string(h.Version), string(h.Usage), string(h.Algorithm), string(h.Mode), h.KeyVersion, string(h.Export), upper(o.Key)}
			if want := []string{v.Out.Version, v.Out.Usage, v.Out.Algorithm, v.Out.Mode, v.Out.KeyVer, v.Out.Export, v.Out.Key}; !slices.Equal(got, want) {
				t.Errorf("%s: header or key differs: %v", v.ID, got[:6])
			}
			if len(h.Optional) != len(v.Out.Optional) || len(v.In.Block) != v.Out.Length {
				t.Errorf("%s: %d optional blocks, %d characters", v.ID, len(h.Optional), len(v.In.Block))
			}
			for id, data := range v.Out.Optional {
				if got, ok := h.Lookup(id); !ok || got != data {
					t.Errorf("%s: optional block %s: %q", v.ID, id, got)
				}
			}
			_, err = keyblock.Unwrap(unhex(t, v.In.KBPK), v.In.Block)
			if legacy := h.Version == keyblock.VersionA || h.Version == keyblock.VersionC; legacy != errors.Is(err, keyblock.ErrRefused) {
				t.Errorf("%s: without the flag: %v", v.ID, err)
			}
		}
	}
}

// TestWrapVectors makes the blocks of versions B and D, and reads those of A
// and C, which are not made, back to key and padding.
func TestWrapVectors(t *testing.T) {
	for _, v := range vectors(t, "tr31_wrap_fixed_padding", 48) {
		kbpk, key, padding := unhex(t, v.In.KBPK), unhex(t, v.In.Key), unhex(t, v.In.Padding)
		b, err := keyblock.Parse(v.Out.Block)
		if err != nil || !strings.HasPrefix(b.String(), v.In.Header) || b.String() != v.Out.Block {
			t.Errorf("%s: parsing: %v", v.ID, err)
		}
		text, err := keyblock.Wrap(bytes.NewReader(padding), kbpk, b.Header, key)
		if v.In.Version == "B" || v.In.Version == "D" {
			if err != nil || text != v.Out.Block {
				t.Errorf("%s: wrapping: %v", v.ID, err)
			}
		} else if !errors.Is(err, keyblock.ErrForbidden) {
			t.Errorf("%s: version %s was written: %v", v.ID, v.In.Version, err)
		}
		o, err := keyblock.UnwrapLegacy(kbpk, v.Out.Block)
		if err != nil || !bytes.Equal(o.Key, key) || !bytes.Equal(o.Padding, padding) {
			t.Errorf("%s: reading it back: %v", v.ID, err)
		}
	}
}

func TestRejectVectors(t *testing.T) {
	for _, v := range vectors(t, "tr31_unwrap_reject", 14) {
		o, err := keyblock.UnwrapLegacy(unhex(t, v.In.KBPK), v.In.Block)
		if !errors.Is(err, keyblock.ErrRefused) || o.Key != nil || o.Padding != nil {
			t.Errorf("%s: %v", v.ID, err)
		}
	}
}

func TestDerivationVectors(t *testing.T) {
	for _, v := range vectors(t, "tr31_kbpk_derivation", 19) {
		e, a, err := keyblock.Derive(keyblock.Version(v.In.Version[0]), unhex(t, v.In.KBPK))
		if err != nil || upper(e) != v.Out.KBEK || upper(a) != v.Out.KBAK {
			t.Errorf("%s: %v", v.ID, err)
		}
	}
}

func TestCheckVectors(t *testing.T) {
	for _, v := range vectors(t, "kcv_tdes", 19) {
		a := keyblock.TDES
		if v.In.Algorithm == "DES" {
			a = keyblock.DES
		}
		c, err := keyblock.Check(a, unhex(t, v.In.Key))
		if err != nil || upper(c.Bytes()) != v.Out.KCV3 || c.Method != keyblock.ECB || c.String() != v.Out.KCV3 {
			t.Errorf("%s: %v, %v", v.ID, c, err)
		}
	}
	for _, v := range vectors(t, "kcv_aes", 16) {
		c, err := keyblock.Check(keyblock.AES, unhex(t, v.In.Key))
		if err != nil || upper(c.Bytes()) != v.Out.KCV5 || !c.Matches(unhex(t, v.Out.KCV3)) || c.Matches(unhex(t, v.Out.Legacy)) {
			t.Errorf("%s: %v, %v", v.ID, c, err)
		}
		c, err = keyblock.LegacyCheck(unhex(t, v.In.Key))
		if err != nil || upper(c.Bytes()) != v.Out.Legacy || c.String() != v.Out.Legacy+" (legacy, ECB)" {
			t.Errorf("%s: %v, %v", v.ID, c, err)
		}
	}
}

func TestComponentVectors(t *testing.T) {
	for _, v := range vectors(t, "key_components_xor", 15) {
		a := map[string]keyblock.Algorithm{"TDES": keyblock.TDES, "AES": keyblock.AES}[v.In.Algorithm]
		var parts []keyblock.Component
		var values [][]byte
		for i, c := range v.In.Components {
			parts = append(parts, keyblock.Component{Value: unhex(t, c), Check: unhex(t, v.Out.KCVs[i])})
			values = append(values, unhex(t, c))
		}
		raw, err := keyblock.Xor(values...)
		if err != nil || upper(raw) != v.Out.Key {
			t.Errorf("%s: %v", v.ID, err)
		}
		want := v.Out.Key
		if v.Out.Odd != "" {
			want = v.Out.Odd
		}
		key, check, err := keyblock.Combine(a, parts...)
		if err != nil || upper(key) != want || !check.Matches(unhex(t, v.Out.KCV3)) {
			t.Errorf("%s: %v, %v", v.ID, check, err)
		}
		parts[len(parts)-1].Check[0] ^= 1
		if _, _, err := keyblock.Combine(a, parts...); !errors.Is(err, keyblock.ErrKey) {
			t.Errorf("%s: a wrong check value: %v", v.ID, err)
		}
	}
}
