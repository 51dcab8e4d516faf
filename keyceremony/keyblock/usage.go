package keyblock

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// rule says with which algorithms and in which modes a usage makes sense.
// Mode N, no limit, goes with all of them.
type rule struct {
	algorithms string
	modes      string
}

// Usages of ANSI X9.143. Proprietary ones, which are digits, are not taken.
var rules = map[Usage]rule{
	"B0": {"TA", "X"}, "B1": {"TA", "X"}, "B2": {"TA", "X"}, "B3": {"TA", "X"},
	"C0": {"TA", "CGV"},
	"D0": {"TA", "BDE"}, "D1": {"RE", "BDE"}, "D2": {"TA", "BDE"}, "D3": {"TA", "BDE"},
	"E0": {"TA", "X"}, "E1": {"TA", "X"}, "E2": {"TA", "X"}, "E3": {"TA", "X"}, "E4": {"TA", "X"}, "E5": {"TA", "X"}, "E6": {"TA", "X"},
	"E7": {"RE", "BDE"},
	"I0": {"TA", ""},
	"K0": {"TA", "BDE"}, "K1": {"TA", "BDE"}, "K2": {"RE", "BDE"}, "K3": {"RE", "BDEX"}, "K4": {"TA", "BDE"},
	"M0": {"T", "CGV"}, "M1": {"TA", "CGV"}, "M2": {"T", "CGV"}, "M3": {"T", "CGV"}, "M4": {"T", "CGV"}, "M5": {"TA", "CGV"},
	"M6": {"TA", "CGV"}, "M7": {"H", "CGV"}, "M8": {"TA", "CGV"},
	"P0": {"TA", "BDE"}, "P1": {"TA", "G"},
	"S0": {"RES", "STV"}, "S1": {"RES", "STV"}, "S2": {"RES", "STV"},
	"V0": {"TA", "CGV"}, "V1": {"TA", "CGV"}, "V2": {"TA", "CGV"}, "V3": {"TA", "CGV"}, "V4": {"TA", "CGV"}, "V5": {"TA", "CGV"},
}

// Permitted reports whether usage, algorithm, mode and optional blocks of h go
// together. The error says what does not.
func (h Header) Permitted() error {
	r, ok := rules[h.Usage]
	switch {
	case !ok:
		return fmt.Errorf("%w: unknown usage", ErrForbidden)
	case !strings.ContainsRune(r.algorithms, rune(h.Algorithm)):
		return fmt.Errorf("%w: no key of this usage has this algorithm", ErrForbidden)
	case h.Mode != NoLimit && !strings.ContainsRune(r.modes, rune(h.Mode)):
		return fmt.Errorf("%w: a key of this usage has no such mode", ErrForbidden)
	case h.Algorithm != TDES && h.Version != VersionD:
		return fmt.Errorf("%w: a Triple DES key protects Triple DES keys only", ErrForbidden)
	}
	if hash, ok := h.Lookup("HM"); ok != (h.Algorithm == HMAC) || ok && len(hash) != 2 {
		return fmt.Errorf("%w: an HMAC key, and only that, names its hash", ErrForbidden)
	}
	return nil
}

// keyLength reports whether a key of n bytes can be one of the algorithm.
func (a Algorithm) keyLength(n int) bool {
	switch a {
	case TDES:
		return n == 16 || n == 24
	case AES:
		return n == 16 || n == 24 || n == 32
	case DES:
		return n == 8
	}
	return n > 0 && n <= maxText/2
}

// checkKey compares a key with the check value in the header, if there is one.
func (h Header) checkKey(key []byte) error {
	text, ok := h.Lookup("KC")
	if !ok {
		return nil
	}
	want, err := hex.DecodeString(text)
	if err != nil || len(want) < 4 {
		return ErrRefused
	}
	got, err := Check(h.Algorithm, key)
	if want[0] == byte(ECB) && h.Algorithm == AES {
		got, err = LegacyCheck(key)
	}
	if err != nil || byte(got.Method) != want[0] || !got.Matches(want[1:]) {
		return ErrRefused
	}
	return nil
}

// purposes maps usage and algorithm to what a key becomes in the HSM.
var purposes = map[Usage]map[Algorithm]keyref.Usage{
	"C0": {TDES: keyref.CVK},
	"E0": {TDES: keyref.ACMaster, AES: keyref.ACMasterAES},
	"E1": {TDES: keyref.ConfidentialityMaster},
	"E2": {TDES: keyref.IntegrityMaster},
	"E4": {TDES: keyref.DynamicMaster},
}

// Purpose returns what a whole key becomes in the HSM, where it bears that one
// usage and is never extractable, whatever its exportability was. Only usages
// that say exactly what the HSM would do with the key are taken; a component
// is no key.
func (h Header) Purpose() (keyref.Usage, error) {
	if err := h.Permitted(); err != nil {
		return "", err
	}
	u, ok := purposes[h.Usage][h.Algorithm]
	if !ok || h.Component() {
		return "", fmt.Errorf("%w: no key of the HSM has this purpose", ErrForbidden)
	}
	return u, nil
}

// Reexport reports whether a key may be wrapped again: never when its header
// says so, and one that is exportable only under a trusted key.
func (h Header) Reexport(trusted bool) error {
	if h.Export == Sensitive || h.Export == Exportable && trusted {
		return nil
	}
	return fmt.Errorf("%w: the key may not be exported", ErrForbidden)
}
