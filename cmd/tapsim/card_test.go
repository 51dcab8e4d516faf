package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/sim/vpcd/pcsctest"
)

// window is a terminal window that is read while it is written to.
type window struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *window) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *window) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// TestCard does what the command tells its user to do: its suggestion is run
// as it was printed.
func TestCard(t *testing.T) {
	d := pcsctest.Start(t)
	keys := filepath.Join(t.TempDir(), "keys.json")
	ctx, stop := context.WithCancel(t.Context())
	var out, problems window
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"card", "--demo-keys", keys, "--vpcd", d.Addr}, &out, &problems)
	}()
	d.AwaitCard(t)
	var suggestion string
	for line := range strings.SplitSeq(out.String(), "\n") {
		if strings.HasPrefix(line, "  opensc-tool -r") || strings.HasPrefix(line, "    -s") {
			suggestion += line + "\n"
		}
		if n := len(line); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	said, err := d.Command(t.Context(), "sh", "-c", suggestion).CombinedOutput()
	if err != nil || strings.Count(string(said), "SW1=0x90, SW2=0x00") != 3 {
		t.Errorf("%s: %s, %v", suggestion, said, err)
	}
	stop()
	if c := <-code; c != cli.OK || problems.String() != "" {
		t.Errorf("exit %d, %s", c, problems.String())
	}
	if !strings.Contains(out.String(), "taken out, with 10 of 10 slots left") {
		t.Errorf("it ends with: %s", out.String())
	}
	var got struct {
		Masters []struct{ Usage, Key string } `json:"throw_away_masters"`
	}
	text, err := os.ReadFile(keys)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil || len(got.Masters) != 2 || got.Masters[0].Usage != "42" || got.Masters[1].Usage != "62" || len(got.Masters[1].Key) != 32 {
		t.Errorf("the masters' file is not in its form: %v", err)
	}
	if c := run(t.Context(), []string{"card", "--demo-keys", keys}, &out, &problems); c != cli.Failed {
		t.Errorf("a file of masters was overwritten: exit %d", c)
	}
}
