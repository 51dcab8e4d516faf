//go:build linux

package chaos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fault is one way of breaking the service. play returns when the cause has
// gone.
type fault struct {
	name   string
	once   bool // it cannot be played again in one run
	silent bool // no process may hang up on a request, or fail
	busy   bool // some have to be told to come back
	play   func(ctx context.Context, f *fleet, l *load, round int) error
	// whole waits until what readiness does not wait for is whole again; may be nil.
	whole func(ctx context.Context, f *fleet) error
}

// hold is how long a fault lasts that does not end by itself.
const hold = 3 * time.Second

var faults = []fault{
	{name: "kill", play: func(ctx context.Context, f *fleet, _ *load, round int) error {
		return f.nodes[round%len(f.nodes)].end(ctx, syscall.SIGKILL, 0)
	}},
	{name: "database-restart", play: func(ctx context.Context, f *fleet, _ *load, _ int) error {
		if err := f.servers[f.first].Crash(); err != nil {
			return err
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
		return f.servers[f.first].Restart(ctx)
	}},
	{name: "database-failover", once: true, play: failover},
	{name: "database-cut", play: func(ctx context.Context, f *fleet, _ *load, round int) error {
		return f.wires(ctx, round, (*line).sever)
	}},
	{name: "database-stall", play: func(ctx context.Context, f *fleet, _ *load, round int) error {
		return f.wires(ctx, round, (*line).hold)
	}},
	{name: "process-stopped", play: func(ctx context.Context, f *fleet, _ *load, round int) error {
		n := f.nodes[round%len(f.nodes)]
		if err := n.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		err := wait(ctx, hold)
		return joined(err, n.signal(syscall.SIGCONT))
	}},
	{name: "disk-full", play: diskFull},
	{name: "hsm-lost", play: func(ctx context.Context, f *fleet, _ *load, _ int) error {
		f.shim.Remove()
		defer f.shim.Insert()
		return wait(ctx, hold)
	}},
	{name: oneOfTwo, silent: true, play: breakSpare, whole: func(ctx context.Context, f *fleet) error { return f.spareStands(ctx, "ok") }},
	{name: "clock-step", play: clockStep},
	{name: "overload", busy: true, play: func(ctx context.Context, _ *fleet, l *load, _ int) error { return l.crowd(ctx, 2*hold) }},
	{name: "certificate", silent: true, play: newCertificate},
	{name: "new-key", once: true, play: newKey},
	{name: "rolling-restart", silent: true, play: func(ctx context.Context, f *fleet, l *load, _ int) error { return f.roll(ctx, l) }},
}

func joined(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// failover ends the first server and makes its standby the first.
func failover(ctx context.Context, f *fleet, _ *load, _ int) error {
	if err := f.servers[0].Crash(); err != nil {
		return err
	}
	f.first = 1
	return f.servers[1].Promote(ctx)
}

// wires does something to the wires of one process for a while.
func (f *fleet) wires(ctx context.Context, round int, do func(*line)) error {
	n := f.nodes[(round+1)%len(f.nodes)]
	for _, w := range n.wires {
		do(w)
	}
	err := wait(ctx, hold)
	for _, w := range n.wires {
		w.mend()
	}
	return err
}

// diskFull lets no file of a process grow for a while.
func diskFull(ctx context.Context, f *fleet, _ *load, round int) error {
	n := f.nodes[round%len(f.nodes)]
	info, err := os.Stat(filepath.Join(f.home, fmt.Sprintf("audit-%d.log", round%len(f.nodes))))
	if err != nil {
		return err
	}
	var was unix.Rlimit
	if err := unix.Prlimit(n.pid(), unix.RLIMIT_FSIZE, nil, &was); err != nil {
		return err
	}
	full := unix.Rlimit{Cur: uint64(info.Size()), Max: was.Max}
	if err := unix.Prlimit(n.pid(), unix.RLIMIT_FSIZE, &full, nil); err != nil {
		return err
	}
	err = wait(ctx, hold)
	back := unix.Prlimit(n.pid(), unix.RLIMIT_FSIZE, &was, nil)
	if errors.Is(back, unix.ESRCH) { // it ended, and is started again without the limit
		back = nil
	}
	return joined(err, back)
}

// clockStep sets the clock of one process wrong, forwards and then backwards.
func clockStep(ctx context.Context, f *fleet, _ *load, round int) error {
	n := f.nodes[(round+len(f.nodes)-1)%len(f.nodes)]
	for _, step := range []string{"20m", "-20m"} {
		if err := n.end(ctx, syscall.SIGTERM, 0, "--clock-offset", step); err != nil {
			return err
		}
		if err := f.up(ctx, n); err != nil {
			return err
		}
		if err := wait(ctx, hold/2); err != nil {
			return err
		}
	}
	return n.end(ctx, syscall.SIGTERM, 0)
}

// newCertificate puts a new certificate and key in the place of the old ones,
// and waits until every process shows it.
func newCertificate(ctx context.Context, f *fleet, _ *load, _ int) error {
	number, err := f.papers.issue(filepath.Join(f.home, "tls"))
	if err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; {
		all := true
		for _, n := range f.nodes {
			all = all && f.shows(ctx, n, number)
		}
		if all {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("a process does not show the new certificate")
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (f *fleet) shows(ctx context.Context, n *node, number *big.Int) bool {
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: f.papers.pool, ServerName: "localhost"}}
	c, err := d.DialContext(ctx, "tcp", n.addr)
	if err != nil {
		return false
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Cmp(number) == 0
}

// newKey brings a new version of the key that seals card numbers, has every
// process write under it, one after the other, and all rows rewritten, under load.
func newKey(ctx context.Context, f *fleet, l *load, _ int) error {
	config := f.nodes[len(f.nodes)-1].config
	if err := f.run(ctx, "keys", "generate", "--usage", "pan-seal", "--version", "2", "--config", config); err != nil {
		return err
	}
	for _, n := range f.nodes {
		text, err := os.ReadFile(n.config)
		if err != nil {
			return err
		}
		const at = "vault:\n"
		if err := os.WriteFile(n.config, []byte(strings.Replace(string(text), at, at+"  key_versions: {pan_seal: 2}\n", 1)), 0o600); err != nil {
			return err
		}
	}
	if err := f.roll(ctx, l); err != nil {
		return err
	}
	if err := f.run(ctx, "rewrap", "--config", config); err != nil {
		return err
	}
	return f.run(ctx, "keys", "retire", "--usage", "pan-seal", "--version", "1", "--config", config)
}

// roll starts one process after the other again, each when the one before is
// given work again.
func (f *fleet) roll(ctx context.Context, l *load) error {
	for i, n := range f.nodes {
		if err := n.end(ctx, syscall.SIGTERM, 0); err != nil {
			return err
		}
		if err := f.up(ctx, n); err != nil {
			return err
		}
		for !l.well[i].Load() {
			if err := errors.Join(wait(ctx, 50*time.Millisecond), l.failure()); err != nil {
				return err
			}
		}
	}
	return nil
}
