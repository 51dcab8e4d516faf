package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/keyceremony/engine"
)

// TestRehearsalIsRead: a rehearsal fits a terminal, and its transcript names the
// program as `keyceremony version` does.
func TestRehearsalIsRead(t *testing.T) {
	dir := t.TempDir()
	var out, told, version bytes.Buffer
	if code := run(t.Context(), []string{"rehearse", "../../keyceremony/scripts/import-components.yaml", "--out", dir, "--yes"}, nil, &out, &told); code != cli.OK {
		t.Fatalf("exit %d, %s", code, told.String())
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > cli.Columns+1 && !strings.Contains(line, dir) {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	if code := run(t.Context(), []string{"version"}, nil, &version, &told); code != cli.OK {
		t.Fatalf("exit %d, %s", code, told.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, engine.TranscriptFile))
	if err != nil {
		t.Fatal(err)
	}
	if said := strings.TrimSpace(version.String()); said == "" || !strings.Contains(string(text), `"program":"`+said+`"`) {
		t.Errorf("the transcript does not say %q", said)
	}
}

// TestNothingToGoOnWith: where a ceremony is over already, nobody is told to go on with
// it.
func TestNothingToGoOnWith(t *testing.T) {
	rehearse := []string{"rehearse", "../../keyceremony/scripts/import-components.yaml", "--out", t.TempDir(), "--yes"}
	var out, told bytes.Buffer
	if code := run(t.Context(), rehearse, nil, &out, &told); code != cli.OK {
		t.Fatalf("exit %d, %s", code, told.String())
	}
	told.Reset()
	code := run(t.Context(), rehearse, nil, &out, &told)
	if said := told.String(); code != cli.Failed || !strings.Contains(said, "name another folder") || strings.Contains(said, "nothing is lost") {
		t.Errorf("exit %d, %s", code, said)
	}
}
