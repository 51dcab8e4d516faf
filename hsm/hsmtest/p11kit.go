package hsmtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Of p11-kit: its proxy, and its client, which speaks to a server.
const (
	P11KitProxy  = "p11-kit-proxy.so"
	P11KitClient = "pkcs11/p11-kit-client.so"
)

// P11Kit finds a module of p11-kit.
func P11Kit(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("no %s: `make setup-test` installs p11-kit-modules", name)
	return ""
}
