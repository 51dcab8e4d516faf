//go:build cgo

package hsm_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// refuses fails the test unless err is of the sentinel and says all of says.
func refuses(t *testing.T, what string, err, sentinel error, says ...string) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("%s: %v, want %v", what, err, sentinel)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %q does not say %q", what, err, s)
		}
	}
	if strings.Contains(err.Error(), hsmtest.PIN) {
		t.Errorf("%s: the PIN is in the error", what)
	}
}

// library compiles a shared library.
func library(t *testing.T, source string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lib.so")
	cc := exec.Command("cc", "-shared", "-fPIC", "-o", path, "-x", "c", "-")
	cc.Stdin = strings.NewReader(source)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, out)
	}
	return path
}

func TestOpenFaults(t *testing.T) {
	good := hsmtest.Empty(t)
	text := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := library(t, "int other;")
	failing := library(t, "unsigned long C_GetFunctionList(void **f) { return 5; }")
	for _, c := range []struct {
		name     string
		change   func(*hsm.Config)
		sentinel error
		says     []string
	}{
		{"no module configured", func(c *hsm.Config) { c.Module = "" }, hsm.ErrUnavailable, []string{"required"}},
		{"absent module", func(c *hsm.Config) { c.Module = "/nowhere/lib.so" }, hsm.ErrUnavailable,
			[]string{"no PKCS #11 module at /nowhere/lib.so", "install it"}},
		{"a text as module", func(c *hsm.Config) { c.Module = text }, hsm.ErrUnavailable, []string{"loading the module " + text}},
		{"another library", func(c *hsm.Config) { c.Module = other }, hsm.ErrUnavailable, []string{"loading the module " + other, "no C_GetFunctionList"}},
		{"a module that fails at once", func(c *hsm.Config) { c.Module = failing }, hsm.ErrUnavailable, []string{"its C_GetFunctionList fails"}},
		{"absent token", func(c *hsm.Config) { c.Token = "other" }, hsm.ErrUnavailable,
			[]string{`no token has the label "other"`, "the module's tokens are ", strconv.Quote(good.Token), "correct the label in the configuration"}},
		{"wrong PIN", func(c *hsm.Config) { c.PIN = hsm.StaticPIN("654321") }, hsm.ErrPIN,
			[]string{"wrong PIN for token", "correct the PIN file", "lock the token"}},
		{"short PIN", func(c *hsm.Config) { c.PIN = hsm.StaticPIN("1") }, hsm.ErrPIN, []string{"wrong PIN"}},
		{"empty PIN", func(c *hsm.Config) { c.PIN = hsm.StaticPIN("") }, hsm.ErrPIN, []string{"wrong PIN"}},
		{"absent PIN file", func(c *hsm.Config) { c.PIN = hsm.PINFile("/nowhere/pin") }, hsm.ErrPIN, []string{"there is no PIN for the HSM: reading the PIN file"}},
		{"too many workers", func(c *hsm.Config) { c.Workers = 5000 }, hsm.ErrUnavailable, []string{"between 1 and 4096"}},
	} {
		cfg := good
		c.change(&cfg)
		tok, err := hsm.Open(t.Context(), cfg)
		refuses(t, c.name, err, c.sentinel, c.says...)
		if fault.KindOf(err) != fault.HSMUnavailable || tok != nil {
			t.Errorf("%s: kind %v, token %v", c.name, fault.KindOf(err), tok)
		}
	}
	tok, err := hsm.Open(t.Context(), good) // nothing above took the login or the PIN away
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Close(); err != nil {
		t.Error(err)
	}
	refuses(t, "closing twice", tok.Close(), hsm.ErrUnavailable, "closed")
}

// TestInitArgs: a reserved string with which NSS would crash, or find nothing,
// is refused in words that say what to write.
func TestInitArgs(t *testing.T) {
	nss, err := softtoken.Find("nss")
	if err != nil {
		t.Fatal(err)
	}
	module, err := nss.Path()
	if err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	for args, says := range map[string]string{
		"":                                "is NSS softokn, which wants to know where its tokens are: set init_args to \"configdir='sql:FOLDER'",
		"rubbish":                         "set init_args to",
		"configdir=":                      "set init_args to",
		"configdir='sql:'":                "set init_args to",
		"configdir='' certPrefix=''":      "set init_args to",
		"configdir='sql:" + absent + "'":  "does the folder after configdir='sql: exist, and is it this user's?",
		"configdir='sql:x\x00' flags=":    "a zero byte",
		"tokens=<0x4=[configdir='sql:']>": "set init_args to",
	} {
		_, err := hsm.Open(t.Context(), hsm.Config{Module: module, InitArgs: args, Token: "any", PIN: hsm.StaticPIN(hsmtest.PIN)})
		refuses(t, args, err, hsm.ErrUnavailable, says)
	}
}

func TestLoginErrors(t *testing.T) {
	for code, c := range map[uint]struct {
		sentinel error
		says     string
	}{
		pkcs11.CKR_PIN_INCORRECT:            {hsm.ErrPIN, `wrong PIN for token "vault"`},
		pkcs11.CKR_PIN_LOCKED:               {hsm.ErrPIN, `the PIN of token "vault" is locked: its security officer has to unlock it`},
		pkcs11.CKR_PIN_EXPIRED:              {hsm.ErrPIN, "has expired: set a new one"},
		pkcs11.CKR_USER_PIN_NOT_INITIALIZED: {hsm.ErrPIN, "has no user PIN yet"},
		pkcs11.CKR_USER_ALREADY_LOGGED_IN:   {hsm.ErrUnavailable, "so its PIN could not be proven"},
		pkcs11.CKR_DEVICE_REMOVED:           {hsm.ErrUnavailable, "CKR_DEVICE_REMOVED"},
	} {
		refuses(t, c.says, hsm.LoginError(code), c.sentinel, c.says)
	}
}

// flagged changes what the token says of itself.
type flagged struct {
	hsm.Cryptoki
	set, clear uint
}

func (f flagged) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	i, err := f.Cryptoki.GetTokenInfo(slot)
	i.Flags = i.Flags&^f.clear | f.set
	return i, err
}

func TestTokenFlags(t *testing.T) {
	cfg, holder := hsmtest.Empty(t), bare(t) // holder keeps the module loaded
	for says, f := range map[string]flagged{
		"is locked: its security officer": {set: pkcs11.CKF_USER_PIN_LOCKED},
		"has no user PIN yet":             {clear: pkcs11.CKF_USER_PIN_INITIALIZED},
	} {
		restore := holder.Inject(func(c hsm.Cryptoki) hsm.Cryptoki { f.Cryptoki = c; return f })
		_, err := hsm.Open(t.Context(), cfg)
		restore()
		refuses(t, says, err, hsm.ErrPIN, says)
	}
}

func TestOneOwnerOfTheLogin(t *testing.T) {
	cfg := hsmtest.Empty(t)
	first, err := hsm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = hsm.Open(t.Context(), cfg)
	refuses(t, "the same token again", err, hsm.ErrUnavailable, "already open in this process")
	cfg.PIN = hsm.StaticPIN("654321")
	_, err = hsm.Open(t.Context(), cfg)
	refuses(t, "the same token with a wrong PIN", err, hsm.ErrUnavailable, "already open in this process")
	if err := first.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = hsm.Open(t.Context(), cfg)
	refuses(t, "a wrong PIN after the owner left", err, hsm.ErrPIN, "wrong PIN")
}

// TestForeignLogin has somebody else log in first: the answer "already logged
// in" is then no proof of our PIN.
func TestForeignLogin(t *testing.T) {
	cfg, holder := hsmtest.Empty(t), bare(t)
	var foreign pkcs11.SessionHandle
	restore := holder.Inject(func(c hsm.Cryptoki) hsm.Cryptoki {
		slots, err := c.GetSlotList(true)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range slots {
			if i, err := c.GetTokenInfo(s); err == nil && i.Label == cfg.Token {
				foreign, _ = c.OpenSession(s, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
			}
		}
		if err := c.Login(foreign, pkcs11.CKU_USER, hsmtest.PIN); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseSession(foreign) })
		return c
	})
	defer restore()
	_, err := hsm.Open(t.Context(), cfg)
	refuses(t, "a foreign login", err, hsm.ErrUnavailable, "somebody else in this process is logged in")
}

// TestPINFile: a PIN is the only line of its file; what could be another's or half of
// one is never shown to a token.
func TestPINFile(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("7", 1024)
	for text, want := range map[string]string{"123456": "123456", "123456\n": "123456", "12 34\r\n\n": "12 34", "": "", "\n": "",
		"# the PIN\n123456\n": "", "123456\nrest": "", " 123456\n": "", "123456 ": "", "\n123456": "", long: "", long[1:]: long[1:], "1\n" + long: ""} {
		name := filepath.Join(dir, "pin")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got string
		var lent []byte
		source := hsm.PINFile(name)
		for range 2 { // its memory is used again
			err := source(func(pin []byte) error {
				got, lent = string(pin), pin
				return nil
			})
			if got != want || (err != nil) != (want == "") {
				t.Errorf("PIN file %q gave %q, %v", text, got, err)
			}
			if strings.Trim(string(lent), "\x00") != "" {
				t.Errorf("%q stays in memory", lent)
			}
		}
		runtime.KeepAlive(source)
	}
}

func TestInitToken(t *testing.T) {
	cfg := hsmtest.Empty(t)
	c := hsm.InitConfig{Module: cfg.Module, InitArgs: cfg.InitArgs, Label: cfg.Token, SOPIN: []byte(hsmtest.SOPIN), UserPIN: []byte(hsmtest.PIN)}
	refuses(t, "a label that exists", hsm.InitToken(t.Context(), c), hsm.ErrUnavailable, "exists and will not be wiped")
	for _, label := range []string{"", " x", strings.Repeat("x", 33)} {
		c.Label = label
		refuses(t, "label "+label, hsm.InitToken(t.Context(), c), hsm.ErrUnavailable, "1 to 32 bytes")
	}
	c.Label, c.SOPIN = "short so pin", []byte("1")
	says := "CKR_PIN"
	if hsmtest.On(t) == "nss" { // which has no security officer
		says = "no token of NSS softokn has this label: give it one in init_args"
	}
	refuses(t, "a short PIN", hsm.InitToken(t.Context(), c), hsm.ErrUnavailable, says)
	c.Module = "/nowhere.so"
	refuses(t, "no module", hsm.InitToken(t.Context(), c), hsm.ErrUnavailable, "no PKCS #11 module")
}

// lacking is a module without one mechanism.
type lacking struct {
	hsm.Cryptoki
	mech uint
}

func (l lacking) GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error) {
	if m[0].Mechanism == l.mech {
		return pkcs11.MechanismInfo{}, pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID)
	}
	return l.Cryptoki.GetMechanismInfo(slot, m)
}

func TestMissingMechanism(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	for mech, c := range map[uint]struct {
		name string
		key  keyref.Usage
	}{
		pkcs11.CKM_DES3_CBC:    {"CKM_DES3_CBC", keyref.PurchaseMaster},
		pkcs11.CKM_AES_GCM:     {"CKM_AES_GCM", keyref.PANSeal},
		pkcs11.CKM_SHA256_HMAC: {"CKM_SHA256_HMAC", keyref.PARKey},
		pkcs11.CKM_ECDSA:       {"CKM_ECDSA", keyref.JWTSign},
	} {
		restore := tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { return lacking{in, mech} })
		refuses(t, c.name, tok.Require(t.Context(), ref(c.key)), hsm.ErrUnavailable, "lacks the mechanism "+c.name+" on token")
		restore()
	}
	// a derivation that is not listed is tried
	defer tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { return lacking{in, pkcs11.CKM_DES3_ECB_ENCRYPT_DATA} })()
	if err := tok.Require(t.Context(), ref(keyref.PurchaseMaster)); err != nil {
		t.Error(err)
	}
}

// uncopying is a module that copies nothing.
type uncopying struct{ hsm.Cryptoki }

func (uncopying) CopyObject(pkcs11.SessionHandle, pkcs11.ObjectHandle, []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return 0, pkcs11.Error(pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
}

// TestLacks: all that a token lacks is said at once, with the keys that need it, and
// what mechanisms do not do together, too.
func TestLacks(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	if all, err := tok.Lacks(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("of what the suite runs on: %v, %v", all, err)
	}
	if all, err := tok.Trials(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("of what the suite runs on, tried: %v, %v", all, err)
	}
	for mech, want := range map[uint]hsm.Lack{
		pkcs11.CKM_SHA256_HMAC: {Mechanism: "CKM_SHA256_HMAC", To: "sign",
			Usages: []keyref.Usage{keyref.PANIndex, keyref.PARKey, keyref.PINVerify, keyref.Script}},
		pkcs11.CKM_ECDH1_DERIVE: {Mechanism: "CKM_ECDH1_DERIVE", To: "derive", Usages: []keyref.Usage{keyref.Intake, keyref.SyncIntake}},
		pkcs11.CKM_GENERIC_SECRET_KEY_GEN: {Mechanism: "CKM_GENERIC_SECRET_KEY_GEN", To: "generate keys", Need: hsm.ForBirth,
			Usages: []keyref.Usage{keyref.PANIndex, keyref.PARKey, keyref.PINVerify, keyref.Script}},
		pkcs11.CKM_RSA_PKCS_OAEP: {Mechanism: "CKM_RSA_PKCS_OAEP", To: "wrap", Need: hsm.ForElements},
	} {
		restore := tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { return lacking{in, mech} })
		all, err := tok.Lacks(t.Context())
		if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], want) {
			t.Errorf("without %s: %+v, %v", want.Mechanism, all, err)
		}
		restore()
	}
	defer tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { return uncopying{in} })()
	all, err := tok.Trials(t.Context())
	if err != nil || len(all) != 1 || !slices.Contains(all[0].Usages, keyref.PANSeal) || slices.Contains(all[0].Usages, keyref.PANIndex) ||
		!strings.Contains(all[0].Says, "does not have this function at all") {
		t.Errorf("without copies: %+v, %v", all, err)
	}
}
