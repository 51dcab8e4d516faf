package sim_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/rig"
	"github.com/tapvault/tapvault/internal/sim/vpcd"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/psam"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/mask"
)

// A program that is killed has to be a program: the test runs itself again, in
// one of these roles, and the child kills itself with SIGKILL at the step that
// it was told. Steps are what a program cannot do without: readings of its
// clock, commands on their way to a card or a PSAM and back, requests and
// answers. No code outside tests knows of them.

const childWord = "sim-child"

// job is what a child is told.
type job struct {
	Role             string // service, phone, reader
	Step             int    // to die at; 0: never
	Path             string // service: of the requests that count
	Skip             int    // service: of those, how many come before the one that counts
	Now              time.Time
	Service          rig.Child
	Dir              string // of phone or reader
	Addr             string // phone: of the reader that it calls
	KeyFile          string // reader: of its client; purse: of the device
	Bundle, Hardware string // purse: as they came
	Secret           []byte // purse: what the PIN stretches to
	URL              string
	PSAM             map[keyref.Usage][]byte // reader: masters
	Amount           token.Amount            // reader: of the tap; 0: none
}

func TestMain(m *testing.M) {
	if len(os.Args) != 3 || os.Args[1] != childWord {
		os.Exit(m.Run())
	}
	var j job
	err := json.Unmarshal([]byte(os.Args[2]), &j)
	if err == nil {
		err = j.run(context.Background())
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func (j job) run(ctx context.Context) error {
	switch j.Role {
	case "service":
		return j.serve(ctx)
	case "phone":
		return j.phone(ctx)
	case "purse":
		return j.purse(ctx)
	case "reader":
		return j.reader(ctx)
	}
	return errors.New("no such role")
}

// steps counts, and kills its process at one of them.
type steps struct {
	armed atomic.Bool
	n     atomic.Int64
	die   int
}

func (s *steps) step() {
	if s.armed.Load() && s.n.Add(1) == int64(s.die) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

// clock is a clock whose readings are steps.
func (s *steps) clock(now time.Time) func() time.Time {
	began := time.Now()
	return func() time.Time {
		s.step()
		return now.Add(time.Since(began))
	}
}

func (j job) serve(ctx context.Context) error {
	s, skip := &steps{die: j.Step}, j.Skip
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			counts := j.Step > 0 && strings.HasSuffix(q.URL.Path, j.Path)
			if counts && skip > 0 {
				skip--
				counts = false
			}
			if !counts {
				next.ServeHTTP(w, q)
				return
			}
			s.armed.Store(true)
			s.step()
			kept := httptest.NewRecorder() // acted, and not yet answered
			next.ServeHTTP(kept, q)
			s.step()
			s.armed.Store(false)
			for k, v := range kept.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(kept.Code)
			_, _ = w.Write(kept.Body.Bytes())
		})
	}
	stop, err := j.Service.Serve(ctx, s.clock(j.Now), killRig, wrap)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends it
	return stop()
}

func (j job) phone(ctx context.Context) error {
	s := &steps{die: j.Step}
	s.armed.Store(true)
	h, err := sim.OpenHandset(sim.HandsetConfig{Dir: j.Dir, Now: s.clock(j.Now)})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	ctx, stop := context.WithCancel(ctx)
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	return errors.Join(vpcd.Serve(ctx, vpcd.Config{Addr: j.Addr, Card: stepCard{h, s}, Retry: 10 * time.Millisecond}), h.Close())
}

// stepCard makes a step of each command that comes and each answer that goes.
type stepCard struct {
	vpcd.Card
	*steps
}

func (c stepCard) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	c.step()
	answer, err := c.Card.Transmit(ctx, command)
	c.step()
	return answer, err
}

func (j job) reader(ctx context.Context) error {
	s := &steps{die: j.Step}
	c, err := j.client(s)
	if err != nil {
		return err
	}
	keys, err := j.psam(s)
	if err != nil {
		return err
	}
	r, err := sim.NewReader(ctx, sim.ReaderConfig{Client: c, Keys: keys, Realm: rig.Realm, Terminal: [6]byte{5: 9},
		Dir: j.Dir, Zone: shanghai, Now: s.clock(j.Now)})
	if err != nil {
		return err
	}
	s.armed.Store(true)
	if j.Amount > 0 {
		card, err := listen()
		if err != nil {
			return err
		}
		fmt.Println("ready", card.l.Addr())
		if err := card.accept(); err != nil {
			return err
		}
		if _, err := r.Tap(ctx, stepField{card, s}, j.Amount); err != nil {
			fmt.Println("refused", err)
		} else {
			fmt.Println("accepted")
		}
	}
	receipts, err := r.Upload(ctx)
	if err != nil {
		return err
	}
	for _, got := range receipts {
		fmt.Println("receipt", got.Outcome)
	}
	return r.Close()
}

func (j job) client(s *steps) (*client.Client, error) {
	text, err := os.ReadFile(j.KeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	h := &http.Client{Transport: stepTrip{&http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, s}}
	return client.New(client.Config{BaseURL: j.URL, ClientID: "terminal", Key: k.(*ecdsa.PrivateKey), HTTP: h,
		Now: func() time.Time { return j.Now }, Audience: "https://rig.example"})
}

// stepTrip makes steps of a request before it leaves and of its answer before
// it is read.
type stepTrip struct {
	next http.RoundTripper
	*steps
}

func (t stepTrip) RoundTrip(q *http.Request) (*http.Response, error) {
	t.step()
	resp, err := t.next.RoundTrip(q)
	t.step()
	return resp, err
}

func (j job) psam(s *steps) (psam.Keys, error) {
	masters := map[keyref.Ref][16]byte{}
	for usage, k := range j.PSAM {
		masters[keyref.Ref{Realm: rig.Realm, Usage: usage, Version: 1}] = [16]byte(k)
	}
	keys, err := rig.Ring(masters)
	return stepKeys{keys, s}, err
}

// stepKeys makes steps of the PSAM's use of its keys.
type stepKeys struct {
	psam.Keys
	*steps
}

func (k stepKeys) ProcessMAC(ctx context.Context, p keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	k.step()
	macs, err := k.Keys.ProcessMAC(ctx, p, input, msgs...)
	k.step()
	return macs, err
}

// field is a reader's side of the air: it is called by a card.
type field struct {
	l    net.Listener
	mu   sync.Mutex
	conn net.Conn
}

func listen() (*field, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	return &field{l: l}, err
}

func (f *field) accept() (err error) {
	conn, err := f.l.Accept()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn = conn
	return err
}

// Transmit implements [apdu.Transmitter].
func (f *field) Transmit(_ context.Context, command []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn == nil {
		return nil, net.ErrClosed
	}
	if _, err := f.conn.Write(append([]byte{byte(len(command) >> 8), byte(len(command))}, command...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(f.conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, int(size[0])<<8|int(size[1]))
	_, err := io.ReadFull(f.conn, b)
	return b, err
}

type stepField struct {
	apdu.Transmitter
	*steps
}

func (f stepField) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	f.step()
	answer, err := f.Transmitter.Transmit(ctx, command)
	f.step()
	return answer, err
}

// child is a running one.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said []string
}

// start runs a child until it says that it is ready; one that dies before is
// returned as well.
func (j job) start(t *testing.T) *child {
	t.Helper()
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0], childWord, string(b))}
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	return c
}

// line is the next thing that it says; "" when it said its last.
func (c *child) line() string {
	text, _ := c.out.ReadString('\n')
	if text = strings.TrimSpace(text); text != "" {
		c.said = append(c.said, text)
	}
	return text
}

// end lets it end and reports whether it was killed.
func (c *child) end(t *testing.T) (killed bool) {
	t.Helper()
	_ = c.in.Close()
	for c.line() != "" {
	}
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("a child ended with %v after %v", err, c.said)
	}
	return false
}

// serveCard lets a card call the reader at addr until stop.
func serveCard(t *testing.T, addr string, card vpcd.Card) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- vpcd.Serve(ctx, vpcd.Config{Addr: addr, Card: card, Retry: time.Hour}) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// purse is a wallet's phone with what it keeps in its folder: key, bundle, and
// the journal of what was spent.
func (j job) purse(ctx context.Context) error {
	s := &steps{die: j.Step}
	s.armed.Store(true)
	text, err := os.ReadFile(j.KeyFile)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	d, err := bundle.DeviceFromKey(k.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	b, err := d.OpenGuarded(j.Bundle, j.Hardware, nil)
	if err != nil {
		return err
	}
	journal, err := bundle.OpenFile(j.Dir, b.ID)
	if err != nil {
		return err
	}
	card, err := bundle.NewCard(b, bundle.Config{Journal: stepJournal{journal, s}, Now: s.clock(j.Now)})
	if err != nil {
		return err
	}
	secret := mask.Secret(j.Secret)
	card.OpenWindow(&secret)
	fmt.Println("ready")
	ctx, stop := context.WithCancel(ctx)
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	return vpcd.Serve(ctx, vpcd.Config{Addr: j.Addr, Card: stepCard{card, s}, Retry: 10 * time.Millisecond})
}

// stepJournal makes steps of what is written down.
type stepJournal struct {
	bundle.Journal
	*steps
}

func (j stepJournal) Commit(r bundle.Record) error {
	j.step()
	err := j.Journal.Commit(r)
	j.step()
	return err
}
