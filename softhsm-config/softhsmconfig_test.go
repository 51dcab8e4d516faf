package softhsmconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteIsRepeatable(t *testing.T) {
	dir := t.TempDir()
	conf, err := Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, "tokens", "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := Write(dir); err != nil || again != conf {
		t.Fatalf("second Write = %q, %v; want %q", again, err, conf)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("writing the configuration again lost a token file: %v", err)
	}
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if want := "directories.tokendir = " + filepath.Join(dir, "tokens"); !strings.Contains(string(text), want) {
		t.Errorf("configuration lacks %q:\n%s", want, text)
	}
	if info, _ := os.Stat(conf); info.Mode().Perm() != 0o600 {
		t.Errorf("configuration has mode %v", info.Mode())
	}
}

func TestWriteRefusesWhatSoftHSMCannotRead(t *testing.T) {
	for _, name := range []string{"a\nslots.mechanisms = none", "a#b", "a=b"} {
		if _, err := Write(filepath.Join(t.TempDir(), name)); err == nil {
			t.Errorf("%q could end the line of the configuration that it stands in", name)
		}
	}
	if _, err := Write(filepath.Join(t.TempDir(), "a b")); err != nil {
		t.Errorf("a space: %v", err)
	}
}

func TestUse(t *testing.T) {
	t.Setenv(Env, "")
	if err := Use(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent configuration was taken")
	}
	conf, err := Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := Use(conf); err != nil || os.Getenv(Env) != conf {
		t.Errorf("Use: %v, %s=%q", err, Env, os.Getenv(Env))
	}
}

func TestModule(t *testing.T) {
	if m, err := Module(); err != nil || m == "" {
		t.Errorf("Module() = %q, %v", m, err)
	}
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	conf, err := Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Tokens(conf); err != nil || got != filepath.Join(dir, "tokens") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Tokens(filepath.Join(dir, "none")); err == nil {
		t.Error("no file was read")
	}
}
