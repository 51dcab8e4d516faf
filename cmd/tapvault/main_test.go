package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/freeport"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tapvault": main, "probe": probe})
}

// TestScripts runs the real program, each script in a folder of its own.
func TestScripts(t *testing.T) {
	vectors, err := filepath.Abs("../../cryptogram/testdata/vectors")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("VECTORS", filepath.Join(vectors, "epurse.json"))
			e.Setenv("EMV_VECTORS", filepath.Join(vectors, "emv.json"))
			e.Setenv("SOFTHSM2_CONF", filepath.Join(e.WorkDir, "none"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "mode": mode, "replace": replace, "freeport": freePort, "touchlater": touchLater, "newclient": newClient, "expired": expired, "says": says},
	})
}

// exits CODE PROGRAM ARGS... demands an exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		got = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("running: %v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mode PERM FILES... demands permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	for _, f := range args[1:] {
		info, err := os.Stat(ts.MkAbs(f))
		ts.Check(err)
		if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", f, got, args[0])
		}
	}
}

// touchLater FILE makes a file look as if it were written an hour from now.
func touchLater(ts *testscript.TestScript, _ bool, args []string) {
	at := time.Now().Add(time.Hour)
	ts.Check(os.Chtimes(ts.MkAbs(args[0]), at, at))
}

// says REGEXP demands a match in what was printed last, with broken lines put
// together again.
func says(ts *testscript.TestScript, _ bool, args []string) {
	text := regexp.MustCompile(`\n {3,}`).ReplaceAllString(ts.ReadFile("stdout"), " ")
	if !regexp.MustCompile("(?m)" + args[0]).MatchString(text) {
		ts.Fatalf("nothing says %s:\n%s", args[0], text)
	}
}

// expired DIR makes certificates that ended years ago.
func expired(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Mkdir(ts.MkAbs(args[0]), 0o700))
	ts.Check(devCertificates(ts.MkAbs(args[0]), time.Now().AddDate(-5, 0, 0)))
}

// newclient ID makes ID.pem and ID.jwk.
func newClient(ts *testscript.TestScript, _ bool, args []string) {
	private, public, err := newClientKey(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pem"), private, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".jwk"), public, 0o600))
}

// replace FILE OLD NEW changes text that must be there.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}

// TestEveryFieldIsDocumented holds docs/operations.md against the structs.
func TestEveryFieldIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fields(reflect.TypeFor[assembly.Config](), "") {
		if !bytes.Contains(b, []byte("`"+name+"`")) {
			t.Errorf("docs/operations.md does not explain `%s`", name)
		}
	}
}

func fields(t reflect.Type, under string) (names []string) {
	for f := range t.Fields() {
		tag, ok := f.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		name, of := under+tag, f.Type
		if of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct && f.Type.Elem().PkgPath() == t.PkgPath() {
			name, of = name+"[]", of.Elem()
		}
		if of.Kind() == reflect.Struct && of.PkgPath() == t.PkgPath() {
			names = append(names, fields(of, name+".")...)
			continue
		}
		names = append(names, name)
	}
	return names
}

// TestEveryProblemIsDocumented holds docs/problems.md against the kinds.
func TestEveryProblemIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range fault.Kinds {
		if !bytes.Contains(b, []byte("| `"+string(k)+"` |")) {
			t.Errorf("docs/problems.md does not explain `%s`", k)
		}
	}
}

// freePort VAR sets a variable to a port that nobody listens on.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	at, err := freeport.Address()
	ts.Check(err)
	_, port, err := net.SplitHostPort(at)
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// TestDecodeIsStrict changes one thing at a time in the configuration of init.
func TestDecodeIsStrict(t *testing.T) {
	good := strings.NewReplacer("{{.Listen}}", "127.0.0.1:8443", "{{.Port}}", "8443", "{{.Module}}", "/lib/hsm.so").Replace(rehearsalYAML)
	if _, err := decodeConfig(strings.NewReader(good)); err != nil {
		t.Fatalf("the configuration of init: %v", err)
	}
	for name, c := range map[string]struct{ old, new, says string }{
		"unknown key":        {"listen:", "lisen:", "lisen"},
		"unknown nested key": {"pin_file:", "pin:", "pin"},
		"no environment":     {"environment: rehearsal", "environment: test", "environment"},
		"listen":             {"127.0.0.1:8443", "8443", "listen"},
		"zone":               {"Asia/Shanghai", "Asia/Nowhere", "zone"},
		"cut-over":           {`"03:00"`, `"3 am"`, "cut_over"},
		"factor":             {"asn8]", "asn9]", "factor"},
		"four factors":       {"[issuer8, asn8]", "[issuer8, asn8, asn8, asn8]", "factors"},
		"ranges overlap":     {`"6299"`, `"6212"`, "overlap"},
		"algorithm":          {"{0: 3des, 1: 3des}", "{0: rot13}", "rot13"},
		"slots of no realm":  {"realm: transit", "realm: nowhere", "slots.realm"},
		"key version":        {"key_version: 1", "key_version: 16", "slots.key_version"},
		"aid":                {"A000000632010105", "A0", "slots.aid"},
		"long access":        {"access_ttl: 10m", "access_ttl: 10h", "access_ttl"},
		"test realm":         {"environment: rehearsal", "environment: production", "not in production"},
		"two documents":      {"identity:", "---\nidentity:", "more than one document"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("the configuration of init does not hold %q", c.old)
			}
			_, err := decodeConfig(strings.NewReader(strings.Replace(good, c.old, c.new, 1)))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want the word %q", err, c.says)
			}
		})
	}
	if _, err := decodeConfig(strings.NewReader("")); err == nil {
		t.Error("an empty file was taken")
	}
}

// TestShippedConfiguration: the one for production can be read, and needs no
// key that the ceremonies of the installation page do not make.
func TestShippedConfiguration(t *testing.T) {
	f, err := os.Open("../../docs/deploy/tapvault.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := decodeConfig(f)
	if err != nil || c.Environment != assembly.Production {
		t.Fatalf("%s, %v", c.Environment, err)
	}
	made := ""
	for _, name := range []string{"3-service-keys.yaml", "4-shared-keys.yaml"} {
		b, err := os.ReadFile(filepath.Join("../../keyceremony/scripts/rehearsal", name))
		if err != nil {
			t.Fatal(err)
		}
		made += string(b)
	}
	for _, ref := range c.Keys() {
		if !strings.Contains(made, "label: "+ref.Label()+"}") {
			t.Errorf("no ceremony makes %s", ref.Label())
		}
	}
}

// TestCommandsFit: what a page tells a person to type fits a terminal.
func TestCommandsFit(t *testing.T) {
	for _, name := range []string{"README.md", "docs/install.md", "docs/operations.md", "docs/simulators.md"} {
		b, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		on, seen := false, 0
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "```") {
				on = line == "```sh"
			} else if on {
				if seen++; len([]rune(line)) > cli.Columns {
					t.Errorf("%s: %d columns: %s", name, len(line), line)
				}
			}
		}
		if seen == 0 {
			t.Errorf("%s: no commands were seen", name)
		}
	}
}

func FuzzDecodeConfig(f *testing.F) {
	f.Add([]byte(rehearsalYAML))
	f.Add([]byte("environment: [\n"))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeConfig(bytes.NewReader(b))
		if err == nil && c.Validate() != nil {
			t.Error("a configuration was taken that does not validate")
		}
	})
}
