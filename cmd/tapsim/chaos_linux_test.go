package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestEmpty: chaos removes what an earlier run of it left, and nothing else.
func TestEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "chaos")
	if err := empty(dir); err != nil {
		t.Errorf("no folder: %v", err)
	}
	kept := filepath.Join(dir, "letter.txt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := empty(dir); err == nil {
		t.Error("somebody's folder was emptied")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "service-0.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := empty(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("an earlier run's folder is still there")
	}
}
