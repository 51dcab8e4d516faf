// Package hsmtest gives each test its own token on a software HSM.
//
// Modules read their configuration once, when they are initialised, and a
// process has one initialisation of each. So all tokens of a test process live
// in one directory, told apart by their labels; the directory goes when the last
// test that uses it ends. Tests may run in parallel.
//
// Tests run on SoftHSM, or on the module that TAPVAULT_TEST_MODULE names. Those
// of a package whose TestMain is [Main] run on every module.
package hsmtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/softtoken"
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
	// Module is a library to use in the place of the module's, a shim of it say.
	Module string
}

// Env names the module that tests run on, as in [softtoken.Modules].
const Env = "TAPVAULT_TEST_MODULE"

// shared is the module and the directory of this process, and the label of the
// next token. It is process-wide because a module's configuration is.
var shared struct {
	sync.Mutex
	module        softtoken.Module
	users, tokens int
	labels        []string // of the tokens that the directory may have
	dir, initArgs string
	old           string
	was           bool
}

// mostTokens is how many tokens may be in use at once, where a module wants
// to know them all beforehand.
const mostTokens = 12

// Main runs the tests of a package on every module in turn, or on the one
// that [Env] names. What is fuzzed or listed is so once.
func Main(m *testing.M) int {
	once := os.Getenv(Env) != ""
	for _, a := range os.Args[1:] {
		once = once || strings.HasPrefix(a, "-test.fuzz=") || strings.HasPrefix(a, "-test.list=") || a == "-test.fuzzworker"
	}
	if once {
		return m.Run()
	}
	for _, module := range softtoken.Modules {
		fmt.Printf("=== on %s\n", module.Name)
		shared.module = module
		if code := m.Run(); code != 0 {
			fmt.Printf("=== it was on %s\n", module.Name)
			return code
		}
	}
	return 0
}

// Module returns the module that tests run on.
func Module() (softtoken.Module, error) {
	if shared.module.Name != "" {
		return shared.module, nil
	}
	return softtoken.Find(os.Getenv(Env))
}

// On is the name of the module that tests run on.
func On(t testing.TB) string {
	t.Helper()
	m, err := Module()
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	return m.Name
}

// Empty returns the configuration of a fresh token that holds no key. The test
// opens it as often as it likes, and has to close it before it ends.
func Empty(t testing.TB) hsm.Config {
	t.Helper()
	m, err := Module()
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	module, err := m.Path()
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	return EmptyOn(t, module)
}

// EmptyOn is Empty with a library in the place of the module's.
func EmptyOn(t testing.TB, module string) hsm.Config {
	t.Helper()
	label, initArgs, err := enter()
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	t.Cleanup(leave)
	err = hsm.InitToken(context.Background(), hsm.InitConfig{Module: module, InitArgs: initArgs, Label: label,
		SOPIN: []byte(SOPIN), UserPIN: []byte(PIN)})
	if err != nil {
		t.Fatalf("hsmtest: %v", err)
	}
	return hsm.Config{Module: module, InitArgs: initArgs, Token: label, PIN: hsm.StaticPIN(PIN)}
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
func enter() (label, initArgs string, err error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.users == 0 {
		if err := settle(); err != nil {
			return "", "", err
		}
	}
	if len(shared.labels) == 0 {
		return "", "", fmt.Errorf("more than %d tokens of one test", mostTokens)
	}
	label, shared.labels = shared.labels[0], shared.labels[1:]
	shared.users++
	return label, shared.initArgs, nil
}

// settle makes the directory.
func settle() error {
	m, err := Module()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hsmtest-")
	if err != nil {
		return err
	}
	shared.labels = nil
	for range mostTokens {
		shared.tokens++
		shared.labels = append(shared.labels, fmt.Sprintf("test-%d", shared.tokens))
	}
	shared.old, shared.was = os.LookupEnv(softhsmconfig.Env)
	shared.dir = dir
	shared.initArgs, err = m.Home(dir, shared.labels...)
	return err
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
