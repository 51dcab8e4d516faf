// Package lab assembles the whole service in one process for end-to-end tests.
//
// Nothing in it stands in for anything: the HSM is a SoftHSM token of the
// test's own, the database a SQLite file, the wire TLS 1.3 on the loopback.
package lab

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/keyceremony"
)

// Realm is the realm of cards and phones that every lab has.
const Realm = "transit"

// Options changes what [New] makes.
type Options struct {
	// Config changes the configuration before anything is made from it.
	Config func(*assembly.Config)
	// Keys are imported into the service's token besides the rehearsal's.
	Keys map[keyref.Ref][]byte
	// Birth gives every key its birth instead of the rehearsal: on the service's
	// token, and on that of [Lab.PSAM].
	Birth func(l *Lab, service hsm.Config)
	// Now is the service's clock; nil: time.Now.
	Now func() time.Time
	// Module is a library in the place of the one that tests run on: a shim.
	Module string
}

// Lab is a running service.
type Lab struct {
	URL    string
	Config assembly.Config
	PSAM   hsm.Config // a token that shares the purchase masters
	Now    func() time.Time
	Logs   *Buffer // what the service logged
	Wire   *Buffer // every answer it gave
	HTTP   *http.Client
	HSM    *hsm.Token // the running service's
	keys   map[string]crypto.Signer
	server *httptest.Server
	stop   func() error
}

// Buffer is a buffer that many may write to.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is what was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Prepare makes everything that a service needs and does not start it.
func Prepare(t testing.TB, o Options) *Lab {
	t.Helper()
	l := &Lab{Now: o.Now, Logs: &Buffer{}, Wire: &Buffer{}, keys: map[string]crypto.Signer{}}
	if l.Now == nil {
		l.Now = time.Now
	}
	empty := hsmtest.Empty
	if o.Module != "" {
		empty = func(t testing.TB) hsm.Config { return hsmtest.EmptyOn(t, o.Module) }
	}
	token := empty(t)
	l.PSAM = empty(t)
	dir := t.TempDir()
	l.Config = config(token).In(dir)
	if o.Config != nil {
		o.Config(&l.Config)
	}
	if err := os.WriteFile(filepath.Join(dir, "pin"), []byte(hsmtest.PIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Birth != nil {
		o.Birth(l, token)
	} else {
		l.bear(t, token, o.Keys)
	}
	l.register(t)
	return l
}

// New returns a running service, which ends with the test.
func New(t testing.TB, o Options) *Lab {
	t.Helper()
	l := Prepare(t, o)
	if err := l.Start(t); err != nil {
		t.Fatalf("lab: %v", err)
	}
	return l
}

// Start builds the service and serves it; the error is what a program would
// end with.
func (l *Lab) Start(t testing.TB) error {
	t.Helper()
	log, err := obs.NewLogger(l.Logs, "json", slog.LevelDebug)
	if err != nil {
		return err
	}
	s, err := assembly.Build(context.Background(), l.Config, assembly.Options{Now: l.Now, Log: log})
	if err != nil {
		return err
	}
	l.HSM = s.HSM
	l.server = httptest.NewUnstartedServer(s.Handler)
	l.server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	if l.Config.TLS.ClientCertificates {
		l.server.TLS.ClientAuth = tls.RequestClientCert
	}
	l.server.StartTLS()
	l.URL = l.server.URL
	l.HTTP = l.server.Client()
	if wire, ok := l.HTTP.Transport.(*http.Transport); ok {
		wire.MaxIdleConnsPerHost = 64 // a handshake for each request would be most of a test's time
	}
	l.HTTP.Transport = &recorder{l.HTTP.Transport, l.Wire}
	l.stop = sync.OnceValue(func() error {
		s.Drain()
		l.server.Close()
		return s.Close()
	})
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Errorf("lab: stopping: %v", err)
		}
	})
	return nil
}

// LoseHSM takes the HSM away from the running service.
func (l *Lab) LoseHSM(t testing.TB) {
	t.Helper()
	if err := l.HSM.Close(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	stop := l.stop
	l.stop = func() error { _ = stop(); return nil } // it cannot be closed twice
}

// Stop ends the service; [Lab.Start] begins it again.
func (l *Lab) Stop(t testing.TB) {
	t.Helper()
	if err := l.stop(); err != nil {
		t.Fatalf("lab: stopping: %v", err)
	}
}

// bear gives every key its birth, on both tokens.
func (l *Lab) bear(t testing.TB, service hsm.Config, imported map[keyref.Ref][]byte) {
	t.Helper()
	ctx := context.Background()
	a, err := hsm.Open(ctx, service)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	defer closing(t, a.Close)
	b, err := hsm.Open(ctx, l.PSAM)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	defer closing(t, b.Close)
	for ref, key := range imported {
		if err := a.Import(ctx, ref, key); err != nil {
			t.Fatalf("lab: importing %v: %v", ref, err)
		}
	}
	_, err = keyceremony.Rehearse(ctx, keyceremony.Plan{Holders: []keyceremony.Holder{
		{Name: "service", Token: a, Keys: slices.DeleteFunc(l.Config.Keys(), func(r keyref.Ref) bool { return imported[r] != nil })},
		{Name: "psam", Token: b, Keys: l.PSAMKeys()},
	}})
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
}

// PSAMKeys are what the token of [Lab.PSAM] holds.
func (l *Lab) PSAMKeys() []keyref.Ref {
	keys := keyceremony.PSAMKeys(Realm)
	if v := l.Config.Slots.ElementKeyVersion; v != 0 {
		keys = append(keys, keyref.Ref{Realm: Realm, Usage: keyref.SlotPurchaseMaster, Version: v})
	}
	return keys
}

// clients are the callers that every lab knows.
var clients = []identity.Client{
	{ID: "issuer", Role: access.Issuer, Requestor: "50110000001"},
	{ID: "other-issuer", Role: access.Issuer, Requestor: "50110000002"},
	{ID: "terminal", Role: access.Terminal},
	{ID: "wallet", Role: access.Wallet},
	{ID: "officer", Role: access.Officer},
	{ID: "operator", Role: access.Operator},
	{ID: "auditor", Role: access.Auditor},
}

func (l *Lab) register(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	db, err := assembly.OpenStore(ctx, l.Config, l.Now)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	defer closing(t, db.Close)
	for _, c := range clients {
		c.Scopes = access.ForRole(c.Role)
		c.JWK = l.newKey(t, c.ID)
		if err := clientdb.New(db, l.Now).Add(ctx, c); err != nil {
			t.Fatalf("lab: registering %s: %v", c.ID, err)
		}
	}
	l.newKey(t, "stranger") // a key that nobody registered
}

func (l *Lab) newKey(t testing.TB, id string) (public []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	l.keys[id] = k
	enc := base64.RawURLEncoding.EncodeToString
	public, err = json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "x": enc(point[1:33]), "y": enc(point[33:])})
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func closing(t testing.TB, f func() error) {
	if err := f(); err != nil {
		t.Errorf("lab: closing: %v", err)
	}
}

// config is a rehearsal with a realm of cards and phones.
func config(token hsm.Config) assembly.Config {
	factor := func(s string) cryptogram.FactorRule {
		f, err := cryptogram.ParseFactorRule(s)
		if err != nil {
			panic(err) // a constant of this file
		}
		return f
	}
	return assembly.Config{
		Environment: assembly.Rehearsal,
		Listen:      "127.0.0.1:0",
		TLS:         assembly.TLS{CertFile: "unused", KeyFile: "unused"},
		HSM:         assembly.HSM{Module: token.Module, Token: token.Token, PINFile: "pin"},
		Store:       assembly.Store{DSN: "tapvault.db"},
		Audit:       assembly.Audit{File: "audit.log"},
		Calendar:    assembly.Calendar{Zone: "Asia/Shanghai", CutOver: "03:00"},
		Vault: assembly.Vault{
			BINController: "TAPV",
			Ranges:        []assembly.Range{{Name: "bank-16", Prefix: "6299", Length: 16, Luhn: true}},
			CardRanges:    []assembly.CardRange{{Prefix: "6212", Length: 16}},
		},
		Realms: []assembly.Realm{{
			Name: Realm, Issuer: "1000000000000001",
			Factors:    []cryptogram.FactorRule{factor("issuer8"), factor("asn8")},
			Algorithms: map[byte]string{0: cryptogram.TDES}, KeyVersions: map[byte]uint8{1: 1},
		}},
		Slots:    assembly.Slots{Realm: Realm, KeyVersion: 1, Count: 4, CapFen: 1000, AID: "A000000632010105"},
		Identity: assembly.Identity{IssuerURL: "https://lab.example", Audience: "tapvault"},
	}
}
