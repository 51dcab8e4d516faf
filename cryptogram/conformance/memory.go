package conformance

import (
	"bytes"
	"context"
	"crypto/aes"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/tokenize/ff1"
)

// What follows is computed in memory, by the packages that do so in use.

var algorithms = map[string]keyblock.Algorithm{"TDES": keyblock.TDES, "DES": keyblock.DES, "AES": keyblock.AES}

func kcvTDES(_ context.Context, _ *session, in *input) (answers, error) {
	key, a := in.bytes("key", 8, 24), algorithms[in.str("algorithm")]
	if in.err != nil {
		return nil, nil
	}
	c, err := keyblock.Check(a, key)
	if err != nil {
		return nil, err
	}
	b, err := tdes.New(key)
	if err != nil {
		return nil, err
	}
	return answers{"kcv3": equals(c.Bytes()), "kcv_full8": equals(mac.CBC(b, make([]byte, 8)))}, nil
}

func kcvAES(_ context.Context, _ *session, in *input) (answers, error) {
	key := in.bytes("key", 16, 32)
	if in.err != nil {
		return nil, nil
	}
	c, err := keyblock.Check(keyblock.AES, key)
	if err != nil {
		return nil, err
	}
	legacy, err := keyblock.LegacyCheck(key)
	if err != nil {
		return nil, err
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return answers{"kcv5": equals(c.Bytes()), "kcv3": equals(c.Bytes()[:3]), "legacy_ecb_kcv3": equals(legacy.Bytes()),
		"cmac_zero_block": equals(mac.CMAC(b, make([]byte, 16)))}, nil
}

func components(_ context.Context, _ *session, in *input) (answers, error) {
	a, parts := algorithms[in.str("algorithm")], in.list("components")
	if in.err != nil {
		return nil, nil
	}
	key, err := keyblock.Xor(parts...)
	if err != nil {
		return nil, err
	}
	check, err := keyblock.Check(a, key)
	if err != nil {
		return nil, err
	}
	out := answers{"key": equals(key), "kcv3": equals(check.Bytes()[:3])}
	var checks []string
	var named []keyblock.Component
	for _, p := range parts {
		c, err := keyblock.Check(a, p)
		if err != nil {
			return nil, err
		}
		checks = append(checks, strings.ToUpper(hex.EncodeToString(c.Bytes()[:3])))
		named = append(named, keyblock.Component{Value: p, Check: c.Bytes()})
	}
	out["component_kcvs"] = is(checks)
	combined, _, err := keyblock.Combine(a, named...)
	if a == keyblock.TDES {
		out["key_odd_parity"] = equals(combined)
		odd := bytes.Clone(key)
		tdes.OddParity(odd)
		if !bytes.Equal(odd, combined) && err == nil {
			err = errDiffers
		}
	}
	return out, err
}

// list reads a list of strings of hex digits.
func (in *input) list(name string) (out [][]byte) {
	var raw []json.RawMessage
	if !in.has(name) || json.Unmarshal(in.members[name], &raw) != nil {
		in.fail(name, "is not a list")
	}
	for _, r := range raw {
		b, err := parseHex(r)
		if err != nil {
			in.fail(name, "holds something else than hex digits")
		}
		out = append(out, b)
	}
	return out
}

func unwrap(_ context.Context, _ *session, in *input) (answers, error) {
	kbpk, text := in.bytes("kbpk", 16, 32), in.str("key_block")
	if in.err != nil {
		return nil, nil
	}
	o, err := keyblock.UnwrapLegacy(kbpk, text)
	if err != nil {
		return nil, err
	}
	h, optional := o.Header, map[string]string{}
	for _, b := range h.Optional {
		optional[b.ID] = b.Data
	}
	return answers{"version_id": is(string(h.Version)), "length": is(len(text)), "key_usage": is(string(h.Usage)),
		"algorithm": is(string(h.Algorithm)), "mode_of_use": is(string(h.Mode)), "key_version": is(h.KeyVersion),
		"exportability": is(string(h.Export)), "optional_blocks": is(optional), "key": equals(o.Key)}, nil
}

// wrap makes a block. Those of versions A and C are not made but read: the
// block that is expected must open to this key and this padding.
func wrap(_ context.Context, _ *session, in *input) (answers, error) {
	kbpk, head, key, padding := in.bytes("kbpk", 16, 32), in.str("header"), in.bytes("key", 1, 4096), in.bytes("padding", 0, 4096)
	version := in.str("version_id")
	if in.err != nil {
		return nil, nil
	}
	return answers{"key_block": func(_ context.Context, raw json.RawMessage) error {
		var want string
		if err := json.Unmarshal(raw, &want); err != nil {
			return err
		}
		b, err := keyblock.Parse(want)
		if err != nil {
			return err
		}
		if string(b.Header.Version) != version || want[:len(want)-2*len(b.Field)-2*len(b.MAC)] != head {
			return errDiffers
		}
		o, err := keyblock.UnwrapLegacy(kbpk, want)
		if err != nil {
			return err
		}
		if !bytes.Equal(o.Key, key) || !bytes.Equal(o.Padding, padding) {
			return errDiffers
		}
		if version == "A" || version == "C" {
			return nil
		}
		got, err := keyblock.WrapPadded(kbpk, b.Header, key, padding)
		if err == nil && got != want {
			err = errDiffers
		}
		return err
	}}, nil
}

func unwrapReject(_ context.Context, _ *session, in *input) (answers, error) {
	kbpk, text := in.bytes("kbpk", 16, 32), in.str("key_block")
	if in.err != nil {
		return nil, nil
	}
	o, err := keyblock.UnwrapLegacy(kbpk, text)
	return answers{"error": is(err != nil && o.Key == nil)}, nil
}

func derivation(_ context.Context, _ *session, in *input) (answers, error) {
	version, kbpk := in.str("version_id"), in.bytes("kbpk", 16, 32)
	if len(version) != 1 {
		in.fail("version_id", "is none")
	}
	if in.err != nil {
		return nil, nil
	}
	e, a, err := keyblock.Derive(keyblock.Version(version[0]), kbpk)
	return answers{"kbek": equals(e), "kbak": equals(a)}, err
}

// cipher reads key and radix.
func (in *input) cipher() (*ff1.Cipher, error) {
	key, radix := in.bytes("key", 16, 32), in.number("radix", 36)
	if in.err != nil {
		return nil, nil
	}
	return ff1.New(key, int(radix))
}

func permute(_ context.Context, _ *session, in *input) (answers, error) {
	c, err := in.cipher()
	tweak, text := in.bytes("tweak", 0, 1024), in.str("plaintext")
	if in.err != nil || err != nil {
		return nil, err
	}
	out, err := c.Encrypt(tweak, text)
	if err != nil {
		return nil, err
	}
	back, err := c.Decrypt(tweak, out)
	if err == nil && back != text {
		err = errDiffers
	}
	return answers{"ciphertext": is(out)}, err
}

func permuteReject(_ context.Context, _ *session, in *input) (answers, error) {
	c, err := in.cipher()
	tweak, text := in.bytes("tweak", 0, 1024), in.str("plaintext")
	if in.err != nil || err != nil {
		return nil, err
	}
	_, err = c.Encrypt(tweak, text)
	return answers{"error": is(err != nil)}, nil
}
