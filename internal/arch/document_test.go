package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// quoted finds what stands in backquotes in a cell of a table.
var quoted = regexp.MustCompile("`([^`]+)`")

// documented returns the row of docs/architecture.md's table that names each package.
func documented(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, name := range quoted.FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			if _, twice := rows[name[1]]; twice {
				t.Errorf("docs/architecture.md names %s twice", name[1])
			}
			rows[name[1]] = i
		}
	}
	return rows
}

// TestDocumentedOrder holds docs/architecture.md to what it says of its table: it names
// every package, and a package imports only what stands above it or in its own row.
func TestDocumentedOrder(t *testing.T) {
	rows := documented(t)
	for dir, allowed := range Table {
		row, ok := rows[dir]
		if !ok {
			t.Errorf("docs/architecture.md does not name %s", dir)
			continue
		}
		for _, imp := range allowed {
			if imp != Anything && rows[imp] > row {
				t.Errorf("docs/architecture.md: %s stands above %s, which it imports", dir, imp)
			}
		}
	}
	for name := range rows {
		if _, ok := Table[name]; !ok {
			t.Errorf("docs/architecture.md names %s, which is no package", name)
		}
	}
}
