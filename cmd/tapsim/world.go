package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/keyceremony"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// What `tapvault init` makes.
const (
	realm     = "transit"
	psamLabel = "tapsim-psam"
	zoneName  = "Asia/Shanghai"
)

// terminalID is the number of the simulator's reader.
var terminalID = [6]byte{0x31, 0x00, 0x00, 0x00, 0x00, 0x01}

// world is one rehearsal as the simulator sees it: its files, the callers
// whose keys lie there, and the PSAM of its reader.
type world struct {
	dir, url string
	now      func() time.Time
	phone    func() time.Time // the clock of phones, which their holders can set
	zone     *time.Location
	issuer   *client.Client
	wallet   *client.Client
	terminal *client.Client
	psam     *hsm.Token
	reader   *sim.Reader
	leave    []func() // the folders of readers
}

// openWorld opens what does not need the service to run.
func openWorld(ctx context.Context, dir, url string, now func() time.Time) (w *world, err error) {
	w = &world{dir: dir, url: url, now: now, phone: now}
	if w.zone, err = time.LoadLocation(zoneName); err != nil {
		return nil, err
	}
	for id, c := range map[string]**client.Client{"issuer": &w.issuer, "wallet": &w.wallet, "terminal": &w.terminal} {
		key, err := client.ReadKey(filepath.Join(dir, "clients", id+".pem"))
		if err != nil {
			return nil, err
		}
		if *c, err = w.caller(id, key); err != nil {
			return nil, err
		}
	}
	return w, w.openPSAM(ctx)
}

// caller is a client of the service under a given key.
func (w *world) caller(id string, key crypto.Signer) (*client.Client, error) {
	return client.New(client.Config{BaseURL: w.url, ClientID: id, Key: key, CAFile: filepath.Join(w.dir, "tls", "ca.pem"), Now: w.now})
}

// openPSAM logs in to the reader's own token, which shares two masters with
// the service and nothing else.
func (w *world) openPSAM(ctx context.Context) error {
	if err := softhsmconfig.Use(filepath.Join(w.dir, "softhsm", "softhsm2.conf")); err != nil {
		return err
	}
	module, err := softhsmconfig.Module()
	if err != nil {
		return err
	}
	pin := hsm.PINFile(filepath.Join(w.dir, "secrets", "psam-user.pin"))
	if w.psam, err = hsm.Open(ctx, hsm.Config{Module: module, Token: psamLabel, PIN: pin}); err != nil {
		return fmt.Errorf("opening the reader's PSAM: %w", err)
	}
	return w.psam.Require(ctx, keyceremony.PSAMKeys(realm)...)
}

// openReader starts the reader; it asks the running service for its parameters.
func (w *world) openReader(ctx context.Context) (err error) {
	w.reader, err = w.newReader(ctx, "reader", terminalID)
	return err
}

// newReader starts a reader in a folder of its own, which no other run has until the world is
// closed: a reader that opens the queue of another one takes its taps away. All share one
// PSAM's keys.
func (w *world) newReader(ctx context.Context, folder string, id [6]byte) (*sim.Reader, error) {
	dir, err := w.folder(folder)
	if err != nil {
		return nil, err
	}
	leave, err := take(dir)
	if err != nil {
		return nil, err
	}
	w.leave = append(w.leave, leave)
	return sim.NewReader(ctx, sim.ReaderConfig{Client: w.terminal, Keys: w.psam, Realm: realm, Terminal: id, Dir: dir, Zone: w.zone, Now: w.now})
}

// provision gives a phone of its own folder a bundle under the token ref.
func (w *world) provision(ctx context.Context, ref string) (*sim.Handset, error) {
	dir, err := w.folder(filepath.Join("handsets", ref))
	if err != nil {
		return nil, err
	}
	return sim.Provision(ctx, w.wallet, ref, sim.HandsetConfig{Dir: dir, Now: func() time.Time { return w.phone() }})
}

func (w *world) folder(name string) (string, error) {
	dir := filepath.Join(w.dir, "tapsim", name)
	return dir, os.MkdirAll(dir, 0o700)
}

func (w *world) close() error {
	var errs []error
	if w.reader != nil {
		errs = append(errs, w.reader.Close())
	}
	if w.psam != nil {
		errs = append(errs, w.psam.Close())
	}
	for _, leave := range w.leave {
		leave()
	}
	return errors.Join(errs...)
}
