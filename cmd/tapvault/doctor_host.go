package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/store"
)

// lookAtUser says when it is not the service's user who looks: root may read
// what the service may not.
func lookAtUser(_ context.Context, cfg assembly.Config) []finding {
	var s unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(filepath.Dir(cfg.Path(cfg.Audit.File)), &s) != nil || s.Uid == 0 {
		return nil
	}
	name := strconv.FormatUint(uint64(s.Uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return []finding{note("user", "call it as that user: runuser -u "+name+" -- tapvault doctor --config FILE",
		"root may read everything; the service, which runs as %s, may not", name)}
}

// lookAtFiles says whether secrets are there, and their owner's alone.
func lookAtFiles(_ context.Context, cfg assembly.Config) []finding {
	const part = "files"
	key := cfg.Path(cfg.TLS.KeyFile)
	found := lookAtSecret(part, "tls.key_file", key)
	if u, err := url.Parse(cfg.Store.DSN); err == nil && store.IsPostgres(cfg.Store.DSN) && u.Query().Has("passfile") {
		found = append(found, lookAtSecret(part, "store.dsn", u.Query().Get("passfile"))...)
	}
	seen := map[string]bool{}
	for _, one := range cfg.EachToken() {
		pin := cfg.Path(one.HSM.PINFile)
		if seen[pin] {
			continue
		}
		seen[pin] = true
		wrong := lookAtSecret(part, "hsm.pin_file", pin)
		if wrong == nil {
			wrong = lookAtPIN(part, pin)
		}
		found = append(found, wrong...)
	}
	if found == nil {
		found = []finding{fine(part, "secrets are their owner's alone")}
	}
	return found
}

// lookAtSecret returns what is wrong with a file that only its owner may read.
func lookAtSecret(part, field, path string) []finding {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []finding{badly(part, fmt.Errorf("%s: %w", field, err), "put the file there, or name another in "+field)}
	case err != nil:
		return []finding{badly(part, fmt.Errorf("%s: %w", field, err), "")}
	case info.Mode().Perm()&0o077 != 0:
		return []finding{bad(part, "chmod 600 "+path, "%s: %s can be read by others (mode %03o)", field, path, info.Mode().Perm())}
	}
	f, err := os.Open(path)
	if err != nil {
		return []finding{badly(part, fmt.Errorf("%s: %w", field, err), "chown it to the user who runs tapvault")}
	}
	_ = f.Close()
	return nil
}

// lookAtPIN returns what is wrong with the text of a PIN file. It is seen here,
// before the HSM counts a wrong PIN.
func lookAtPIN(part, path string) []finding {
	const mend = "write the PIN as its only line, with nothing before or after it"
	err := hsm.PINFile(path)(func([]byte) error { return nil })
	if err != nil {
		return []finding{bad(part, mend, "hsm.pin_file: %s: %s", path, cli.Plain(err))}
	}
	return nil
}

// soon is how long before its end a certificate is told of.
const soon = 30 * 24 * time.Hour

func lookAtCertificate(_ context.Context, cfg assembly.Config) []finding {
	const part = "certificate"
	pair, err := loadCertificate(cfg)
	if err != nil {
		return []finding{badly(part, err, "")}
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return []finding{badly(part, err, "put another certificate there")}
	}
	found := lookAtEnd(leaf, time.Now())
	if at, err := url.Parse(cfg.Identity.IssuerURL); err == nil && leaf.VerifyHostname(at.Hostname()) != nil {
		found = append(found, note(part, "clients that go there refuse it: have one made for that name, or correct identity.issuer_url",
			"it is not for %s, where identity.issuer_url sends clients", at.Hostname()))
	}
	if found == nil {
		found = []finding{fine(part, "good until %s", leaf.NotAfter.UTC().Format(time.DateOnly))}
	}
	return found
}

// lookAtEnd returns what is wrong with the days of a certificate.
func lookAtEnd(leaf *x509.Certificate, now time.Time) []finding {
	const part, mend = "certificate", "put a new pair into the files of tls.cert_file and tls.key_file; no restart is needed"
	switch left := leaf.NotAfter.Sub(now); {
	case now.Before(leaf.NotBefore):
		return []finding{bad(part, "see the clock of this machine, or wait", "it is not good before %s", leaf.NotBefore.UTC().Format(time.RFC3339))}
	case left <= 0:
		return []finding{bad(part, mend, "it ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))}
	case left < soon:
		return []finding{note(part, mend, "it ends in %d days", int(left.Hours()/24))}
	}
	return nil
}

// skew is how wrong a clock may be before callers are refused.
const skew = 5 * time.Second

// lookAtClock compares this machine's clock with the database server's, or at
// least with what was written before.
func lookAtClock(ctx context.Context, cfg assembly.Config) []finding {
	const part, mend = "clock", "let the clock follow a time server (chrony, systemd-timesyncd)"
	if info, err := os.Stat(cfg.Path(cfg.Audit.File)); err == nil && time.Until(info.ModTime()) > skew {
		return []finding{bad(part, mend, "the audit record was written %v after now", time.Until(info.ModTime()).Round(time.Second))}
	}
	if cfg.Environment == assembly.Production && unsynchronised() {
		return []finding{note(part, mend, "no time server sets it")}
	}
	if !store.IsPostgres(cfg.Store.DSN) {
		return []finding{fine(part, "nothing was written after now")}
	}
	db, err := store.Open(ctx, store.Config{DSN: cfg.Store.DSN, ReadOnly: true})
	if err != nil {
		return nil // the look at the database says it
	}
	defer func() { _ = db.Close() }()
	at, _, err := db.Clock(ctx)
	if err != nil {
		return []finding{badly(part, err, "")}
	}
	if off := time.Since(at); off.Abs() > skew {
		return []finding{bad(part, mend, "it differs from the database server's by %v", off.Round(time.Second))}
	}
	return []finding{fine(part, "it agrees with the database server's")}
}

// lookAtDisks says whether there is room for what grows.
func lookAtDisks(_ context.Context, cfg assembly.Config) (found []finding) {
	dirs := map[string]bool{filepath.Dir(cfg.Path(cfg.Audit.File)): true}
	if !store.IsPostgres(cfg.Store.DSN) {
		dirs[filepath.Dir(cfg.Path(cfg.Store.DSN))] = true
	}
	for dir := range dirs {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			found = append(found, bad("disk", "make the folder, owned by the user who runs tapvault", "there is no folder %s", dir))
			continue
		}
		const mend = "make room: nothing is done that cannot be recorded"
		free := s.Bavail * uint64(s.Bsize) >> 20
		switch {
		case unix.Access(dir, unix.W_OK) != nil:
			found = append(found, bad("disk", "chown it to the user who runs tapvault", "%s cannot be written", dir))
		case free < 100:
			found = append(found, bad("disk", mend, "%s has %d MiB left", dir, free))
		case free < 1024:
			found = append(found, note("disk", mend, "%s has %d MiB left", dir, free))
		default:
			found = append(found, fine("disk", "%s has %d GiB left", dir, free>>10))
		}
	}
	return found
}

// lookAtSwap says whether memory could reach a disk. Where there is no list of
// swap, nothing is known.
func lookAtSwap(context.Context, assembly.Config) []finding {
	text, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return nil
	}
	return swapFound(string(text))
}

// swapFound reads a list of swap: a heading, then a line for each.
func swapFound(list string) []finding {
	const part = "swap"
	if n := strings.Count(strings.TrimSpace(list), "\n"); n > 0 {
		return []finding{note(part, "swapoff -a, or encrypt it, or keep the service out of it as docs/deploy/tapvault.service does (MemorySwapMax=0)",
			"memory of this machine may be written to %d places: card numbers pass through the service's", n)}
	}
	return []finding{fine(part, "there is none")}
}

// lookAtPort says whether the service could listen, or does.
func lookAtPort(ctx context.Context, cfg assembly.Config) []finding {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err == nil {
		_ = l.Close()
		return []finding{fine("port", "%s is free", cfg.Listen)}
	}
	if errors.Is(err, syscall.EADDRINUSE) && answersHealth(ctx, cfg.Listen) {
		return []finding{fine("port", "the service listens on %s", cfg.Listen)}
	}
	mend := "listen must name an address of this machine and a port that this user may open"
	if errors.Is(err, syscall.EADDRINUSE) {
		mend = "" // that of the error
	}
	return []finding{badly("port", err, mend)}
}

// answersHealth asks whoever listens whether it is the service. Nothing is told
// to it, so it need not be believed.
func answersHealth(ctx context.Context, addr string) bool {
	c := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}}}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := c.Do(q)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK && resp.Header.Get("X-Request-Id") != ""
}

// lookAtRecord says whether the audit record can be gone on with.
func lookAtRecord(_ context.Context, cfg assembly.Config) []finding {
	const part = "audit record"
	path := cfg.Path(cfg.Audit.File)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(path + ".checkpoints"); err == nil {
			return []finding{bad(part, "put the record back: its checkpoints are there", "%s is missing", path)}
		}
		return []finding{fine(part, "it begins with the first request")}
	}
	if err != nil {
		return []finding{badly(part, err, "chown it to the user who runs tapvault")}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return []finding{badly(part, err, "")}
	}
	if info.Mode().Perm()&0o077 != 0 {
		return []finding{note(part, "chmod 600 "+path, "%s can be read by others", path)}
	}
	for _, beside := range []string{".checkpoints", ".tree", ".operations"} { // somebody else's, who called a command
		f, err := os.OpenFile(path+beside, os.O_RDWR, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return []finding{badly(part, err, "chown it to the user who runs tapvault, and call commands as that user")}
		}
		_ = f.Close()
	}
	return []finding{fine(part, "%s is there; `tapvault audit verify` checks all of it", path)}
}
