package rig

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
)

// config is a rehearsal with one realm of cards and phones.
func config(module string) (assembly.Config, error) {
	var factors []cryptogram.FactorRule
	for _, s := range []string{"issuer8", "asn8"} {
		f, err := cryptogram.ParseFactorRule(s)
		if err != nil {
			return assembly.Config{}, err
		}
		factors = append(factors, f)
	}
	return assembly.Config{
		Environment: assembly.Rehearsal,
		Listen:      "127.0.0.1:0",
		TLS:         assembly.TLS{CertFile: "unused", KeyFile: "unused"},
		HSM:         assembly.HSM{Module: module, Token: tokenLabel, PINFile: "pin"},
		Store:       assembly.Store{DSN: "tapvault.db"},
		Audit:       assembly.Audit{File: "audit.log"},
		Calendar:    assembly.Calendar{Zone: "Asia/Shanghai", CutOver: "03:00"},
		Vault: assembly.Vault{
			BINController: "TAPV",
			Ranges:        []assembly.Range{{Name: "bank-16", Prefix: "6299", Length: 16, Luhn: true}},
			CardRanges:    []assembly.CardRange{{Prefix: "6212", Length: 16}},
		},
		Realms: []assembly.Realm{{
			Name: Realm, Issuer: "1000000000000001", Factors: factors,
			Algorithms: map[byte]string{0: cryptogram.TDES}, KeyVersions: map[byte]uint8{1: 1},
		}},
		Slots: assembly.Slots{Realm: Realm, KeyVersion: 1, Count: 10, CapFen: 1000, AppType: 2, AppVersion: 1,
			AID: "A000000632010105"},
		Identity: assembly.Identity{IssuerURL: "https://rig.example", Audience: "tapvault", AccessTTL: time.Hour},
	}, nil
}

// clients are the callers that every rig knows, each with its role's rights.
var clients = []identity.Client{
	{ID: "issuer", Role: access.Issuer, Requestor: "50110000001"},
	{ID: "terminal", Role: access.Terminal},
	{ID: "wallet", Role: access.Wallet},
	{ID: "officer", Role: access.Officer},
	{ID: "operator", Role: access.Operator},
}

// register makes the callers' keys and makes them known.
func (r *Rig) register(ctx context.Context) (err error) {
	db, err := assembly.OpenStore(ctx, r.Config, r.now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, c := range clients {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if c.JWK, err = publicJWK(&k.PublicKey); err != nil {
			return err
		}
		c.Scopes = access.ForRole(c.Role)
		if err := clientdb.New(db, r.now).Add(ctx, c); err != nil {
			return fmt.Errorf("registering %s: %w", c.ID, err)
		}
		r.keys[c.ID] = k
	}
	return nil
}

func publicJWK(k *ecdsa.PublicKey) ([]byte, error) {
	point, err := k.Bytes()
	if err != nil {
		return nil, err
	}
	enc := base64.RawURLEncoding.EncodeToString
	return json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "x": enc(point[1:33]), "y": enc(point[33:])})
}
