//go:build linux && cgo

package hsmtest_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// opened opens the token of cfg and makes keys ready.
func opened(t *testing.T, cfg hsm.Config, refs ...keyref.Ref) *hsm.Token {
	t.Helper()
	tok, err := hsm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	for _, r := range refs {
		if err := tok.Generate(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := tok.Require(t.Context(), refs...); err != nil {
		t.Fatal(err)
	}
	return tok
}

var (
	master = keyref.Ref{Usage: keyref.PurchaseMaster, Realm: hsmtest.Realm, Version: 1}
	seal   = keyref.Ref{Usage: keyref.PANSeal, Version: 1}
	index  = keyref.Ref{Usage: keyref.PANIndex, Version: 1}
	sign   = keyref.Ref{Usage: keyref.CredSign, Version: 1}
)

// TestProxy: p11-kit's proxy, which gives whoever asks a table of functions, and
// sessions, of their own, is used by one of them. SoftHSM is behind it, as packaged.
func TestProxy(t *testing.T) {
	cfg := hsmtest.Empty(t) // on SoftHSM itself: the proxy may show others' empty tokens
	cfg.Module = hsmtest.P11Kit(t, hsmtest.P11KitProxy)
	tok := opened(t, cfg, master, seal, index, sign)
	p, _ := master.Path(keyref.Factor{1}, keyref.Factor{2})
	if _, err := tok.ProcessMAC(t.Context(), p, [8]byte{3}, []byte("m")); err != nil {
		t.Error(err)
	}
	if _, err := tok.Seal(t.Context(), seal, []byte("text"), nil); err != nil {
		t.Error(err)
	}
}

// serve has p11-kit serve a token of SoftHSM at a socket.
func serve(t *testing.T, socket string, cfg hsm.Config) (stop func()) {
	t.Helper()
	c := exec.Command("p11-kit", "server", "-f", "-n", socket, "--provider", cfg.Module, "pkcs11:token="+cfg.Token)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // each connection has a process
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatalf("%v: `make setup-test` installs p11-kit", err)
	}
	stop = func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
		os.Remove(socket)
	}
	t.Cleanup(stop)
	if line, err := bufio.NewReader(out).ReadString('\n'); !strings.Contains(line, "P11_KIT_SERVER_ADDRESS") { // it listens
		t.Fatalf("p11-kit server: %q, %v", line, err)
	}
	return stop
}

// TestServerComesBack: p11-kit's client speaks to a server. When that dies and
// another comes, the client has lost it for good, until it is initialised anew.
func TestServerComesBack(t *testing.T) {
	cfg := hsmtest.Empty(t)
	socket := filepath.Join(t.TempDir(), "p11")
	stop := serve(t, socket, cfg)
	t.Setenv("P11_KIT_SERVER_ADDRESS", "unix:path="+socket)
	far := cfg
	far.Module = hsmtest.P11Kit(t, hsmtest.P11KitClient)
	tok := opened(t, far, index, sign)
	before, err := tok.HMAC(t.Context(), index, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Generate(t.Context(), master); err == nil || !strings.Contains(err.Error(), "lacks the mechanism CKM_DES3_ECB_ENCRYPT_DATA") {
		t.Errorf("a key whose mechanism does not pass the socket: %v", err)
	}
	stop()
	for err == nil { // while the client does not know yet
		err = tok.Health(t.Context())
	}
	serve(t, socket, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err != nil && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		err = tok.Health(t.Context())
	}
	after, err := tok.HMAC(t.Context(), index, []byte("m"))
	if err != nil || after != before {
		t.Errorf("after the server came back: %v, the same MAC: %t", err, after == before)
	}
}
