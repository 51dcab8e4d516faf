// Package softhsmconfig carries the one SoftHSM configuration used by tests, CI and the quick start.
package softhsmconfig

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed softhsm2.conf
var template string

// Env is the variable in which SoftHSM looks for its configuration file. It is
// read once, when the module is initialised.
const Env = "SOFTHSM2_CONF"

// modules are the places where distributions put the library.
var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// Module returns the path of the SoftHSM library on this machine.
func Module() (string, error) {
	for _, m := range modules {
		if _, err := os.Stat(m); err == nil {
			return m, nil
		}
	}
	return "", errors.New("no SoftHSM library found: install the package softhsm2")
}

// Write makes dir/tokens and dir/softhsm2.conf, both for the owner only, and
// returns the path of the file. Written again with the same dir it changes
// nothing, so existing tokens stay.
func Write(dir string) (conf string, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the SoftHSM directory: %w", err)
	}
	if strings.ContainsAny(abs, "\n\r#=") { // SoftHSM reads no further than these
		return "", fmt.Errorf("SoftHSM cannot use %q: no folder of its path may have #, = or a line break in its name", abs)
	}
	tokens := filepath.Join(abs, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return "", fmt.Errorf("making the token directory: %w", err)
	}
	conf = filepath.Join(abs, "softhsm2.conf")
	text := strings.ReplaceAll(template, "{{DIR}}", tokens)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("writing the SoftHSM configuration: %w", err)
	}
	return conf, nil
}

// Use makes SoftHSM in this process read conf. It has to come before the
// module is opened for the first time.
func Use(conf string) error {
	if _, err := os.Stat(conf); err != nil {
		return fmt.Errorf("reading the SoftHSM configuration: %w", err)
	}
	return os.Setenv(Env, conf)
}

// Tokens returns the folder in which a configuration has SoftHSM keep its tokens, or
// "" where it names none.
func Tokens(conf string) (dir string, err error) {
	text, err := os.ReadFile(conf)
	if err != nil {
		return "", fmt.Errorf("reading the SoftHSM configuration: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if name, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == "directories.tokendir" {
			dir = strings.TrimSpace(value)
		}
	}
	return dir, nil
}
