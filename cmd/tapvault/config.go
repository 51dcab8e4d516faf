package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
)

// loadConfig reads and validates the configuration; it opens nothing else.
func (a *app) loadConfig() (assembly.Config, error) {
	f, err := os.Open(a.config)
	if errors.Is(err, fs.ErrNotExist) {
		return assembly.Config{}, withHint(fmt.Errorf("reading configuration: %w", err),
			"`tapvault init DIR` makes one for a rehearsal; --config names another")
	}
	if err != nil {
		return assembly.Config{}, fmt.Errorf("reading configuration: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return assembly.Config{}, withHint(fmt.Errorf("reading configuration: %s is a folder", a.config), "--config names the file, such as tapvault.yaml in it")
	}
	c, err := decodeConfig(f)
	if err != nil {
		return assembly.Config{}, withHint(fmt.Errorf("reading configuration %s: %w", a.config, err), "docs/operations.md explains every field")
	}
	dir, err := filepath.Abs(filepath.Dir(a.config))
	if err != nil {
		return assembly.Config{}, fmt.Errorf("reading configuration: %w", err)
	}
	return c.In(dir), nil
}

// decodeConfig is strict: an unknown key or a second document is an error.
func decodeConfig(r io.Reader) (assembly.Config, error) {
	d := yaml.NewDecoder(io.LimitReader(r, 1<<20))
	d.KnownFields(true)
	var c assembly.Config
	if err := d.Decode(&c); err != nil {
		if errors.Is(err, io.EOF) {
			return c, errors.New("the file is empty")
		}
		return c, cli.PlainYAML(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return c, errors.New("there is more than one document in it")
	}
	return c, c.Validate()
}
