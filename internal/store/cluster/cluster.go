// Package cluster runs a private PostgreSQL server, for tests and measurements:
// in a folder of its own, reached through a socket there and not through the
// network, gone without a trace when it is stopped.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// superuser is who owns everything in a cluster.
const superuser = "tapvault"

// Options says what kind of server to run.
type Options struct {
	// Durable makes commits wait for the disk, as a real server does. Without
	// it everything is quicker, and a power cut leaves nothing of use.
	Durable bool
	// Port of 127.0.0.1 on which it listens besides; 0: none. A socket has no TLS.
	Port int
}

// Cluster is a running server. It is safe for concurrent use.
type Cluster struct {
	dir    string
	bin    string
	who    *syscall.Credential
	args   []string // of the server
	port   int
	server *exec.Cmd
	ended  chan error
	log    *os.File
	names  atomic.Int64
}

// Start makes a cluster and waits until it answers.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	who, err := owner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tapvault-pg-")
	if err != nil {
		return nil, fmt.Errorf("making a PostgreSQL cluster: %w", err)
	}
	c := &Cluster{dir: dir, bin: bin, who: who, port: o.Port}
	if err := c.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("making a PostgreSQL cluster: %w", err), c.Stop())
	}
	return c, nil
}

// binaries is the folder of the newest server that is installed.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		if path, err := exec.LookPath("initdb"); err == nil {
			return filepath.Dir(path), nil
		}
		return "", errors.New("PostgreSQL is not installed: install the package postgresql (scripts/setup.sh test does)")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// owner is who the server runs as: nil for whoever runs this, and somebody
// else when that is root, whom PostgreSQL refuses.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("reading the ids of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func (c *Cluster) start(ctx context.Context, o Options) error {
	if err := c.own(); err != nil {
		return err
	}
	initdb := c.command(filepath.Join(c.bin, "initdb"), "-D", c.data(), "-U", superuser, "-A", "trust", "-E", "UTF8",
		"--no-locale", "--no-sync")
	var out []byte
	err := onOneThread(func() (err error) { out, err = initdb.CombinedOutput(); return err })
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	if !o.Durable {
		c.args = []string{"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"}
	}
	return c.run(ctx)
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// own gives the folder to whom the server runs as.
func (c *Cluster) own() error {
	if c.who == nil {
		return nil
	}
	return os.Chown(c.dir, int(c.who.Uid), int(c.who.Gid))
}

// run starts the server on the data that is there, and waits until it answers.
func (c *Cluster) run(ctx context.Context) (err error) {
	if c.log == nil {
		if c.log, err = os.Create(filepath.Join(c.dir, "log")); err != nil {
			return err
		}
	}
	address := ""
	if c.port != 0 {
		address = "127.0.0.1"
	}
	c.server = c.command(filepath.Join(c.bin, "postgres"), append([]string{"-D", c.data(), "-k", c.dir, "-p", c.number(),
		"-c", "listen_addresses=" + address, "-c", "max_connections=200"}, c.args...)...)
	c.server.Stdout, c.server.Stderr = c.log, c.log
	if err := c.launch(); err != nil {
		return err
	}
	return c.answers(ctx)
}

// launch starts the server and waits for its end behind the caller's back.
func (c *Cluster) launch() error {
	started := make(chan error, 1)
	c.ended = make(chan error, 1)
	go onOneThread(func() error {
		err := c.server.Start()
		started <- err
		if err == nil {
			c.ended <- c.server.Wait()
		}
		return err
	})
	return <-started
}

// onOneThread runs f on a thread that stays until f returns: the kernel ends a
// command when the thread that started it ends, and threads of a Go process come
// and go (those of HSM workers do).
func onOneThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- f()
	}()
	return <-done
}

// command is a command that runs as the server does, and ends when this process
// does.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = attributes(c.who)
	return cmd
}

// answers waits until the server answers.
func (c *Cluster) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // it may have much to recover, on a busy machine
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case end := <-c.ended:
			c.ended <- end
			said, _ := os.ReadFile(c.log.Name())
			return fmt.Errorf("the server ended: %w: %s", end, bytes.TrimSpace(said))
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *Cluster) url(database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{"host": {c.dir}, "port": {c.number()}, "user": {superuser}}.Encode()}
	return u.String()
}

// Database makes an empty database and returns its URL.
func (c *Cluster) Database(ctx context.Context) (dsn string, err error) {
	name := "db" + strconv.FormatInt(c.names.Add(1), 10)
	if err := c.Exec(ctx, c.url("postgres"), "CREATE DATABASE "+name+" STRATEGY=FILE_COPY"); err != nil {
		return "", fmt.Errorf("making a database: %w", err)
	}
	return c.url(name), nil
}

// Exec runs one statement on the database of a URL.
func (c *Cluster) Exec(ctx context.Context, dsn, statement string) (err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// Stop ends the server and removes its folder.
func (c *Cluster) Stop() error {
	var errs []error
	if c.ended != nil {
		errs = append(errs, c.end())
	}
	if c.log != nil {
		errs = append(errs, c.log.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// end asks the server to end at once, whoever is connected.
func (c *Cluster) end() error {
	if err := c.server.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the PostgreSQL server does not end"), c.server.Process.Kill())
	}
	return nil
}

// Log is what the server said.
func (c *Cluster) Log() string {
	b, err := os.ReadFile(c.log.Name())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}
