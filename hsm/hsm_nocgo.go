//go:build !cgo

package hsm

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Token cannot exist in a build without cgo: PKCS #11 is a C interface.
type Token struct{}

var errNoCgo = fmt.Errorf("%w: this binary was built without cgo; build it with CGO_ENABLED=1 and a C compiler", ErrUnavailable)

// Absent reports whether err says that a token is not there.
func Absent(err error) (how string, is bool) {
	return errNoToken.Error(), errors.Is(err, errNoToken)
}

// LacksMechanism reports nothing: no module is loaded.
func LacksMechanism(error) (name string, is bool) { return "", false }

// Lacks returns [ErrUnavailable].
func (*Token) Lacks(context.Context) ([]Lack, error) { return nil, errNoCgo }

// Trials returns [ErrUnavailable].
func (*Token) Trials(context.Context) ([]Lack, error) { return nil, errNoCgo }

// Open returns [ErrUnavailable].
func Open(context.Context, Config) (*Token, error) { return nil, errNoCgo }

// InitToken returns [ErrUnavailable].
func InitToken(context.Context, InitConfig) error { return errNoCgo }

// Close returns [ErrUnavailable], as all methods do in this build.
func (*Token) Close() error { return errNoCgo }

// Recycled returns nothing.
func (*Token) Recycled() Recycled { return Recycled{} }

// Timed does nothing.
func (*Token) Timed() {}

// Spent returns nothing.
func (*Token) Spent() time.Duration { return 0 }

// Health returns [ErrUnavailable].
func (*Token) Health(context.Context) error { return errNoCgo }

// Require returns [ErrUnavailable].
func (*Token) Require(context.Context, ...keyref.Ref) error { return errNoCgo }

// RequireLate returns [ErrUnavailable].
func (*Token) RequireLate(context.Context, keyref.Ref) error { return errNoCgo }

// ProcessMAC returns [ErrUnavailable].
func (*Token) ProcessMAC(context.Context, keyref.Path, [8]byte, ...[]byte) ([][4]byte, error) {
	return nil, errNoCgo
}

// FoldedMAC returns [ErrUnavailable].
func (*Token) FoldedMAC(context.Context, keyref.Path, []byte) (mac [4]byte, err error) {
	return mac, errNoCgo
}

// RetailMAC returns [ErrUnavailable].
func (*Token) RetailMAC(context.Context, keyref.Path, []byte) (mac [4]byte, err error) {
	return mac, errNoCgo
}

// SlotKeys returns [ErrUnavailable].
func (*Token) SlotKeys(context.Context, keyref.Path, []keyref.Factor) ([][16]byte, error) {
	return nil, errNoCgo
}

// WrapTokenKey returns [ErrUnavailable].
func (*Token) WrapTokenKey(context.Context, keyref.Path, *rsa.PublicKey) ([]byte, error) {
	return nil, errNoCgo
}

// Encipher returns [ErrUnavailable].
func (*Token) Encipher(context.Context, keyref.Path, [8]byte) (out [8]byte, err error) {
	return out, errNoCgo
}

// MAC3 returns [ErrUnavailable].
func (*Token) MAC3(context.Context, keyref.Chain, []byte) (mac [8]byte, err error) {
	return mac, errNoCgo
}

// EncipherBlocks returns [ErrUnavailable].
func (*Token) EncipherBlocks(context.Context, keyref.Chain, bool, []byte) ([]byte, error) {
	return nil, errNoCgo
}

// CMAC returns [ErrUnavailable].
func (*Token) CMAC(context.Context, keyref.Chain, []byte) (mac [16]byte, err error) {
	return mac, errNoCgo
}

// Reveal returns [ErrUnavailable].
func (*Token) Reveal(context.Context, keyref.Chain) ([]byte, error) { return nil, errNoCgo }

// Seal returns [ErrUnavailable].
func (*Token) Seal(context.Context, keyref.Ref, []byte, []byte) ([]byte, error) { return nil, errNoCgo }

// Unseal returns [ErrUnavailable].
func (*Token) Unseal(context.Context, keyref.Ref, []byte, []byte) ([]byte, error) {
	return nil, errNoCgo
}

// UnsealSecret returns [ErrUnavailable].
func (*Token) UnsealSecret(context.Context, keyref.Ref, []byte, []byte, func([]byte) error) error {
	return errNoCgo
}

// HMAC returns [ErrUnavailable].
func (*Token) HMAC(context.Context, keyref.Ref, []byte) (mac [32]byte, err error) {
	return mac, errNoCgo
}

// Sign returns [ErrUnavailable].
func (*Token) Sign(context.Context, keyref.Ref, [32]byte) (sig [64]byte, err error) {
	return sig, errNoCgo
}

// ECDH returns [ErrUnavailable].
func (*Token) ECDH(context.Context, keyref.Ref, *ecdh.PublicKey, func([]byte) error) error {
	return errNoCgo
}

// PublicKey returns [ErrUnavailable].
func (*Token) PublicKey(context.Context, keyref.Ref) (*ecdsa.PublicKey, error) { return nil, errNoCgo }

// Random returns [ErrUnavailable].
func (*Token) Random(context.Context, []byte) error { return errNoCgo }

// Inventory returns [ErrUnavailable].
func (*Token) Inventory(context.Context) ([]keyref.Info, error) { return nil, errNoCgo }

// Strays returns [ErrUnavailable].
func (*Token) Strays(context.Context) ([]string, error) { return nil, errNoCgo }

// Generate returns [ErrUnavailable].
func (*Token) Generate(context.Context, keyref.Ref) error { return errNoCgo }

// Import returns [ErrUnavailable].
func (*Token) Import(context.Context, keyref.Ref, []byte) error { return errNoCgo }

// GenerateMarked returns [ErrUnavailable].
func (*Token) GenerateMarked(context.Context, keyref.Ref, string) error { return errNoCgo }

// ImportMarked returns [ErrUnavailable].
func (*Token) ImportMarked(context.Context, keyref.Ref, []byte, string) error { return errNoCgo }

// Bears returns [ErrUnavailable].
func (*Token) Bears(context.Context, keyref.Ref, string) (bool, error) { return false, errNoCgo }

// ImportScratch returns [ErrUnavailable].
func (*Token) ImportScratch(context.Context, keyref.Ref, []byte) error { return errNoCgo }

// Forget returns [ErrUnavailable].
func (*Token) Forget(context.Context, keyref.Ref) error { return errNoCgo }

// Destroy returns [ErrUnavailable].
func (*Token) Destroy(context.Context, keyref.Ref) error { return errNoCgo }

// ReadBack returns [ErrUnavailable].
func (*Token) ReadBack(context.Context, keyref.Ref) (keyref.Info, string, error) {
	return keyref.Info{}, "", errNoCgo
}

// Unlabelled returns [ErrUnavailable].
func (*Token) Unlabelled(context.Context, bool) ([]string, error) { return nil, errNoCgo }

// Birth is what a key is born with.
type Birth struct {
	Ref  keyref.Ref
	Mark string
}

// Orphans returns [ErrUnavailable].
func (*Token) Orphans(context.Context, []Birth) (gone, left []string, err error) {
	return nil, nil, errNoCgo
}

// Trial returns [ErrUnavailable].
func (*Token) Trial(context.Context, keyref.Ref) ([]byte, error) { return nil, errNoCgo }
