package assembly

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
)

func TestPath(t *testing.T) {
	c := Config{}.In("/etc/tapvault")
	for in, want := range map[string]string{"": "", "tls/ca.pem": "/etc/tapvault/tls/ca.pem", "/var/x": "/var/x"} {
		if got := c.Path(in); got != want {
			t.Errorf("Path(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestKeysNeeded(t *testing.T) {
	c := Config{
		Realms: []Realm{
			{Name: "two", Factors: make([]cryptogram.FactorRule, 1), KeyVersions: map[byte]uint8{1: 1, 0x11: 1, 2: 2}},
			{Name: "own", KeyVersions: map[byte]uint8{1: 1}},
		},
		Slots: Slots{Realm: "two", KeyVersion: 3},
	}
	count := map[keyref.Ref]int{}
	for _, r := range c.Keys() {
		if !r.Valid() {
			t.Errorf("%v is no key", r)
		}
		count[r]++
	}
	for label, want := range map[string]int{"two.mpk.v1": 1, "two.mpk.v2": 1, "two.mtk.v2": 1, "two.mpk-s.v3": 1, "two.mtk-s.v3": 1,
		"own.mpk.v1": 0, "pan-seal.v1": 1, "cred-sign.v1": 1, "jwt-sign.v1": 1} {
		ref, err := keyref.Parse(label)
		if err != nil {
			t.Fatal(err)
		}
		if count[ref] != want {
			t.Errorf("%s is there %d times, want %d", label, count[ref], want)
		}
	}
	if got := c.cardRealms(); len(got) != 1 || got[0] != "own" {
		t.Errorf("card realms: %v", got)
	}
}

func TestEmptyConfigSaysAllThatIsMissing(t *testing.T) {
	err := Config{}.Validate()
	if err == nil {
		t.Fatal("an empty configuration was taken")
	}
	for _, want := range []string{"environment", "listen", "tls.cert_file", "hsm.module", "hsm.pin_file", "store.dsn", "audit.file",
		"calendar", "vault.ranges", "vault.bin_controller", "realms", "slots.realm", "slots.count", "identity.issuer_url"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s", want)
		}
	}
}

// TestConfigSaysAllThatIsWrong: of a part that is wrong in several ways, each way has
// a line.
func TestConfigSaysAllThatIsWrong(t *testing.T) {
	c := Config{Calendar: Calendar{Zone: "Mars", CutOver: "25:00"}, Vault: Vault{
		Ranges:     []Range{{Name: "short", Prefix: "9", Length: 12}, {Name: "zero", Prefix: "010001", Length: 16}},
		CardRanges: []CardRange{{Prefix: "62x", Length: 16}}}, Realms: []Realm{{Name: "a", Requestors: []string{"50110000002", "5011"}}}}
	err := c.Validate()
	if err == nil {
		t.Fatal("the configuration was taken")
	}
	for _, want := range []string{"calendar: zone: ", "calendar: cut_over: ", "vault.ranges: token range short: ", "vault.ranges: token range zero: ",
		`vault.ranges: card range "62x": `, "realms[0].requestors[1]: "} {
		if !strings.Contains("\n"+err.Error(), "\n"+want) {
			t.Errorf("no line begins with %q", want)
		}
	}
	c.Vault = Vault{Ranges: []Range{{Name: "a", Prefix: "910001", Length: 16}, {Name: "b", Prefix: "555910001", Length: 19}},
		CardRanges: []CardRange{{Prefix: "910001", Length: 16}}}
	if err := c.Validate(); strings.Count(err.Error(), "overlap") != 3 {
		t.Errorf("three pairs overlap: %v", err)
	}
}

func TestSecretsOfOthers(t *testing.T) {
	f := filepath.Join(t.TempDir(), "pin")
	if err := ownerOnly(f); err == nil {
		t.Error("an absent file was taken")
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false} {
		if err := os.WriteFile(f, []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(f, mode); err != nil {
			t.Fatal(err)
		}
		if got := ownerOnly(f) == nil; got != ok {
			t.Errorf("mode %o: taken %v", mode, got)
		}
		if err := os.Chmod(f, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTokens: what is left out of another token is the first one's, and none is
// there twice.
func TestTokens(t *testing.T) {
	c := Config{HSM: HSM{Module: "/a.so", Token: "one", PINFile: "pin", SoftHSMConf: "conf", InitArgs: "args", Others: []Token{
		{Token: "two"}, {Module: "/b.so"}, {Module: "/b.so", Token: "one", PINFile: "other"}}}}
	want := []Token{{"/a.so", "one", "pin", "conf", "args"}, {"/a.so", "two", "pin", "conf", "args"}, {"/b.so", "one", "pin", "", ""},
		{"/b.so", "one", "other", "", ""}}
	got := c.tokens()
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	v := &checker{}
	c.validateTokenList(v)
	if err := errors.Join(v.errs...); err == nil || !strings.Contains(err.Error(), "hsm.others[2]") || strings.Contains(err.Error(), "hsm.others[1]") {
		t.Errorf("a token that is there twice: %v", err)
	}
	for i, one := range c.EachToken() {
		if one.HSM.Token != want[i].Token || one.HSM.Module != want[i].Module || len(one.HSM.Others) != 0 {
			t.Errorf("token %d alone: %+v", i, one.HSM)
		}
	}
}

func TestTracesAreChecked(t *testing.T) {
	for i, c := range []struct {
		traces Traces
		want   string
	}{
		{Traces{}, ""}, {Traces{Endpoint: "https://collector:4318"}, ""}, {Traces{Endpoint: "http://127.0.0.1:4318", Sample: 1}, ""},
		{Traces{Endpoint: "http://collector:4318"}, "traces.endpoint"}, {Traces{Sample: .5}, "traces.endpoint"},
		{Traces{Endpoint: "https://c", Sample: -1}, "traces.sample"}, {Traces{Endpoint: "https://c", Sample: 1.1}, "traces.sample"},
		{Traces{Endpoint: "https://c", Sample: math.NaN()}, "traces.sample"},
	} {
		v := &checker{}
		Config{Traces: c.traces}.validateTraces(v)
		err := errors.Join(v.errs...)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	c := Config{Traces: Traces{Endpoint: "https://c", CAFile: "ca.pem"}}.In(t.TempDir())
	if _, err := c.collector(); err == nil {
		t.Error("an absent file of roots was taken")
	}
	if err := os.WriteFile(c.Path("ca.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.collector(); err == nil {
		t.Error("a file without roots was taken")
	}
	c.Traces.CAFile = ""
	if o, err := c.collector(); err != nil || o.Sample != 0.01 {
		t.Errorf("what is left out: %+v, %v", o, err)
	}
}

// TestPasswordOfTheDatabase: however somebody writes one into the DSN, it is
// refused without being repeated, and no file gets that name.
func TestPasswordOfTheDatabase(t *testing.T) {
	for dsn, ok := range map[string]bool{
		"tapvault.db": true, "/var/lib/tapvault/user=1.db": true, "postgres://db.example/tapvault?passfile=/etc/tapvault/pgpass": true,
		"postgres://one:5432,two:5432/tapvault": true, "postgresql:///tapvault?host=/run/one,/run/two": true,
		"postgres://tap:s3cret@db.example/tapvault": false, "postgres://db.example/tapvault?password=s3cret": false,
		"postgres://db.example/tapvault?sslpassword=s3cret": false, "postgres://tap:s3cret%zz@db.example/tapvault": false,
		"postgres://tap:s3cret@db.example:p/tapvault": false, "host=db.example user=tap password=s3cret dbname=tapvault": false,
		"password = s3cret": false, "Postgres://tap:s3cret@db.example/tapvault": false, "mysql://tap:s3cret@db.example/tapvault": false,
	} {
		v := &checker{}
		Config{Store: Store{DSN: dsn}}.validateDSN(v)
		if got := len(v.errs) == 0; got != ok {
			t.Errorf("%s: taken %v", dsn, got)
		}
		if text := fmt.Sprint(v.errs); strings.Contains(text, "s3cret") {
			t.Errorf("%s: it is repeated: %s", dsn, text)
		}
	}
}
