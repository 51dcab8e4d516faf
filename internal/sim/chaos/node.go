//go:build linux

package chaos

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tapvault/tapvault/api/client"
)

// node is one process of the service, and how it is reached.
type node struct {
	bin, config, addr string
	http              *http.Client
	client            *client.Client
	env               []string

	reader, auditor, phones *client.Client // other callers
	wires                   []*line        // to the database servers

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	args  []string      // besides --config
	held  bool          // nobody starts it again meanwhile
}

// start runs the process, and leaves it to callers to find out when it answers.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.launch()
}

func (n *node) launch() error {
	log, err := os.OpenFile(n.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(n.bin, append([]string{"serve", "--config", n.config}, n.args...)...)
	cmd.Dir, cmd.Env, cmd.Stderr = filepath.Dir(n.config), append(os.Environ(), n.env...), log
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		_ = cmd.Wait() // it says how it was ended
		close(ended)
	}(n.ended)
	return nil
}

// end signals the process, waits until it has ended, and starts it again, with
// other arguments besides --config, after rest.
func (n *node) end(ctx context.Context, s syscall.Signal, rest time.Duration, args ...string) error {
	n.mu.Lock()
	n.held, n.args = true, args
	cmd, ended := n.cmd, n.ended
	n.mu.Unlock()
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-ended:
	case <-time.After(patience):
		return fmt.Errorf("%s does not end", n.config)
	}
	if err := wait(ctx, rest); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held = false
	return n.launch()
}

// watch starts the process again when it ended by itself, as whoever runs it for
// real does.
func (n *node) watch(ctx context.Context) {
	for wait(ctx, 200*time.Millisecond) == nil {
		n.mu.Lock()
		select {
		case <-n.ended:
			if !n.held {
				_ = n.launch()
			}
		default:
		}
		n.mu.Unlock()
	}
}

func (n *node) signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Signal(s)
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

// stop ends the process for good.
func (n *node) stop() error {
	n.mu.Lock()
	n.held = true
	cmd, ended := n.cmd, n.ended
	n.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(patience):
	}
	return errors.Join(fmt.Errorf("%s does not end", n.config), cmd.Process.Kill())
}

// ready asks whether the process is.
func (n *node) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.addr+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := n.http.Do(q)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// memory is what the process has resident, in MiB, and the most it ever had.
func (n *node) memory() (now, most float64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.pid()))
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			now = kib / 1024
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			most = kib / 1024
		}
	}
	return now, most
}

// said is the end of the process's log.
func (n *node) said() string {
	b, _ := os.ReadFile(n.config + ".log")
	return string(b[max(0, len(b)-2000):])
}

// newHTTP is a client that speaks HTTP/1.1, over as many connections as there
// are callers at most.
func newHTTP(f *fleet, callers int) *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &teller{f, &http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: f.papers.pool},
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxIdleConnsPerHost: 5*callers + 8, IdleConnTimeout: 30 * time.Second,
	}}}
}

// teller counts who was told to come back because a process is busy.
type teller struct {
	f  *fleet
	to *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *teller) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := t.to.RoundTrip(q)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || q.Method == http.MethodGet {
		return resp, err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(text))
	switch {
	case resp.Header.Get("Retry-After") == "":
		t.f.mute.Add(1)
	case bytes.Contains(text, []byte("problem:overloaded")):
		t.f.busy.Add(1)
	}
	return resp, err
}

// nodeConfig is what the configuration of a process has for itself, beside its port; all else
// is shared.
type nodeConfig struct {
	dsn    string // through wires of its own
	record string // file of the audit record
	module string // "": the shared one
	spare  string // module of a second token; "": it has none
	notice string // how long it says that it is about to stop
	calls  int    // at a time
}

// writeConfig writes the configuration of a process, from the one of the home folder.
func (n *node) writeConfig(home string, o nodeConfig) error {
	text, err := os.ReadFile(filepath.Join(home, "tapvault.yaml"))
	if err != nil {
		return err
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "listen:"):
			// One process can serve all callers, but not a crowd of them.
			line = fmt.Sprintf("listen: %s\nstop_notice: %s\nmax_in_flight: %d\n", n.addr, o.notice, o.calls)
		case strings.HasPrefix(line, "  dsn:"):
			line = fmt.Sprintf("  dsn: %q\n", o.dsn)
		case strings.HasPrefix(line, "  file: audit.log"):
			line = "  file: " + o.record + "\n  checkpoint_every: 2s\n"
		case strings.HasPrefix(line, "  module:") && o.module != "":
			line = "  module: " + o.module + "\n"
		case strings.HasPrefix(line, "  module:") && o.spare != "":
			line += "  others: [{module: " + o.spare + "}]\n"
		}
		out.WriteString(line)
	}
	return os.WriteFile(n.config, []byte(out.String()), 0o600)
}
