package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/store"
)

// TestURLThatIsNotTaken: what is wrong with it is said, and no password.
func TestURLThatIsNotTaken(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dsn, want := range map[string]string{
		"postgres://u:word@h/d?sslmode=verify-full&sslrootcert=/none/ca.pem": "/none/ca.pem",
		"postgres://u:word@h/d?sslmode=verify-full&sslrootcert=" + empty:     "holds no certificate",
		"postgres://u:word@h:port/d":                                         "is not one",
	} {
		_, err := store.Open(t.Context(), store.Config{DSN: dsn})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "word") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
