// Package hsmtest gives each test its own SoftHSM token.
//
// SoftHSM reads its configuration once, when the module is initialised, and a
// process has one module. So all tokens of a test process live in one
// directory, told apart by their labels; the directory goes when the last test
// that uses it ends. Tests may run in parallel.
package hsmtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// PIN and SOPIN are those of every token made here.
const (
	PIN   = "123456"
	SOPIN = "12345678"
)

// Realm is the realm of cards whose keys [New] makes when none is asked for.
const Realm = "transit"

// Options changes what [New] makes. The zero value gives a token with every
// rehearsal key of [Realm], all required.
type Options struct {
	// Refs are the keys to make and require. Nil: keyceremony.ServiceKeys of
	// [Realm].
	Refs []keyref.Ref
	// Values are keys of given value (16 bytes, or 32 for AES and HMAC); they
	// are imported and required as well, and take the place of those in Refs.
	Values map[keyref.Ref][]byte
	// Config changes the configuration before the token is opened.
	Config func(*hsm.Config)
	// Module is a library to use in the place of SoftHSM's, a shim of it say.
	Module string
}

// shared is the directory of this process, and the label of the next token.
// It is process-wide because SoftHSM's configuration is.
var shared struct {
	sync.Mutex
	users, tokens int
	dir, old      string
	was           bool
}

// Empty returns the configuration of a fresh token that holds no key. The test
// opens it as often as it likes, and has to close it before it ends.
func Empty(t testing.TB) hsm.Config {
	t.Helper()
	module, err := softhsmconfig.Module()
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	return EmptyOn(t, module)
}

// EmptyOn is Empty with a library in the place of SoftHSM's.
func EmptyOn(t testing.TB, module string) hsm.Config {
	t.Helper()
	label, err := enter()
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	t.Cleanup(leave)
	err = hsm.InitToken(context.Background(), hsm.InitConfig{Module: module, Label: label,
		SOPIN: []byte(SOPIN), UserPIN: []byte(PIN)})
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	return hsm.Config{Module: module, Token: label, PIN: hsm.StaticPIN(PIN)}
}

// New returns an open token with the keys of o. It is closed after the test.
func New(t testing.TB, o Options) *hsm.Token {
	t.Helper()
	var cfg hsm.Config
	if o.Module == "" {
		cfg = Empty(t)
	} else {
		cfg = EmptyOn(t, o.Module)
	}
	if o.Config != nil {
		o.Config(&cfg)
	}
	tok, err := hsm.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	t.Cleanup(func() { tok.Close() }) // a test may have closed it already
	if err := fill(tok, o); err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	return tok
}

// Pair returns two open tokens: the service's with all keys of [Realm], and a
// terminal's PSAM with the masters that both share.
func Pair(t testing.TB) (service, psam *hsm.Token) {
	t.Helper()
	ctx := context.Background()
	service = New(t, Options{Refs: []keyref.Ref{}})
	psam = New(t, Options{Refs: []keyref.Ref{}})
	_, err := keyceremony.Rehearse(ctx, keyceremony.Plan{Holders: []keyceremony.Holder{
		{Name: "service", Token: service, Keys: keyceremony.ServiceKeys(Realm)},
		{Name: "psam", Token: psam, Keys: keyceremony.PSAMKeys(Realm)},
	}})
	if err == nil {
		err = service.Require(ctx, keyceremony.ServiceKeys(Realm)...)
	}
	if err == nil {
		err = psam.Require(ctx, keyceremony.PSAMKeys(Realm)...)
	}
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	return service, psam
}

// fill makes and requires the keys of o.
func fill(tok *hsm.Token, o Options) error {
	ctx := context.Background()
	if o.Refs == nil {
		o.Refs = keyceremony.ServiceKeys(Realm)
	}
	var born, all []keyref.Ref
	for _, r := range o.Refs {
		if o.Values[r] == nil {
			born = append(born, r)
		}
	}
	for r, v := range o.Values {
		if err := tok.Import(ctx, r, v); err != nil {
			return err
		}
		all = append(all, r)
	}
	_, err := keyceremony.Rehearse(ctx, keyceremony.Plan{Holders: []keyceremony.Holder{{Name: "test", Token: tok, Keys: born}}})
	if err != nil {
		return err
	}
	return tok.Require(ctx, append(all, born...)...)
}

// enter makes sure that the directory exists and returns a new label.
func enter() (string, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.users == 0 {
		dir, err := os.MkdirTemp("", "hsmtest-")
		if err != nil {
			return "", err
		}
		conf, err := softhsmconfig.Write(dir)
		if err != nil {
			return "", err
		}
		shared.old, shared.was = os.LookupEnv(softhsmconfig.Env)
		if err := softhsmconfig.Use(conf); err != nil {
			return "", err
		}
		shared.dir = dir
	}
	shared.users++
	shared.tokens++
	return fmt.Sprintf("test-%d", shared.tokens), nil
}

// leave removes the directory after its last user.
func leave() {
	shared.Lock()
	defer shared.Unlock()
	if shared.users--; shared.users > 0 {
		return
	}
	os.RemoveAll(shared.dir) // a directory that stays is in the system's temporary space
	if shared.was {
		os.Setenv(softhsmconfig.Env, shared.old)
	} else {
		os.Unsetenv(softhsmconfig.Env)
	}
}
