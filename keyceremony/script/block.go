package script

import (
	"encoding/hex"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
)

func (s Script) block(r keyref.Ref, k Key) error {
	b, err := keyblock.Parse(k.Block)
	if err != nil {
		return wrong("keys: %s: %w", k.Label, err)
	}
	h := b.Header
	if (h.Version == keyblock.VersionD) != (s.KBPK.Algorithm == "aes") || h.Version != keyblock.VersionB && h.Version != keyblock.VersionD {
		return wrong("keys: %s: blocks of version D come under an AES key, those of version B under a Triple DES key; no others are taken", k.Label)
	}
	want, err := BlockUsage(r, k.Usage)
	if err != nil {
		return err
	}
	if h.Usage != want || h.Algorithm != algorithmOf(r) || h.Component() {
		return wrong("keys: %s: the block is of usage %s, and the key would have %s", k.Label, h.Usage, want)
	}
	return nil
}

func algorithmOf(r keyref.Ref) keyblock.Algorithm {
	switch s, _ := r.Usage.Spec(); s.Type {
	case keyref.DES3:
		return keyblock.TDES
	case keyref.HMAC:
		return keyblock.HMAC
	}
	return keyblock.AES
}

// blockUsages are those that say what the key is.
var blockUsages = map[keyref.Usage]keyblock.Usage{
	keyref.CVK: "C0", keyref.ACMaster: "E0", keyref.ACMasterAES: "E0", keyref.ConfidentialityMaster: "E1",
	keyref.IntegrityMaster: "E2", keyref.DynamicMaster: "E4",
}

// BlockUsage is the usage of a key in a key block. X9.143 has none for the
// masters of an electronic purse: they travel as B3, keys that derive keys, when
// the script says so.
func BlockUsage(r keyref.Ref, said string) (keyblock.Usage, error) {
	spec, _ := r.Usage.Spec()
	u, ok := blockUsages[r.Usage]
	switch {
	case ok && (said == "" || said == string(u)):
		return u, nil
	case !ok && said == "B3" && spec.Type == keyref.DES3 && spec.Role == keyref.Derive:
		return "B3", nil
	case !ok && spec.Type == keyref.DES3 && spec.Role == keyref.Derive:
		return "", wrong("keys: %s: no usage of X9.143 says what it is: write usage: B3 (a key that derives keys) if the other side knows", r)
	}
	return "", wrong("keys: %s does not travel in a key block", r)
}

// checkBytes decodes a check value that was validated.
func checkBytes(text string) []byte { b, _ := hex.DecodeString(text); return b }

// CheckBytes is what the script says the key's check value is; nil: nothing.
func (k Key) CheckBytes() []byte { return checkBytes(k.Check) }

// CheckBytes is what the script says the check value is; nil: nothing.
func (k KBPK) CheckBytes() []byte { return checkBytes(k.Check) }
