package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// ClientCommand is the argument with which a program that calls this package
// has to call [Client]: the benches over HTTP run it again as their client.
const ClientCommand = "bench-client"

// visitor calls a server for a while, and again.
type visitor interface {
	run(ctx context.Context, d time.Duration) (errandDone, error)
	close() error
}

// local is a client in this process.
type local struct{ callers *callers }

func stay(ctx context.Context, e errand) (local, error) {
	c, err := e.dial(ctx)
	if err != nil {
		return local{}, err
	}
	if err := c.greet(); err != nil {
		return local{}, errors.Join(err, c.close())
	}
	return local{c}, nil
}

func (l local) run(ctx context.Context, d time.Duration) (done errandDone, err error) {
	done.N, err = l.callers.run(ctx, d)
	return done, err
}

func (l local) close() error { return l.callers.close() }

// A client that is a process of its own leaves what the kernel says of this one
// true of the service. It is told what to send over its standard input, which
// also keeps the access token off its command line, and then, line by line, for
// how long; it answers each line when it has done so.
type (
	errand struct {
		Addr, ServerName string
		Root             []byte // the server's certificate, DER
		Conns            int
		Head             []byte // of every request, up to the value of Content-Length
		Bodies           [][]byte
	}
	errandDone struct {
		N     int           // calls that were answered with 200
		CPU   time.Duration // that they took the client
		Error string
	}
)

// Client is the client's process: it reads an errand and its lines from in, and
// answers on out, until in ends.
func Client(ctx context.Context, in io.Reader, out io.Writer) error {
	from, to := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	var e errand
	if err := from.Decode(&e); err != nil {
		return fmt.Errorf("reading what to send: %w", err)
	}
	c, err := e.dial(ctx)
	if err != nil {
		return errors.Join(err, to.Encode(doneBy(err)))
	}
	defer c.close()
	if err := to.Encode(doneBy(c.greet())); err != nil {
		return err
	}
	for {
		var d time.Duration
		if err := from.Decode(&d); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading for how long to call: %w", err)
		}
		cpu := processCPU()
		n, err := c.run(ctx, d)
		done := doneBy(err)
		done.N, done.CPU = n, processCPU()-cpu
		if err := to.Encode(done); err != nil {
			return err
		}
	}
}

func doneBy(err error) (done errandDone) {
	if err != nil {
		done.Error = err.Error()
	}
	return done
}

func (e errand) dial(ctx context.Context) (*callers, error) {
	root, err := x509.ParseCertificate(e.Root)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(root)
	cfg := &tls.Config{RootCAs: trusted, ServerName: e.ServerName, MinVersion: tls.VersionTLS13}
	return dial(ctx, e.Addr, cfg, e.Conns, e.Head, e.Bodies)
}

// remote is a client's process, seen from here.
type remote struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	to  *json.Encoder
	out *json.Decoder
}

// send starts a client with e.
func send(e errand) (r *remote, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	r = &remote{cmd: exec.Command(self, ClientCommand)}
	r.cmd.Stderr = os.Stderr
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.to, r.out = json.NewEncoder(r.in), json.NewDecoder(bufio.NewReader(out))
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the client: %w", err)
	}
	if _, err := r.ask(e); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// ask sends one line and waits for its answer.
func (r *remote) ask(line any) (done errandDone, err error) {
	if err := r.to.Encode(line); err != nil {
		return done, fmt.Errorf("telling the client: %w", err)
	}
	if err := r.out.Decode(&done); err != nil {
		return done, fmt.Errorf("hearing from the client: %w", err)
	}
	if done.Error != "" {
		return done, errors.New(done.Error)
	}
	return done, nil
}

// run has the client call for d.
func (r *remote) run(ctx context.Context, d time.Duration) (errandDone, error) {
	if err := ctx.Err(); err != nil {
		return errandDone{}, err
	}
	return r.ask(d)
}

// close lets the client end.
func (r *remote) close() error { return errors.Join(r.in.Close(), r.cmd.Wait()) }
