package hugepage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "enabled")
	if err := refused(file); err != nil {
		t.Errorf("nothing said: %v", err)
	}
	for says, want := range map[string]error{
		"always madvise [never]\n": ErrRefused,
		"always [madvise] never\n": nil,
		"[always] madvise never\n": nil,
	} {
		if err := os.WriteFile(file, []byte(says), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := refused(file); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", says, err, want)
		}
	}
}
