package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// emptyOrNew makes dir, or accepts it when it holds nothing.
func emptyOrNew(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.MkdirAll(dir, 0o700)
	case err != nil:
		return err
	case len(entries) > 0:
		return withHint(fmt.Errorf("%s holds files already", dir), "name another folder: nothing is ever overwritten")
	}
	return os.Chmod(dir, 0o700)
}

// newPIN returns 16 random digits.
func newPIN() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = '0' + b[i]%10
	}
	return string(b)
}

// empty removes what a folder holds: what a failed init left, and nothing
// else, since init begins in an empty one.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// newClientKey makes a client's key pair: the private half as PEM for its
// file, the public half as a JSON Web Key for the register.
func newClientKey(id string) (private, public []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		return nil, nil, err
	}
	enc := base64.RawURLEncoding.EncodeToString
	public, err = json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
		"x": enc(point[1:33]), "y": enc(point[33:])})
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), public, err
}
