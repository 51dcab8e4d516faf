package group_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

const pin, realm = "1234567", "lab"

// home is a folder of SoftHSM with one token.
type home struct{ module, conf string }

func (h home) open(context.Context) (*hsm.Token, error) {
	return hsm.Open(context.Background(), hsm.Config{Module: h.module, Token: "vault", PIN: hsm.StaticPIN(pin),
		Prepare: func() error { return softhsmconfig.Use(h.conf) }}) // each time: the module may be made anew
}

// library is SoftHSM once more: a library of another file has a state of its own.
func library(t *testing.T, original string) string {
	t.Helper()
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "libsofthsm2.so")
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// born makes a token with all keys of a service.
func born(t *testing.T, module string) home {
	t.Helper()
	conf, err := softhsmconfig.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := home{module, conf}
	if err := softhsmconfig.Use(conf); err != nil {
		t.Fatal(err)
	}
	if err := hsm.InitToken(t.Context(), hsm.InitConfig{Module: module, Label: "vault", SOPIN: []byte("so-" + pin), UserPIN: []byte(pin)}); err != nil {
		t.Fatal(err)
	}
	tok, err := h.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = keyceremony.Rehearse(t.Context(), keyceremony.Plan{Holders: []keyceremony.Holder{{Name: "service", Token: tok, Keys: keyceremony.ServiceKeys(realm)}}})
	if err := errors.Join(err, tok.Close()); err != nil {
		t.Fatal(err)
	}
	return h
}

// cloned is the same token in another module.
func (h home) cloned(t *testing.T, module string) home {
	t.Helper()
	dir := t.TempDir()
	conf, err := softhsmconfig.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "tokens"), os.DirFS(filepath.Join(filepath.Dir(h.conf), "tokens"))); err != nil {
		t.Fatal(err)
	}
	return home{module, conf}
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(s string) bool { return l.count(s) > 0 }

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

// load has eight callers compute and seal with g, none of whom may fail. more waits until
// they have gone on, and stop until they have ended.
func load(t *testing.T, g *group.Group) (more func(when string), stop func()) {
	t.Helper()
	path, err := keyref.Ref{Realm: realm, Usage: keyref.PurchaseMaster, Version: 1}.Path(keyref.Factor{1}, keyref.Factor{2})
	if err != nil {
		t.Fatal(err)
	}
	good, err := g.ProcessMAC(t.Context(), path, [8]byte{3}, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	once := func() error {
		m, err := g.ProcessMAC(t.Context(), path, [8]byte{3}, []byte("m"))
		if err != nil || m[0] != good[0] {
			return fmt.Errorf("a MAC: %x, %v", m, err)
		}
		seal := keyref.Ref{Usage: keyref.PANSeal, Version: 1}
		sealed, err := g.Seal(t.Context(), seal, []byte("text"), nil)
		if err == nil {
			_, err = g.Unseal(t.Context(), seal, sealed, nil) // by the other, perhaps
		}
		return err
	}
	var done atomic.Int64
	var callers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 8 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := once(); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	more = func(when string) {
		t.Helper()
		from := done.Load()
		until(t, "callers went on "+when, func() bool { return done.Load() > from+50 || t.Failed() })
	}
	return more, func() { cancel(); callers.Wait() }
}

// TestOneOfTwoTokens runs a load on two modules with the same keys and breaks
// one: no call fails, work goes to the other, and comes back with the token. A
// token that comes with other keys stays out.
func TestOneOfTwoTokens(t *testing.T) {
	t.Setenv(softhsmconfig.Env, "") // each opening sets it
	original, err := softhsmconfig.Module()
	if err != nil {
		t.Fatal(err)
	}
	first := born(t, original)
	broken, err := shim.Build(t.TempDir(), library(t, original))
	if err != nil {
		t.Fatal(err)
	}
	second := first.cloned(t, broken.Module)
	log := &lines{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	g, err := group.New(t.Context(), logger, group.Member{Name: "1", Open: first.open}, group.Member{Name: "2", Open: second.open})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		broken.Heal()
		broken.Insert()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	keys := keyceremony.ServiceKeys(realm)
	if err := g.Require(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	up := func(i int) bool { return g.States()[i].Up() }
	if !up(0) || !up(1) {
		t.Fatal("a token is out at the start")
	}
	if left, err := g.Unlabelled(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("tokens of finished ceremonies hold %v, %v", left, err)
	}

	more, stop := load(t, g)
	defer stop()
	more("at first")
	before := broken.AllCalls()
	if more("to both"); broken.AllCalls() == before {
		t.Error("the second token has nothing to do")
	}
	broken.Remove()
	until(t, "the token is out", func() bool { return !up(1) })
	more("without the second")
	if err := g.Health(t.Context()); err != nil {
		t.Errorf("one token is enough: %v", err)
	}
	late := keyref.Ref{Usage: keyref.JWTSign, Version: 1} // asked for while one is out
	if err := g.RequireLate(t.Context(), late); err != nil {
		t.Errorf("a key that was asked for late: %v", err)
	}
	broken.Insert()
	until(t, "the token is in again", func() bool { return up(1) })
	before = broken.AllCalls()
	if more("with both"); broken.AllCalls() == before {
		t.Error("the second token has nothing to do after its return")
	}
	if !log.has("is out") || !log.has("in again") {
		t.Error("nobody is told")
	}
	stop()
	if err := errors.Join(ctxless(g.PublicKey(t.Context(), late)), ctxless(g.Sign(t.Context(), late, [32]byte{1}))); err != nil {
		t.Error(err)
	}
}

func ctxless[T any](_ T, err error) error { return err }

// TestOtherKeys: two tokens with different keys under the same labels are no
// group; and one that cannot be opened at the start comes later, if it is one.
func TestOtherKeys(t *testing.T) {
	t.Setenv(softhsmconfig.Env, "")
	original, err := softhsmconfig.Module()
	if err != nil {
		t.Fatal(err)
	}
	first, strange := born(t, original), born(t, library(t, original))
	log := slog.New(slog.DiscardHandler)
	keys := keyceremony.ServiceKeys(realm)
	for _, r := range keys { // each kind of key is found out
		g, err := group.New(t.Context(), log, group.Member{Name: "1", Open: first.open}, group.Member{Name: "2", Open: strange.open})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Require(t.Context(), r); !errors.Is(err, hsm.ErrKeyUnfit) || !strings.Contains(err.Error(), r.Label()) {
			t.Errorf("%v differs, and: %v", r, err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}

	var there atomic.Pointer[home]
	absent := func(ctx context.Context) (*hsm.Token, error) {
		if h := there.Load(); h != nil {
			return h.open(ctx)
		}
		return nil, fmt.Errorf("%w: the cable is out", hsm.ErrUnavailable)
	}
	said := &lines{}
	g, err := group.New(t.Context(), slog.New(slog.NewTextHandler(said, nil)), group.Member{Name: "1", Open: absent}, group.Member{Name: "2", Open: first.open})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Require(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	there.Store(&strange)
	until(t, "the stranger is refused", func() bool { return said.has("is another key in token") })
	if g.States()[0].Up() {
		t.Error("a token with other keys is given work")
	}

	_, err = group.New(t.Context(), log, group.Member{Name: "1", Open: func(context.Context) (*hsm.Token, error) {
		return nil, fmt.Errorf("%w: nothing is there", hsm.ErrUnavailable)
	}})
	if fault.KindOf(err) != fault.HSMUnavailable {
		t.Errorf("a group of no token: %v", err)
	}
}

// TestPINIsTriedOnce: a token that comes later and refuses the PIN is not asked again
// each second until the PIN is locked. It comes in when the file is corrected.
func TestPINIsTriedOnce(t *testing.T) {
	t.Setenv(softhsmconfig.Env, "")
	original, err := softhsmconfig.Module()
	if err != nil {
		t.Fatal(err)
	}
	first := born(t, original)
	watched, err := shim.Build(t.TempDir(), library(t, original))
	if err != nil {
		t.Fatal(err)
	}
	second := first.cloned(t, watched.Module)
	file := filepath.Join(t.TempDir(), "pin")
	write := func(pin string) {
		if err := errors.Join(os.WriteFile(file+".new", []byte(pin), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	write("7654321")
	var tried, absent atomic.Int64
	refusing := func(ctx context.Context) (*hsm.Token, error) {
		if tried.Add(1) == 1 {
			return nil, fmt.Errorf("%w: the cable is out", hsm.ErrUnavailable)
		}
		if err := softhsmconfig.Use(second.conf); err != nil {
			return nil, err
		}
		return hsm.Open(ctx, hsm.Config{Module: second.module, Token: "vault", PIN: hsm.PINFile(file)})
	}
	out := func(context.Context) (*hsm.Token, error) {
		absent.Add(1)
		return nil, fmt.Errorf("%w: the cable is out", hsm.ErrUnavailable)
	}
	said := &lines{}
	g, err := group.New(t.Context(), slog.New(slog.NewTextHandler(said, nil)), group.Member{Name: "1", Open: first.open},
		group.Member{Name: "2", Open: refusing}, group.Member{Name: "3", Open: out})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Require(t.Context(), keyref.Ref{Usage: keyref.PARKey, Version: 1}); err != nil {
		t.Fatal(err)
	}
	until(t, "the PIN is refused", func() bool { return said.has("not be tried again until the file changes") })
	opened, looks := tried.Load(), absent.Load()
	until(t, "all were looked at again", func() bool { return tried.Load() >= opened+3 && absent.Load() >= looks+3 })
	if n := watched.Calls(shim.Login); n != 1 {
		t.Errorf("the PIN was tried %d times", n)
	}
	if n := said.count("not be tried again until the file changes"); n != 1 {
		t.Errorf("that is said %d times", n)
	}
	write(pin)
	until(t, "the token is in", func() bool { return g.States()[1].Up() })
	if n := watched.Calls(shim.Login); n != 2 {
		t.Errorf("PINs were tried %d times, want one wrong and one right", n)
	}
}
