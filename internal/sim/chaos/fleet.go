//go:build linux

package chaos

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/freeport"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/cluster"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// fleet is the processes and what they share.
type fleet struct {
	bin, home string
	env       []string
	papers    *authority
	servers   []*cluster.Cluster // the first, and its standby
	first     int                // of servers, which one is written to
	dsn       string             // of the first server, past all wires
	shim      *shim.Shim         // before the HSM of the first process
	spare     *shim.Shim         // before the second token of the second process; nil: it has none
	notice    string             // how long a process that is to end still serves; 2s unless set
	cards     *softkey.Ring
	nodes     []*node
	busy      atomic.Int64 // answers that said when to come back
	mute      atomic.Int64 // and those that did not
	closers   []func() error
}

// purse is the key of a test card: its answers are known here.
var purse = keyref.Ref{Realm: "lab", Usage: keyref.PurchaseMaster, Version: 1}

func newFleet(ctx context.Context, c Config) (f *fleet, err error) {
	f = &fleet{bin: c.Bin, home: c.Dir, env: c.env, cards: &softkey.Ring{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if err := folder(c.Dir); err != nil {
		return f, err
	}
	if err := f.run(ctx, "init", c.Dir); err != nil {
		return f, err
	}
	if f.papers, err = newAuthority(); err != nil {
		return f, err
	}
	if _, err := f.papers.issue(filepath.Join(f.home, "tls")); err != nil {
		return f, err
	}
	if err := f.openHSM(ctx); err != nil {
		return f, err
	}
	if slices.Contains(c.Faults, oneOfTwo) {
		if err := f.openSpare(); err != nil {
			return f, err
		}
	}
	if err := f.openDatabase(ctx); err != nil {
		return f, err
	}
	if c.prepare != nil {
		if err := c.prepare(ctx, f); err != nil {
			return f, err
		}
	}
	for i := range c.Nodes {
		if err := f.add(ctx, i, c.Callers); err != nil {
			return f, err
		}
	}
	return f, nil
}

// run runs the program to its end.
func (f *fleet) run(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, f.bin, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("tapvault %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// openHSM gives the service's token the key of a test card, and puts a shim
// before it.
func (f *fleet) openHSM(ctx context.Context) (err error) {
	if err := softhsmconfig.Use(filepath.Join(f.home, "softhsm", "softhsm2.conf")); err != nil {
		return err
	}
	module, err := softhsmconfig.Module()
	if err != nil {
		return err
	}
	key := make([]byte, 16)
	defer clear(key)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if err := f.cards.ImportScratch(ctx, purse, key); err != nil {
		return err
	}
	t, err := hsm.Open(ctx, hsm.Config{Module: module, Token: "tapvault", PIN: hsm.PINFile(filepath.Join(f.home, "secrets", "hsm-user.pin")),
		CardRealms: []string{purse.Realm}})
	if err != nil {
		return err
	}
	if err := errors.Join(t.Import(ctx, purse, key), t.Close()); err != nil {
		return err
	}
	dir := filepath.Join(f.home, "shim")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	f.shim, err = shim.Build(dir, module)
	return err
}

// openDatabase starts a server and its standby, and registers the rehearsal's
// callers there.
func (f *fleet) openDatabase(ctx context.Context) error {
	first, err := cluster.Start(ctx, cluster.Options{Durable: true})
	if err != nil {
		return err
	}
	f.servers = append(f.servers, first)
	if f.dsn, err = first.Database(ctx); err != nil {
		return err
	}
	second, err := first.Standby(ctx)
	if err != nil {
		return err
	}
	f.servers = append(f.servers, second)
	own, err := store.Open(ctx, store.Config{DSN: filepath.Join(f.home, "tapvault.db"), ReadOnly: true})
	if err != nil {
		return err
	}
	clients, err := clientdb.New(own, nil).List(ctx)
	if err = errors.Join(err, own.Close()); err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Config{DSN: f.dsn})
	if err != nil {
		return err
	}
	err = db.Migrate(ctx)
	for _, c := range clients {
		if err == nil {
			err = clientdb.New(db, nil).Add(ctx, c)
		}
	}
	return errors.Join(err, db.Close())
}

// add makes and starts a process, with wires of its own to both servers.
func (f *fleet) add(ctx context.Context, i, callers int) (err error) {
	n := &node{bin: f.bin, config: filepath.Join(f.home, fmt.Sprintf("service-%d.yaml", i)), env: f.env}
	if n.addr, err = freeport.Address(); err != nil {
		return err
	}
	o := nodeConfig{record: fmt.Sprintf("audit-%d.log", i), notice: cmp.Or(f.notice, "5s"), calls: callers + 4}
	if o.dsn, err = f.wire(n); err != nil {
		return err
	}
	switch {
	case i == 0:
		o.module = f.shim.Module
	case i == 1 && f.spare != nil:
		o.spare = f.spare.Module
	}
	if err := n.writeConfig(f.home, o); err != nil {
		return err
	}
	n.http = newHTTP(f, callers)
	if err := f.clients(n); err != nil {
		return err
	}
	if err := n.start(); err != nil {
		return err
	}
	f.nodes = append(f.nodes, n)
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	go n.watch(watching)
	f.closers = append(f.closers, func() error { stop(); return n.stop() })
	return f.up(ctx, n)
}

// wire lays a wire from a process to each server, and returns the address by which it
// finds the one that leads.
func (f *fleet) wire(n *node) (dsn string, err error) {
	dir, err := os.MkdirTemp("", "tapvault-wire-") // the path of a socket may not be long
	if err != nil {
		return "", err
	}
	f.closers = append(f.closers, func() error { return os.RemoveAll(dir) })
	var hosts []string
	for k, s := range f.servers {
		host := filepath.Join(dir, fmt.Sprint(k))
		if err := os.Mkdir(host, 0o700); err != nil {
			return "", err
		}
		w, err := newLine(filepath.Join(host, ".s.PGSQL.5432"), s.Socket())
		if err != nil {
			return "", err
		}
		f.closers = append(f.closers, w.close)
		n.wires, hosts = append(n.wires, w), append(hosts, host)
	}
	u, err := url.Parse(f.dsn)
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("host", strings.Join(hosts, ","))
	q.Set("target_session_attrs", "primary")
	q.Set("connect_timeout", "2")
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// clients makes those who call a process.
func (f *fleet) clients(n *node) error {
	for id, c := range map[string]**client.Client{"issuer": &n.client, "terminal": &n.reader, "auditor": &n.auditor, "wallet": &n.phones} {
		key, err := client.ReadKey(filepath.Join(f.home, "clients", id+".pem"))
		if err != nil {
			return err
		}
		if *c, err = client.New(client.Config{BaseURL: "https://" + n.addr, ClientID: id, Key: key, HTTP: n.http,
			Audience: "https://localhost:8443"}); err != nil {
			return err
		}
	}
	return nil
}

// up waits until a process is ready.
func (f *fleet) up(ctx context.Context, n *node) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if n.ready(ctx) {
			return nil
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s is not ready after %v; it said: %s", n.config, patience, n.said())
}

// patience is how long everything may take to work again.
const patience = 5 * time.Minute

func (f *fleet) close() error {
	var errs []error
	for i := len(f.closers) - 1; i >= 0; i-- {
		errs = append(errs, f.closers[i]())
	}
	f.closers = nil
	for _, s := range f.servers {
		errs = append(errs, s.Stop())
	}
	f.servers = nil
	return errors.Join(errs...)
}
