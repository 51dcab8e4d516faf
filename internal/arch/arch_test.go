package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tapvault/tapvault/"

// pkg is what the table judges of one folder: imports and calls of its
// non-test files, and whether its package comment says what it is for.
type pkg struct {
	dir     string
	imports map[string]string // path → a file that has it
	calls   map[string]string
	doc     bool
}

func load(t *testing.T) map[string]*pkg {
	t.Helper()
	root := filepath.Join("..", "..")
	pkgs := map[string]*pkg{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); path != root && (strings.HasPrefix(n, ".") || n == "testdata" || n == "bin" || n == "build" || n == "run") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir, _ := filepath.Rel(root, filepath.Dir(path))
		p := pkgs[filepath.ToSlash(dir)]
		if p == nil {
			p = &pkg{dir: filepath.ToSlash(dir), imports: map[string]string{}, calls: map[string]string{}}
			pkgs[p.dir] = p
		}
		return p.read(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func (p *pkg) read(path string) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	p.doc = p.doc || (f.Doc != nil && (strings.HasPrefix(f.Doc.Text(), "Package ") || strings.HasPrefix(f.Doc.Text(), "Command ")))
	for _, i := range f.Imports {
		p.imports[strings.Trim(i.Path.Value, `"`)] = path
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil {
				p.calls[x.Name+"."+s.Sel.Name] = path
			}
		}
		return true
	})
	return nil
}

func TestImportTable(t *testing.T) {
	pkgs := load(t)
	for dir, p := range pkgs {
		allowed, ok := Table[dir]
		if !ok {
			t.Errorf("package %s is not in the import table", dir)
			continue
		}
		if !p.doc {
			t.Errorf("package %s does not open with a sentence that says what it is for", dir)
		}
		if slices.Contains(allowed, Anything) {
			continue
		}
		for imp, file := range p.imports {
			if own, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s: %s may not import %s", file, dir, own)
			}
		}
	}
	for dir, allowed := range Table {
		if pkgs[dir] == nil {
			t.Errorf("the import table names %s, which does not exist", dir)
		}
		for _, a := range allowed {
			if a != Anything && pkgs[a] == nil {
				t.Errorf("the line of %s names %s, which does not exist", dir, a)
			}
		}
	}
}

func TestThirdPartyOwners(t *testing.T) {
	for dir, p := range load(t) {
		for imp, file := range p.imports {
			for prefix, owners := range Owners {
				if (imp == prefix || strings.HasPrefix(imp, prefix)) && !slices.Contains(owners, dir) && prefix != "flag" || imp == "flag" && prefix == "flag" && !slices.Contains(owners, dir) {
					t.Errorf("%s: %s belongs to %v, not to %s", file, imp, owners, dir)
				}
			}
		}
	}
}

func TestCalls(t *testing.T) {
	for dir, p := range load(t) {
		for call, owners := range Calls {
			if file, ok := p.calls[call]; ok && owners != nil && !slices.Contains(owners, dir) {
				t.Errorf("%s: %s is for %v only", file, call, owners)
			}
		}
	}
}

func TestDeviceSideIsLight(t *testing.T) {
	pkgs := load(t)
	for _, start := range CGoFree {
		seen := map[string]bool{}
		var walk func(dir, via string)
		walk = func(dir, via string) {
			p := pkgs[dir]
			if p == nil || seen[dir] {
				return
			}
			seen[dir] = true
			for imp := range p.imports {
				for _, h := range Heavy {
					if imp == h || (h != "C" && strings.HasPrefix(imp, h)) {
						t.Errorf("%s reaches %s through %s", start, imp, via+" → "+dir)
					}
				}
				if own, ok := strings.CutPrefix(imp, module); ok {
					walk(own, via+" → "+dir)
				}
			}
		}
		walk(start, start)
	}
}
