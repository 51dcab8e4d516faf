package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedCallsAndTestsExist holds docs/emvco.md to what it points at.
func TestDocumentedCallsAndTestsExist(t *testing.T) {
	root := filepath.Join("..", "..")
	doc := read(t, filepath.Join(root, "docs", "emvco.md"))
	description := read(t, filepath.Join(root, "api", "openapi.yaml"))
	tests := testNames(t, root)
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(doc, -1)
	calls := regexp.MustCompile("`(GET|POST) (/[^`]*)`").FindAllStringSubmatch(doc, -1)
	if len(named) < 40 || len(calls) < 30 {
		t.Fatalf("the table names %d tests and %d calls: has its form changed?", len(named), len(calls))
	}
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("docs/emvco.md names %s, which does not exist", m[1])
		}
	}
	for _, m := range calls {
		at := strings.Index(description, "\n  "+m[2]+":\n")
		if at < 0 {
			t.Errorf("docs/emvco.md names %s %s, which is not described", m[1], m[2])
			continue
		}
		path := description[at+1:]
		if end := regexp.MustCompile(`\n  [/a-z]`).FindStringIndex(path); end != nil {
			path = path[:end[0]]
		}
		if !strings.Contains(path, "\n    "+strings.ToLower(m[1])+":") {
			t.Errorf("docs/emvco.md names %s %s: the path takes no %s", m[1], m[2], m[1])
		}
	}
}

// TestThreatsNameTestsThatExist holds docs/threat-model.md to the tests it
// points at.
func TestThreatsNameTestsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	tests := testNames(t, root)
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(read(t, filepath.Join(root, "docs", "threat-model.md")), -1)
	if len(named) < 10 {
		t.Errorf("the threats name %d tests: has the form changed?", len(named))
	}
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("docs/threat-model.md names %s, which does not exist", m[1])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testNames returns the name of every test function of the module.
func testNames(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	fn := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range fn.FindAllStringSubmatch(read(t, path), -1) {
			names[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
