//go:build linux

package chaos

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/internal/freeport"
)

// nextRelease is what the release of tomorrow does to the schema: it adds to
// tables that the processes of today read and write at every request.
const nextRelease = `-- +goose Up
ALTER TABLE tokens ADD COLUMN of_tomorrow TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN of_tomorrow BIGINT NOT NULL DEFAULT 0;
ALTER TABLE account_events ADD COLUMN of_tomorrow INTEGER NOT NULL DEFAULT 1;
CREATE TABLE of_tomorrow (id BIGINT NOT NULL PRIMARY KEY);
`

// TestRollingUpgrade replaces a release by the next while callers call, behind
// the HAProxy of docs/deploy: the schema is migrated under the old processes, one
// of which is started again on it, each is replaced by the new program, and one
// goes back. No request fails, and none has to be sent again.
func TestRollingUpgrade(t *testing.T) {
	dir := t.TempDir()
	old, next := build(t, dir, "old"), build(t, dir, "next", "-overlay", overlay(t, dir))
	f, err := newFleet(t.Context(), Config{Bin: old, Dir: filepath.Join(dir, "home"), Nodes: 2, Callers: 6,
		prepare: func(_ context.Context, f *fleet) error { f.notice = "6s"; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	front := balance(t, f, dir)
	// One caller's view: everything goes to the balancer.
	l, err := newLoad(t.Context(), &fleet{cards: f.cards, papers: f.papers, nodes: []*node{front.node}}, Config{Callers: 6})
	if err != nil {
		t.Fatal(err)
	}
	l.begin(t.Context())
	defer l.finish()
	step := func(name string, do func() error) {
		t.Helper()
		answered := l.answered.Load()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for l.answered.Load() < answered+100 && l.failure() == nil { // the load goes on
			time.Sleep(10 * time.Millisecond)
		}
		if err := l.failure(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s: %d answered, %d sent again", name, l.answered.Load()-answered, l.again.Load())
	}
	replace := func(n *node, bin string) func() error {
		return func() error {
			n.mu.Lock()
			n.bin = bin
			n.mu.Unlock()
			if err := n.end(t.Context(), syscall.SIGTERM, 0); err != nil {
				return err
			}
			if err := f.up(t.Context(), n); err != nil {
				return err
			}
			return front.sees(t.Context(), n)
		}
	}
	first, second := f.nodes[0], f.nodes[1]
	step("the new program migrates", func() error {
		out, err := exec.CommandContext(t.Context(), next, "migrate", "--config", second.config).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "schema 9001") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	step("an old process starts again", replace(first, old))
	step("the first is replaced", replace(first, next))
	step("the second is replaced", replace(second, next))
	step("the second goes back", replace(second, old))
	l.finish()
	if n := l.again.Load(); n != 0 {
		t.Errorf("%d requests had to be sent again", n)
	}
	rep := Report{Rows: []Row{}}
	if err := f.judge(t.Context(), l, &rep); err != nil || rep.Lost != 0 || len(rep.Wrong) > 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func build(t *testing.T, dir, name string, flags ...string) (bin string) {
	t.Helper()
	bin = filepath.Join(dir, name)
	args := append(append([]string{"build"}, flags...), "-o", bin, "../../../cmd/tapvault")
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// overlay makes the compiler see one migration more than there is.
func overlay(t *testing.T, dir string) (file string) {
	t.Helper()
	where, err := filepath.Abs("../../store/migrations/9001_of_tomorrow.sql")
	if err != nil {
		t.Fatal(err)
	}
	migration, file := filepath.Join(dir, "next.sql"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{where: migration}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{migration: []byte(nextRelease), file: text} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// balancer is HAProxy before the processes.
type balancer struct {
	node    *node // how callers reach it
	control string
	names   map[*node]string
}

// balance starts HAProxy with the configuration that docs/deploy shows: only
// addresses, names and the number of connections are of this machine.
func balance(t *testing.T, f *fleet, dir string) *balancer {
	t.Helper()
	text, err := os.ReadFile("../../../docs/deploy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{node: &node{config: filepath.Join(dir, "haproxy.cfg")}, names: map[*node]string{}}
	if b.node.addr, err = freeport.Address(); err != nil {
		t.Fatal(err)
	}
	sockets, err := os.MkdirTemp("", "tapvault-haproxy-") // the path of a socket may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	b.control = filepath.Join(sockets, "control")
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.papers.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := strings.NewReplacer("bind :8443", "bind "+b.node.addr, "tapvault.example", "localhost", "/etc/haproxy/tapvault-ca.pem", ca,
		"stats socket /run/haproxy/admin.sock", "stats socket "+b.control, "maxconn 20000", "maxconn 200", "user haproxy", "", "group haproxy", "").Replace(string(text))
	cfg = regexp.MustCompile(`(?m)^ +server .*\n`).ReplaceAllString(cfg, "")
	for i, n := range f.nodes {
		b.names[n] = fmt.Sprintf("node%d", i+1)
		cfg += fmt.Sprintf("    server %s %s\n", b.names[n], n.addr)
	}
	if err := os.WriteFile(b.node.config, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, b.node.config)
	b.node.http = newHTTP(f, 6)
	b.node.http.Timeout = time.Minute // a busy machine is not what is tested
	for id, c := range map[string]**client.Client{"issuer": &b.node.client, "terminal": &b.node.reader} {
		key, err := client.ReadKey(filepath.Join(f.home, "clients", id+".pem"))
		if err != nil {
			t.Fatal(err)
		}
		if *c, err = client.New(client.Config{BaseURL: "https://" + b.node.addr, ClientID: id, Key: key, HTTP: b.node.http,
			Audience: "https://localhost:8443"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range f.nodes {
		if err := b.sees(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// start runs HAProxy until the test ends.
func start(t *testing.T, config string) {
	t.Helper()
	log, err := os.Create(config + ".log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("/usr/sbin/haproxy", "-db", "-f", config)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("HAProxy does not start: scripts/setup.sh test installs it: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(config + ".log")
			t.Logf("HAProxy said:\n%s", said[max(0, len(said)-4000):])
		}
	})
}

// sees waits until HAProxy gives work to a process.
func (b *balancer) sees(ctx context.Context, n *node) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if state, err := b.state(b.names[n]); err == nil && state == "UP" {
			return nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("HAProxy does not see %s", b.names[n])
}

// state asks what HAProxy thinks of a server.
func (b *balancer) state(server string) (string, error) {
	c, err := net.Dial("unix", b.control)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, "show stat"); err != nil {
		return "", err
	}
	r := csv.NewReader(bufio.NewReader(c))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return "", err
	}
	for _, row := range rows {
		if len(row) > 17 && row[1] == server {
			return row[17], nil
		}
	}
	return "", fmt.Errorf("HAProxy knows no %s", server)
}
