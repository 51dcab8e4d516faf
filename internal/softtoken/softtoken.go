// Package softtoken finds the software HSMs of this machine, and makes throw-away tokens on them for tests and measurements.
package softtoken

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tapvault/tapvault/hsm"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// Module is a PKCS #11 library that keeps its tokens in files.
type Module struct {
	Name string
	// Path finds the library, or says what to install.
	Path func() (string, error)
	// Home makes a place for tokens of the given labels in dir, has the module
	// use it in this process, and returns what the module wants when it is
	// initialised. The tokens are initialised later.
	Home func(dir string, labels ...string) (initArgs string, err error)
	// Workers is how many calls at once suit the module.
	Workers int
}

// Modules lists what is known, the default first.
var Modules = []Module{
	{"softhsm", softhsmconfig.Module, softHSMHome, 1},
	{"nss", nssPath, nssHome, runtime.NumCPU()},
}

// Names lists what [Find] finds.
func Names() (names []string) {
	for _, m := range Modules {
		names = append(names, m.Name)
	}
	return names
}

// Find returns the module of a name. An empty name means the default.
func Find(name string) (Module, error) {
	for _, m := range Modules {
		if m.Name == name || name == "" {
			return m, nil
		}
	}
	return Module{}, fmt.Errorf("no software HSM is called %q: there are %s", name, strings.Join(Names(), ", "))
}

// Scratch makes one initialised token in dir, which is the caller's to remove.
func (m Module) Scratch(ctx context.Context, dir, label, pin string) (cfg hsm.Config, err error) {
	if cfg.Module, err = m.Path(); err != nil {
		return cfg, err
	}
	if cfg.InitArgs, err = m.Home(dir, label); err != nil {
		return cfg, err
	}
	cfg.Token, cfg.PIN, cfg.Workers = label, hsm.StaticPIN(pin), m.Workers
	return cfg, hsm.InitToken(ctx, hsm.InitConfig{Module: cfg.Module, InitArgs: cfg.InitArgs, Label: label,
		SOPIN: []byte(pin), UserPIN: []byte(pin)})
}

func softHSMHome(dir string, _ ...string) (string, error) {
	conf, err := softhsmconfig.Write(dir)
	if err != nil {
		return "", err
	}
	return "", softhsmconfig.Use(conf)
}

// nssPlaces are where distributions put the library.
var nssPlaces = []string{
	"/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
	"/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
	"/usr/lib/x86_64-linux-gnu/nss/libsoftokn3.so",
	"/usr/lib/aarch64-linux-gnu/nss/libsoftokn3.so",
	"/usr/lib64/libsoftokn3.so",
	"/usr/lib/libsoftokn3.so",
	"/usr/local/lib/libsoftokn3.so",
	"/opt/homebrew/lib/libsoftokn3.dylib",
}

func nssPath() (string, error) {
	for _, p := range nssPlaces {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", errors.New("no NSS softokn library found: install the package libnss3")
}

// nssHome lists the tokens, because NSS has no others than those which its
// reserved string names. Each has a folder. User tokens have the slots 4 to 100.
func nssHome(dir string, labels ...string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the NSS directory: %w", err)
	}
	if strings.ContainsAny(abs, `'"\<>[]`) {
		return "", fmt.Errorf("NSS cannot use %q: no folder of its path may have a quote, a backslash or a bracket in its name", abs)
	}
	if len(labels) == 0 || len(labels) > 96 {
		return "", fmt.Errorf("making a home for NSS: %d tokens, between 1 and 96 can be had", len(labels))
	}
	// Each stored key is enciphered under the PIN by so many rounds, 10,000
	// unless told, which throw-away keys do not need.
	if err := os.Setenv("NSS_MAX_MP_PBE_ITERATION_COUNT", "10"); err != nil {
		return "", fmt.Errorf("making a home for NSS: %w", err)
	}
	tokens := ""
	for i, l := range labels {
		d := filepath.Join(abs, fmt.Sprintf("nss-%d", i))
		if err := os.MkdirAll(d, 0o700); err != nil {
			return "", fmt.Errorf("making a home for NSS: %w", err)
		}
		tokens += fmt.Sprintf(" 0x%x=[configdir='sql:%s' tokenDescription='%s']", 4+i, d, l)
	}
	return "tokens=<" + tokens[1:] + ">", nil
}
