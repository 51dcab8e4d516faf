package lab_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/lab"
)

// pkcs11Tool changes a token from outside, as somebody with the PIN could.
func pkcs11Tool(t *testing.T, l *lab.Lab, args ...string) {
	t.Helper()
	args = append([]string{"--module", l.Config.HSM.Module, "--token-label", l.Config.HSM.Token, "--login",
		"--pin", "env:LAB_PIN"}, args...)
	c := exec.Command("pkcs11-tool", args...)
	c.Env = append(os.Environ(), "LAB_PIN="+hsmtest.PIN)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("pkcs11-tool (package opensc): %v: %s", err, out)
	}
}

func TestAServiceThatCannotStart(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*testing.T, *lab.Lab)
		kind  fault.Kind
		says  string
	}{
		"module absent": {func(_ *testing.T, l *lab.Lab) { l.Config.HSM.Module = "/nowhere/libhsm.so" },
			fault.HSMUnavailable, "/nowhere/libhsm.so"},
		"token absent": {func(_ *testing.T, l *lab.Lab) { l.Config.HSM.Token = "no-such-token" },
			fault.HSMUnavailable, "no-such-token"},
		"PIN wrong": {func(t *testing.T, l *lab.Lab) { write(t, l, "pin", "654321\n") },
			fault.HSMUnavailable, "PIN"},
		"key missing": {func(t *testing.T, l *lab.Lab) {
			pkcs11Tool(t, l, "--delete-object", "--type", "secrkey", "--label", "transit.mlk.v1")
		}, fault.HSMKey, "transit.mlk.v1"},
		"two keys of a label": {func(t *testing.T, l *lab.Lab) {
			pkcs11Tool(t, l, "--keygen", "--key-type", "AES:32", "--label", "range-kek.v1")
		}, fault.HSMKey, "range-kek.v1"},
		"key of many uses": {func(t *testing.T, l *lab.Lab) {
			pkcs11Tool(t, l, "--delete-object", "--type", "secrkey", "--label", "range-kek.v1")
			pkcs11Tool(t, l, "--keygen", "--key-type", "AES:32", "--label", "range-kek.v1")
		}, fault.HSMKey, "range-kek.v1"},
		"database in no folder": {func(_ *testing.T, l *lab.Lab) { l.Config.Store.DSN = "nowhere/tapvault.db" },
			fault.StoreDown, "database"},
		"database is junk": {func(t *testing.T, l *lab.Lab) { write(t, l, l.Config.Store.DSN, strings.Repeat("junk", 2000)) },
			fault.StoreDown, "database"},
		"audit record in no folder": {func(_ *testing.T, l *lab.Lab) { l.Config.Audit.File = "nowhere/audit.log" },
			fault.AuditDown, "audit"},
	} {
		t.Run(name, func(t *testing.T) {
			l := lab.Prepare(t, lab.Options{})
			c.spoil(t, l)
			err := l.Start(t)
			if err == nil {
				t.Fatal("the service started")
			}
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %s: %v; want %s and the word %q", fault.KindOf(err), err, c.kind, c.says)
			}
			if strings.Contains(err.Error(), hsmtest.PIN) || strings.Contains(err.Error(), "654321") {
				t.Error("the error holds the PIN")
			}
		})
	}
}

func write(t *testing.T, l *lab.Lab, name, text string) {
	t.Helper()
	for _, side := range []string{"-wal", "-shm"} { // of a database that is replaced
		if err := os.Remove(l.Config.Path(name + side)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(l.Config.Path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// unchanged runs f and sees that it left no row behind.
func unchanged(t *testing.T, l *lab.Lab, f func()) {
	t.Helper()
	tables := []string{"tokens", "cards", "numbers", "bundles", "attempts"}
	before := map[string]int{}
	for _, x := range tables {
		before[x] = l.Count(t, x)
	}
	f()
	for _, x := range tables {
		if n := l.Count(t, x); n != before[x] {
			t.Errorf("table %s went from %d to %d rows", x, before[x], n)
		}
	}
}

func TestAnHSMThatGoesAway(t *testing.T) {
	l := lab.New(t, lab.Options{})
	tok := newToken(t, l, cardRequest())
	issuer, wallet := l.Client(t, "issuer"), l.Client(t, "wallet")
	for _, c := range []*client.Client{issuer, wallet} {
		if _, err := c.AccessToken(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l.LoseHSM(t)
	unchanged(t, l, func() {
		if _, err := issuer.RequestToken(t.Context(), cardRequest()); !client.IsProblem(err, "hsm-unavailable") {
			t.Errorf("a token: %v", err)
		}
	})
	if _, err := issuer.PurchaseMAC1(t.Context(), wire.Purchase{Card: wire.Card{Realm: lab.Realm, KeyVersion: 1,
		Issuer: wire.Hex8{0x10, 7: 1}, ASN: wire.Hex10{2: 0x31, 9: 1}}, TxnType: 6, Date: wire.Date{0x20, 0x26, 0x05, 0x20}}); !client.IsProblem(err, "hsm-unavailable") {
		t.Errorf("a MAC: %v", err)
	}
	if _, err := wallet.Bundle(t.Context(), tok.Ref, wire.PublicKey{KeyType: "EC", Curve: "P-256",
		X: "u4y9cmtaMWWimMnifuOoqeuRQ9s9Jcwkw6v55ziJ-FM", Y: "b93Mjd44dOj-tXrqnVq79uK1iCV_GnT1aP4TCgtyCak"}); !client.IsProblem(err, "hsm-unavailable") {
		t.Errorf("a bundle: %v", err)
	}
	if h, err := issuer.Ready(t.Context()); err == nil && h.Status == "ok" {
		t.Error("the service says that it is ready")
	}
	noSecrets(t, l, testPAN)
}

func TestARealmWithoutItsKey(t *testing.T) {
	logs := readPublished(t, "epurse_load_tdes")
	l := labOf(t, logs)
	_, err := l.Client(t, "issuer").PurchaseMAC1(t.Context(), wire.Purchase{ // these realms hold load keys only
		Card: wire.Card{Realm: logs[0].realm(), KeyVersion: 1}, TxnType: 6, Date: wire.Date{0x20, 0x26, 0x05, 0x20}})
	if !client.IsProblem(err, "hsm-key") && !client.IsProblem(err, "realm-unknown") {
		t.Errorf("got %v", err)
	}
	noSecrets(t, l, logs[0].In.DLK, logs[0].In.DTK)
}

func TestADatabaseThatCannotBeWritten(t *testing.T) {
	l := lab.New(t, lab.Options{})
	tok := newToken(t, l, cardRequest())
	h := withKey(l.Bearer(t, "issuer"), "k") // an access token outlives the restart
	l.Stop(t)
	l.Config.Store.ReadOnly = true
	if err := l.Start(t); err != nil {
		t.Fatalf("starting on a read-only database: %v", err)
	}
	if a := l.Send(t, "GET", "/v1/tokens/"+tok.Ref, h, nil); a.Status != 200 {
		t.Errorf("reading: %d %s", a.Status, a.Type)
	}
	unchanged(t, l, func() {
		if a := l.Send(t, "POST", "/v1/tokens", h, []byte(body(testPAN))); a.Status != 503 || a.Type != "store-read-only" {
			t.Errorf("a token: %d %s", a.Status, a.Type)
		}
		if a := l.Send(t, "POST", "/v1/tokens/"+tok.Ref+"/suspend", h, []byte(`{}`)); a.Type != "store-read-only" {
			t.Errorf("suspending: %d %s", a.Status, a.Type)
		}
	})
	if _, err := l.Client(t, "issuer").AccessToken(t.Context()); !client.IsProblem(err, "store-read-only") {
		t.Errorf("logging in: %v", err)
	}
	noSecrets(t, l, testPAN)
}

func TestADatabaseThatIsFull(t *testing.T) {
	l := lab.New(t, lab.Options{})
	newToken(t, l, cardRequest())
	h := l.Bearer(t, "issuer")
	l.Stop(t)
	info, err := os.Stat(l.Config.Path(l.Config.Store.DSN))
	if err != nil {
		t.Fatal(err)
	}
	l.Config.Store.MaxBytes = info.Size() + 8<<10
	if err := l.Start(t); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		before := l.Count(t, "tokens")
		a := l.Send(t, "POST", "/v1/tokens", withKey(h, "k"+strings.Repeat("x", i%60)+string(rune('a'+i/60))), []byte(body(testPAN)))
		if a.Status == 201 {
			continue
		}
		if a.Status != 507 || a.Type != "store-full" {
			t.Errorf("answered %d %s", a.Status, a.Type)
		}
		if n := l.Count(t, "tokens"); n != before {
			t.Errorf("a token that was refused is there")
		}
		noSecrets(t, l, testPAN)
		return
	}
	t.Error("the database never filled")
}
