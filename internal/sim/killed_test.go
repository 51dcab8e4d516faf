package sim_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/rig"
	"github.com/tapvault/tapvault/wallet/mask"
)

var noon = time.Date(2026, 5, 20, 12, 0, 0, 0, shanghai)

// killRig is what parent and child change in the service's configuration.
func killRig(*assembly.Config) {}

// scene is a service with its callers.
type scene struct {
	rig            *rig.Rig
	issuer, wallet *client.Client
	terminal       *client.Client
	cards          int
	keyFile        string
	masters        map[keyref.Usage][]byte
}

// newScene makes a service; it runs in this process unless apart.
func newScene(t *testing.T, apart bool) *scene {
	t.Helper()
	make := rig.New
	if apart {
		make = rig.Make
	}
	r, err := make(t.Context(), rig.Config{Now: func() time.Time { return noon }, Edit: killRig})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &scene{rig: r, masters: map[keyref.Usage][]byte{}}
	for role, c := range map[string]**client.Client{"issuer": &s.issuer, "wallet": &s.wallet, "terminal": &s.terminal} {
		if *c, err = r.Client(role); err != nil {
			t.Fatal(err)
		}
	}
	for ref, k := range r.Masters() {
		s.masters[ref.Usage] = k[:]
	}
	der, err := x509.MarshalPKCS8PrivateKey(r.Key("terminal"))
	if err != nil {
		t.Fatal(err)
	}
	s.keyFile = filepath.Join(t.TempDir(), "terminal.pem")
	if err := os.WriteFile(s.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a reader of this process.
func (s *scene) open(t *testing.T) *sim.Reader {
	t.Helper()
	keys, err := s.rig.PSAM()
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.NewReader(t.Context(), sim.ReaderConfig{Client: s.terminal, Keys: keys, Realm: rig.Realm, Terminal: [6]byte{5: 1},
		Dir: t.TempDir(), Zone: shanghai, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// card is the number of a new card.
func (s *scene) card() string {
	s.cards++
	pan := fmt.Sprintf("62123456%07d", s.cards)
	return pan + luhn(pan)
}

// remembered stretches each PIN once.
var remembered = sim.Remember(mask.Argon2id)

// phone provisions a phone of a new card and leaves it in a folder.
func (s *scene) phone(t *testing.T) (dir string) {
	t.Helper()
	tok, err := s.issuer.RequestToken(t.Context(), wire.TokenRequest{PAN: wire.NewDigits(s.card()), PANExpiry: "3012", Location: "03"})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	h, err := sim.Provision(t.Context(), s.wallet, tok.Ref, sim.HandsetConfig{Dir: dir, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// luhn is the check digit of a number.
func luhn(digits string) string {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return fmt.Sprint((10 - sum%10) % 10)
}

// TestKilledAtEveryStep kills phone, reader and service at each thing that they
// do on the way of a purchase. Whatever was cut short: no slot pays twice, what
// a reader accepted is posted once, and what was not accepted is not posted.
func TestKilledAtEveryStep(t *testing.T) {
	t.Run("phone", killPhones)
	t.Run("reader", killReaders)
	t.Run("wallet", killPurses)
	t.Run("service", killServices)
	t.Run("sync", killSyncs)
}

func killPhones(t *testing.T) {
	s := newScene(t, false)
	reader := s.open(t)
	var accepted, deaths int
	for step := 1; ; step++ {
		j := job{Role: "phone", Step: step, Now: noon, Dir: s.phone(t)}
		survived := false
		for range 3 { // the one that dies, and two more after it
			card, err := listen()
			if err != nil {
				t.Fatal(err)
			}
			j.Addr = card.l.Addr().String()
			c := j.start(t)
			if c.line() == "ready" {
				if err := card.accept(); err != nil {
					t.Fatal(err)
				}
				if _, err := reader.Tap(t.Context(), card, 300); err == nil {
					accepted++
				}
			}
			_ = card.l.Close()
			if !c.end(t) {
				survived = survived || j.Step != 0
			} else {
				deaths++
			}
			j.Step = 0
		}
		if survived {
			break
		}
	}
	got, err := reader.Upload(t.Context())
	if err != nil || len(got) != accepted {
		t.Fatalf("%d receipts for %d taps: %v", len(got), accepted, err)
	}
	for _, r := range got {
		if r.Outcome != "POSTED" {
			t.Errorf("an accepted tap was answered %+v", r)
		}
	}
	if deaths < 10 {
		t.Errorf("only %d deaths: the steps are not reached", deaths)
	}
	t.Logf("%d deaths, %d taps accepted and posted", deaths, accepted)
}

func killReaders(t *testing.T) {
	s := newScene(t, false)
	deaths, posted := 0, 0
	for step := 1; ; step++ {
		h, err := sim.OpenHandset(sim.HandsetConfig{Dir: s.phone(t), Now: func() time.Time { return noon }})
		if err != nil {
			t.Fatal(err)
		}
		j := job{Role: "reader", Step: step, Now: noon, Dir: t.TempDir(), URL: s.rig.URL, KeyFile: s.keyFile, PSAM: s.masters, Amount: 300}
		accepted, outcomes, killed := 0, []string(nil), false
		for range 2 { // the one that dies, and one that takes over its folder
			c := j.start(t)
			addr, ok := strings.CutPrefix(c.line(), "ready ")
			stop := func() {}
			if ok {
				stop = s.present(t, addr, h)
			}
			died := c.end(t)
			stop()
			if died {
				deaths++
				killed = true
			}
			for _, said := range c.said {
				if said == "accepted" {
					accepted++
				}
				if outcome, ok := strings.CutPrefix(said, "receipt "); ok {
					outcomes = append(outcomes, outcome)
				}
			}
			j.Step = 0
		}
		spent := h.Slots - h.Live()
		_ = h.Close()
		n := strings.Count(strings.Join(outcomes, " "), "POSTED")
		posted += n
		if n > spent {
			t.Errorf("step %d: %d taps posted from %d slots: %v", step, n, spent, outcomes)
		}
		if n+strings.Count(strings.Join(outcomes, " "), "DUPLICATE") < accepted {
			t.Errorf("step %d: %d accepted, but %v", step, accepted, outcomes)
		}
		if !killed {
			break
		}
	}
	if deaths < 10 {
		t.Errorf("only %d deaths: the steps are not reached", deaths)
	}
	t.Logf("%d deaths, %d taps posted", deaths, posted)
}

// present lets a phone call the reader at addr; stop takes it away.
func (s *scene) present(t *testing.T, addr string, h *sim.Handset) (stop func()) {
	t.Helper()
	h.Reset()
	return serveCard(t, addr, h)
}

// sweep kills the service at every step of one kind of request. Each child sees
// that the one before left everything in order, prepares the next request, and
// dies of it.
type sweep struct {
	path              string // of the request
	prepared, checked int    // how many such requests prepare and check make
	prepare           func(step int)
	act               func() error
	check             func(step int)
}

func (s *scene) sweep(t *testing.T, w sweep) {
	t.Helper()
	j := job{Role: "service", Now: noon, Service: s.rig.Child(), Path: w.path, Skip: w.prepared}
	deaths := 0
	for died := true; died; j.Skip = w.checked + w.prepared {
		j.Step++
		c := s.serve(t, j)
		if j.Step > 1 {
			w.check(j.Step - 1)
		}
		w.prepare(j.Step)
		err := w.act()
		if died = c.end(t); died {
			deaths++
		}
		if died != (err != nil) {
			t.Fatalf("step %d: killed %v, and its caller heard %v", j.Step, died, err)
		}
	}
	last := j.Step
	j.Step = 0
	c := s.serve(t, j)
	w.check(last)
	c.end(t)
	if deaths < 5 {
		t.Errorf("only %d deaths: the steps are not reached", deaths)
	}
	t.Logf("%d deaths", deaths)
}

// serve starts the service as a child.
func (s *scene) serve(t *testing.T, j job) *child {
	t.Helper()
	c := j.start(t)
	if c.line() != "ready" {
		t.Fatalf("the service does not start: %v", c.said)
	}
	return c
}

// killServices kills the service at every step of an upload.
func killServices(t *testing.T) {
	s := newScene(t, true)
	var reader *sim.Reader
	s.sweep(t, sweep{path: "/taps", checked: 1,
		prepare: func(int) {
			reader = s.open(t)
			h, err := sim.OpenHandset(sim.HandsetConfig{Dir: s.phone(t), Now: func() time.Time { return noon }})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := reader.Tap(t.Context(), h, 300); err != nil {
					t.Fatal(err)
				}
			}
			_ = h.Close()
		},
		act: func() error { _, err := reader.Upload(t.Context()); return err },
		check: func(step int) {
			if reader.Pending() == 0 { // it was answered
				return
			}
			got, err := reader.Upload(t.Context())
			if err != nil || len(got) != 2 || reader.Pending() != 0 {
				t.Errorf("step %d: uploaded again: %+v, %v", step, got, err)
			}
			for _, r := range got {
				if r.Outcome != "POSTED" && r.Outcome != "DUPLICATE" {
					t.Errorf("step %d: %+v", step, r)
				}
			}
		}})
}
