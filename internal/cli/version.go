package cli

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
)

// Version is what this program was built from and with which Go, as the Go toolchain
// recorded it: a release or a commit, with "+dirty" when files were changed since. A
// program that was built without git, as from an archive, is known by what sha256sum says of
// its file.
func Version() (version, goVersion string) {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		b = &debug.BuildInfo{GoVersion: "unknown"}
	}
	return versionOf(b, ownHash), b.GoVersion
}

func versionOf(b *debug.BuildInfo, hash func() string) string {
	if v := b.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	set := map[string]string{}
	for _, s := range b.Settings {
		set[s.Key] = s.Value
	}
	commit := set["vcs.revision"]
	if commit == "" {
		return "built without a commit, sha256 " + hash()
	}
	if set["vcs.modified"] == "true" {
		commit += "+dirty"
	}
	return "commit " + commit
}

// ownHash is how sha256sum of the program's file begins.
var ownHash = sync.OnceValue(func() string {
	h, err := hashOwn()
	if err != nil {
		return "unknown"
	}
	return h[:16]
})

func hashOwn() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
