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
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/store"
)

// lookAtFiles says whether secrets are their owner's alone.
func lookAtFiles(_ context.Context, cfg assembly.Config) []finding {
	var found []finding
	for _, f := range []struct{ field, path string }{{"hsm.pin_file", cfg.HSM.PINFile}, {"tls.key_file", cfg.TLS.KeyFile}} {
		path := cfg.Path(f.path)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			found = append(found, bad("files", "put the file there, or name another in "+f.field, "%s: %v", f.field, err))
		case info.Mode().Perm()&0o077 != 0:
			found = append(found, bad("files", "chmod 600 "+path, "%s: %s can be read by others (mode %03o)", f.field, path, info.Mode().Perm()))
		}
	}
	if found == nil {
		found = []finding{fine("files", "the PIN and the TLS key are their owner's alone")}
	}
	return found
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
	now := time.Now()
	switch left := leaf.NotAfter.Sub(now); {
	case now.Before(leaf.NotBefore):
		return []finding{bad(part, "see the clock of this machine, or wait", "it is not good before %s", leaf.NotBefore.UTC().Format(time.RFC3339))}
	case left <= 0:
		return []finding{bad(part, "put a new pair into the files of tls.cert_file and tls.key_file; no restart is needed", "it ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))}
	case left < soon:
		return []finding{note(part, "put a new pair into the files of tls.cert_file and tls.key_file; no restart is needed", "it ends in %d days", int(left.Hours()/24))}
	}
	return []finding{fine(part, "good until %s", leaf.NotAfter.UTC().Format(time.DateOnly))}
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
	if !store.IsPostgres(cfg.Store.DSN) {
		return []finding{fine(part, "nothing was written after now")}
	}
	db, err := store.Open(ctx, store.Config{DSN: cfg.Store.DSN, ReadOnly: true})
	if err != nil {
		return nil // the look at the database says it
	}
	defer func() { _ = db.Close() }()
	var ms int64
	if err := db.Read(ctx).Raw("SELECT CAST(EXTRACT(EPOCH FROM CURRENT_TIMESTAMP) * 1000 AS BIGINT)").Scan(&ms).Error; err != nil {
		return []finding{badly(part, fmt.Errorf("asking the database's clock: %w", err), "")}
	}
	if off := time.Since(time.UnixMilli(ms)); off.Abs() > skew {
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
			found = append(found, bad("disk", "make the folder, owned by the user who runs tapvault", "%s: %v", dir, err))
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
	return []finding{badly("port", err, "listen must name an address of this machine and a port that this user may open")}
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
		return []finding{bad(part, "chown it to the user who runs tapvault", "%v", err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return []finding{badly(part, err, "")}
	}
	if info.Mode().Perm()&0o077 != 0 {
		return []finding{note(part, "chmod 600 "+path, "%s can be read by others", path)}
	}
	return []finding{fine(part, "%s is there; `tapvault audit verify` checks all of it", path)}
}
