package scripts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/scripts"
)

// TestDocumented: each script can be carried out, and docs/ceremony.md shows it
// as it is, with the transcript of its rehearsal, in whatever lines.
func TestDocumented(t *testing.T) {
	docs := filepath.Join("..", "..", "docs")
	guide, err := os.ReadFile(filepath.Join(docs, "ceremony.md"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := scripts.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[script.Kind]bool{}
	for _, e := range entries {
		text, err := scripts.Files.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := script.Read(text)
		if err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		kinds[plan.Script.Kind] = true
		if !strings.Contains(string(guide), string(text)) {
			t.Errorf("docs/ceremony.md does not show %s as it is", e.Name())
		}
		told, err := os.ReadFile(filepath.Join(docs, "ceremonies", strings.TrimSuffix(e.Name(), ".yaml")+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.Steps {
			if !strings.Contains(line(told), line([]byte(s.Says))) {
				t.Errorf("the transcript of %s lacks step %d: %s", e.Name(), s.Number, s.Says)
			}
		}
	}
	if len(kinds) != 11 {
		t.Errorf("%d kinds have a script", len(kinds))
	}
}

// line is a text in one line.
func line(text []byte) string { return strings.Join(strings.Fields(string(text)), " ") }
