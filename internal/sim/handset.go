// Package sim plays a handset and a reader against the public API, tap by tap.
//
// Both ends are the packages that phones and readers link: the only thing
// simulated is the air between them.
package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/wallet/bundle"
)

// HandsetConfig says where a handset lives.
type HandsetConfig struct {
	// Dir keeps device key, sealed bundle and journal, so that the handset can
	// be opened again with [OpenHandset]. It exists and is the handset's own.
	Dir  string
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
}

// Handset is a phone with one bundle.
type Handset struct {
	*bundle.Card        // what readers talk to
	Ref          string // of its token
	BundleID     string
	Slots        int // as provisioned
	journal      *bundle.File
}

// Names of a handset's files. A phone would hold the device key in its
// platform's key store, from which it cannot be read.
const (
	keyFile    = "device.pem"
	bundleFile = "bundle.jwe"
)

// Provision makes a device key, fetches a bundle under the token ref, opens it
// and acknowledges it. c acts for a wallet. Asking again with the same folder
// is a new device.
func Provision(ctx context.Context, c *client.Client, ref string, cfg HandsetConfig) (*Handset, error) {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	d, err := newDevice(cfg)
	if err != nil {
		return nil, err
	}
	jwk, err := publicKey(d)
	if err != nil {
		return nil, err
	}
	got, err := c.Bundle(ctx, ref, jwk)
	if err != nil {
		return nil, fmt.Errorf("fetching bundle: %w", err)
	}
	b, err := d.Open(got.JWE)
	if err != nil {
		return nil, fmt.Errorf("opening bundle: %w", err)
	}
	defer b.Wipe()
	if string(b.Ref) != ref || b.ID != got.ID {
		return nil, errors.New("sim: the bundle is for another token")
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, bundleFile), []byte(got.JWE), 0o600); err != nil {
		return nil, fmt.Errorf("keeping bundle: %w", err)
	}
	ack := wire.Ack{BundleID: b.ID, MAC: wire.Hex32(b.Ack())}
	if _, err := c.Ack(ctx, ref, ack); err != nil {
		return nil, fmt.Errorf("acknowledging bundle: %w", err)
	}
	return start(b, cfg)
}

// OpenHandset starts a handset that [Provision] put into a folder. Slots that
// it spent stay spent.
func OpenHandset(cfg HandsetConfig) (*Handset, error) {
	text, err := os.ReadFile(filepath.Join(cfg.Dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("reading device key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("reading device key: no PEM in the file")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading device key: %w", err)
	}
	ec, _ := k.(*ecdsa.PrivateKey)
	d, err := bundle.DeviceFromKey(ec)
	if err != nil {
		return nil, fmt.Errorf("reading device key: %w", err)
	}
	jwe, err := os.ReadFile(filepath.Join(cfg.Dir, bundleFile))
	if err != nil {
		return nil, fmt.Errorf("reading bundle: %w", err)
	}
	b, err := d.Open(string(jwe))
	if err != nil {
		return nil, fmt.Errorf("opening bundle: %w", err)
	}
	defer b.Wipe()
	return start(b, cfg)
}

func start(b *bundle.Bundle, cfg HandsetConfig) (*Handset, error) {
	h := &Handset{Ref: string(b.Ref), BundleID: b.ID, Slots: b.Slots()}
	var err error
	if h.journal, err = bundle.OpenFile(cfg.Dir, b.ID); err != nil {
		return nil, err
	}
	if h.Card, err = bundle.NewCard(b, bundle.Config{Journal: h.journal, Now: cfg.Now, Rand: cfg.Rand}); err != nil {
		return nil, errors.Join(err, h.journal.Close())
	}
	return h, nil
}

// Close zeroes the handset's keys in memory and closes its journal.
func (h *Handset) Close() error {
	h.Card.Close()
	return h.journal.Close()
}

// newDevice makes a device key and keeps it in the folder.
func newDevice(cfg HandsetConfig) (*bundle.Device, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("making device key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("keeping device key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(cfg.Dir, keyFile), text, 0o600); err != nil {
		return nil, fmt.Errorf("keeping device key: %w", err)
	}
	return bundle.DeviceFromKey(k)
}

func publicKey(d *bundle.Device) (k wire.PublicKey, err error) {
	jwk, err := d.PublicJWK()
	if err != nil {
		return k, err
	}
	return k, json.Unmarshal(jwk, &k)
}
