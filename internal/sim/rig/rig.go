// Package rig assembles the whole service in one process on throw-away keys,
// for simulators.
//
// What runs is what `tapvault serve` runs: the HSM is a SoftHSM token of the
// rig's own, the database a SQLite file, the wire TLS 1.3 on the loopback. Only
// the clock is the simulator's. The purchase masters are drawn in memory and
// imported, so that thousands of readers can be had without an HSM for each:
// that is why nothing of a rig may ever be used for anything else.
package rig

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/keyceremony"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// Realm is the realm of cards and phones that every rig has.
const Realm = "transit"

const (
	tokenLabel = "tapsim-rig"
	userPIN    = "123456"
	officerPIN = "12345678"
)

// Config says what to make.
type Config struct {
	Now func() time.Time // the service's clock; nil: time.Now
	// Edit changes the configuration before anything is made from it.
	Edit func(*assembly.Config)
}

// Rig is a running service. A process has one at a time, because SoftHSM reads
// its configuration once.
type Rig struct {
	URL    string
	Dir    string // scratch space: it goes with the rig
	Config assembly.Config
	now    func() time.Time
	keys   map[string]crypto.Signer
	psam   map[keyref.Ref][16]byte
	http   *http.Client
	addr   string       // where it listens
	close  func() error // of the running service
}

// busy is held by the process's one rig.
var busy sync.Mutex

// New makes a service from nothing and starts it. [Rig.Close] removes it.
func New(ctx context.Context, c Config) (*Rig, error) {
	r, err := Make(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := r.Start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Make makes a service from nothing and does not start it.
func Make(ctx context.Context, c Config) (r *Rig, err error) {
	if !busy.TryLock() {
		return nil, errors.New("rig: this process has one already")
	}
	dir, err := os.MkdirTemp("", "tapsim-")
	if err == nil {
		r = &Rig{Dir: dir, now: c.now(), keys: map[string]crypto.Signer{}, psam: map[keyref.Ref][16]byte{}}
		if err = r.place(); err == nil {
			err = r.make(ctx, c)
		}
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	if err != nil {
		busy.Unlock()
		return nil, fmt.Errorf("making the service: %w", err)
	}
	return r, nil
}

func (c Config) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

// place finds where the service will listen.
func (r *Rig) place() error {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	s.StartTLS()
	defer s.Close()
	r.addr, r.URL, r.http = s.Listener.Addr().String(), s.URL, s.Client()
	return nil
}

// make puts into the folder what a service needs.
func (r *Rig) make(ctx context.Context, c Config) error {
	conf, err := softhsmconfig.Write(filepath.Join(r.Dir, "softhsm"))
	if err != nil {
		return err
	}
	if err := softhsmconfig.Use(conf); err != nil {
		return err
	}
	module, err := softhsmconfig.Module()
	if err != nil {
		return err
	}
	if r.Config, err = config(module); err != nil {
		return err
	}
	if c.Edit != nil {
		c.Edit(&r.Config)
	}
	r.Config = r.Config.In(r.Dir)
	if err := os.WriteFile(filepath.Join(r.Dir, "pin"), []byte(userPIN+"\n"), 0o600); err != nil {
		return err
	}
	if err := r.bear(ctx, module); err != nil {
		return err
	}
	return r.register(ctx)
}

// bear initialises the token and gives every key its birth. The masters that
// readers share are imported; the service cannot tell, as with any PSAM.
func (r *Rig) bear(ctx context.Context, module string) (err error) {
	err = hsm.InitToken(ctx, hsm.InitConfig{Module: module, Label: tokenLabel, SOPIN: []byte(officerPIN), UserPIN: []byte(userPIN)})
	if err != nil {
		return err
	}
	t, err := hsm.Open(ctx, hsm.Config{Module: module, Token: tokenLabel, PIN: hsm.StaticPIN(userPIN)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, ref := range r.readersKeys() {
		var k [16]byte
		_, _ = rand.Read(k[:]) // never fails
		r.psam[ref] = k
		if err := t.Import(ctx, ref, k[:]); err != nil {
			return fmt.Errorf("importing %v: %w", ref, err)
		}
	}
	var born []keyref.Ref
	for _, ref := range r.Config.Keys() {
		if _, ok := r.psam[ref]; !ok {
			born = append(born, ref)
		}
	}
	_, err = keyceremony.Rehearse(ctx, keyceremony.Plan{Holders: []keyceremony.Holder{{Name: "service", Token: t, Keys: born}}})
	return err
}

// readersKeys are the masters that readers' modules hold: those of phones, and
// those of secure elements if any are served.
func (r *Rig) readersKeys() []keyref.Ref {
	keys := keyceremony.PSAMKeys(Realm)
	if v := r.Config.Slots.ElementKeyVersion; v != 0 {
		keys = append(keys, keyref.Ref{Realm: Realm, Usage: keyref.SlotPurchaseMaster, Version: v})
	}
	return keys
}

// Start begins the service, again after [Rig.Stop].
func (r *Rig) Start(ctx context.Context) error {
	stop, err := serve(ctx, r.Config, r.addr, r.now, nil)
	if err != nil {
		return fmt.Errorf("starting the service: %w", err)
	}
	r.close = sync.OnceValue(stop)
	return nil
}

// serve builds the service and listens for it at addr; wrap, if it is not nil,
// stands before every request.
func serve(ctx context.Context, c assembly.Config, addr string, now func() time.Time, wrap func(http.Handler) http.Handler) (stop func() error, err error) {
	s, err := assembly.Build(context.WithoutCancel(ctx), c, assembly.Options{Now: now})
	if err != nil {
		return nil, err
	}
	handler := s.Handler
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	if server.Listener, err = net.Listen("tcp", addr); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	server.StartTLS()
	return func() error {
		server.Close()
		return s.Close()
	}, nil
}

// Stop ends the service and keeps what it stored.
func (r *Rig) Stop() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Close ends the service and removes everything.
func (r *Rig) Close() error {
	defer busy.Unlock()
	return errors.Join(r.Stop(), os.RemoveAll(r.Dir))
}

// Client returns a caller of the given role's name: issuer, terminal, wallet,
// officer or operator.
func (r *Rig) Client(role string) (*client.Client, error) { return r.ClientOver(role, nil) }

// ClientOver is a caller whose requests pass over.
func (r *Rig) ClientOver(role string, over func(http.RoundTripper) http.RoundTripper) (*client.Client, error) {
	h := r.http
	if over != nil {
		h = &http.Client{Transport: over(h.Transport), Timeout: 30 * time.Second}
	}
	key := r.keys[role]
	if key == nil {
		return nil, fmt.Errorf("rig: there is no client %q", role)
	}
	return client.New(client.Config{BaseURL: r.URL, ClientID: role, Key: key, HTTP: h, Now: r.now,
		Audience: r.Config.Identity.IssuerURL})
}

// Key is a caller's private key, for a client in another process.
func (r *Rig) Key(role string) crypto.Signer { return r.keys[role] }

// PSAM returns the keys of one reader's security module.
func (r *Rig) PSAM() (*softkey.Ring, error) { return Ring(r.psam) }

// Masters are the throw-away purchase masters, for a PSAM of somebody else's
// that shall take purchases of this rig's phones.
func (r *Rig) Masters() map[keyref.Ref][16]byte { return r.psam }

// Ring puts throw-away masters into a security module's keys.
func Ring(masters map[keyref.Ref][16]byte) (*softkey.Ring, error) {
	ring := &softkey.Ring{}
	for ref, k := range masters {
		if err := ring.ImportScratch(context.Background(), ref, k[:]); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

// Rogue returns the keys of a module that knows none of the scheme's.
func Rogue() (*softkey.Ring, error) {
	masters := map[keyref.Ref][16]byte{}
	for _, ref := range keyceremony.PSAMKeys(Realm) {
		var k [16]byte
		_, _ = rand.Read(k[:]) // never fails
		masters[ref] = k
	}
	return Ring(masters)
}
