package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// comparer finds comparisons that end at the first difference. It type-checks
// this module's own packages in this process; what others export is opaque to
// it, and then names decide.
type comparer struct {
	root  string
	fset  *token.FileSet
	pkgs  map[string]*types.Package
	info  types.Info
	files map[string][]*ast.File
}

func newComparer(root string) *comparer {
	return &comparer{root: root, fset: token.NewFileSet(), pkgs: map[string]*types.Package{}, files: map[string][]*ast.File{},
		info: types.Info{Types: map[ast.Expr]types.TypeAndValue{}}}
}

// Import implements [types.Importer]. A package of somebody else is empty.
func (c *comparer) Import(path string) (*types.Package, error) {
	if p := c.pkgs[path]; p != nil {
		return p, nil
	}
	if own, ok := strings.CutPrefix(path, module); ok {
		return c.check(own)
	}
	p := types.NewPackage(path, path[strings.LastIndex(path, "/")+1:])
	p.MarkComplete()
	c.pkgs[path] = p
	return p, nil
}

// check reads one package without its tests. Errors are expected: half of the
// world is missing.
func (c *comparer) check(dir string) (*types.Package, error) {
	entries, err := os.ReadDir(filepath.Join(c.root, dir))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(c.fset, filepath.Join(c.root, dir, e.Name()), nil, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	cfg := types.Config{Importer: c, Error: func(error) {}, FakeImportC: true}
	p, _ := cfg.Check(module+dir, c.fset, files, &c.info)
	c.pkgs[module+dir], c.files[dir] = p, files
	return p, nil
}

var _ types.Importer = (*comparer)(nil)

// secretName is what secrets and proofs are called here.
var secretName = regexp.MustCompile(`(?i)^(.*mac[0-9]?|.*tac|arqc|arpc|ac|.*cryptogram|cvv2?|icvv|cvc3|pin|.*secret|.*password|kcv|authcode)$`)

// early are functions that end at the first difference.
var early = map[string]bool{"bytes.Equal": true, "bytes.Compare": true, "slices.Equal": true, "slices.Compare": true, "reflect.DeepEqual": true,
	"strings.Compare": true, "strings.EqualFold": true, "bytes.HasPrefix": true, "bytes.EqualFold": true}

// found lists the early comparisons of a package as "package function: text".
func (c *comparer) found(dir string) (all []string) {
	for _, f := range c.files[dir] {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if c.suspicious(n) {
					all = append(all, dir+" "+fn.Name.Name)
				}
				return true
			})
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *comparer) suspicious(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		sel, ok := n.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		x, ok := sel.X.(*ast.Ident)
		return ok && early[x.Name+"."+sel.Sel.Name]
	case *ast.BinaryExpr:
		if n.Op != token.EQL && n.Op != token.NEQ || c.fixed(n.X) || c.fixed(n.Y) {
			return false
		}
		return c.isBytes(n.X) || c.isBytes(n.Y) || c.isSecret(n.X) || c.isSecret(n.Y)
	case *ast.SwitchStmt:
		return n.Tag != nil && (c.isBytes(n.Tag) || c.isSecret(n.Tag))
	}
	return false
}

// fixed reports whether an operand is known to everybody: nil, a constant, or a
// literal such as [4]byte{}.
func (c *comparer) fixed(e ast.Expr) bool {
	for {
		p, ok := e.(*ast.ParenExpr)
		if !ok {
			break
		}
		e = p.X
	}
	if lit, ok := e.(*ast.CompositeLit); ok {
		return len(lit.Elts) == 0
	}
	if id, ok := e.(*ast.Ident); ok && id.Name == "nil" {
		return true
	}
	tv := c.info.Types[e]
	_, literal := e.(*ast.BasicLit)
	return literal || tv.Value != nil || tv.IsNil()
}

// isBytes reports whether e is an array of bytes, or holds one.
func (c *comparer) isBytes(e ast.Expr) bool { return holdsBytes(c.info.Types[e].Type, 3) }

func holdsBytes(t types.Type, depth int) bool {
	if t == nil || depth == 0 {
		return false
	}
	switch u := t.Underlying().(type) {
	case *types.Array:
		b, ok := u.Elem().Underlying().(*types.Basic)
		return ok && b.Kind() == types.Uint8
	case *types.Struct:
		for f := range u.Fields() {
			if holdsBytes(f.Type(), depth-1) {
				return true
			}
		}
	}
	return false
}

// isSecret reports whether e is called like a secret and is text, bytes or of
// an unknown type.
func (c *comparer) isSecret(e ast.Expr) bool {
	var name string
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	case *ast.CallExpr: // string(mac)
		if fn, ok := e.Fun.(*ast.Ident); ok && (fn.Name == "len" || fn.Name == "cap") {
			return false
		}
		return len(e.Args) == 1 && c.isSecret(e.Args[0])
	case *ast.SliceExpr:
		return c.isSecret(e.X)
	case *ast.IndexExpr:
		return c.isSecret(e.X)
	}
	if !secretName.MatchString(name) {
		return false
	}
	t := c.info.Types[e].Type
	if t == nil || t == types.Typ[types.Invalid] {
		return true
	}
	b, ok := t.Underlying().(*types.Basic)
	return !ok || b.Info()&types.IsString != 0
}

// TestSecretsAreComparedInConstantTime: every comparison that could end at the
// first difference is of values that are no secrets, and says why.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	whole(t, (*comparer).found, Public, "compares what may be secret, and ends at the first difference: use crypto/subtle, or say in Public why it is none")
}

// whole looks through every package for what find lists, and takes what allowed
// names, with its reason, and nothing that it names for nothing.
func whole(t *testing.T, find func(*comparer, string) []string, allowed map[string]string, wrong string) {
	t.Helper()
	c := newComparer(filepath.Join("..", ".."))
	seen := map[string]bool{}
	for _, dir := range slices.Sorted(maps.Keys(Table)) {
		if _, err := c.Import(module + dir); err != nil {
			t.Fatal(err)
		}
		for _, at := range find(c, dir) {
			seen[at] = true
			in, _, _ := strings.Cut(at, " ")
			seen[in+" *"] = true
			if allowed[at] == "" && allowed[in+" *"] == "" {
				t.Errorf("%s %s", at, wrong)
			}
		}
	}
	for at := range allowed {
		if !seen[at] {
			t.Errorf("%s is allowed what it does not do", at)
		}
	}
}

// listed is what find lists of a package x of one file.
func listed(t *testing.T, text string, find func(*comparer, string) []string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newComparer(dir)
	if _, err := c.check("."); err != nil {
		t.Fatal(err)
	}
	return find(c, ".")
}

// TestComparerFinds holds the analysis itself to examples.
func TestComparerFinds(t *testing.T) {
	const text = `package x
import ("bytes"; "crypto/subtle")
type MAC [4]byte
type proof struct{ mac MAC; n int }
func bad1(a, b MAC) bool { return a == b }
func bad2(a, b []byte) bool { return bytes.Equal(a, b) }
func bad3(a, b [8]byte) bool { if (a) != b { return true }; return false }
func bad4(a, b proof) bool { return a == b }
func bad5(cvv, want string) bool { return cvv == want }
func bad6(mac2, b []byte) bool { return string(mac2) == string(b) }
func bad7(a, b MAC) bool { switch a { case b: return true }; return false }
func bad8(a []byte, tac MAC) bool { return a[0] == tac[0] }
func good1(a, b MAC) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
func good2(a MAC) bool { return a == MAC{} }
func good3(mac []byte) bool { return mac == nil || len(mac) == 4 }
func good4(a, b int) bool { return a == b }
func good5(pin string) bool { return pin == "" }
`
	var want []string
	for n := range 8 {
		want = append(want, fmt.Sprintf(". bad%d", n+1))
	}
	if got := listed(t, text, (*comparer).found); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
