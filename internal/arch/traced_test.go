package arch

import (
	"go/ast"
	"go/types"
	"regexp"
	"slices"
	"testing"
)

// keyName is what keys, and what is worth as much, are called here.
var keyName = regexp.MustCompile(`(?i)^(k|kek|.*keys?|.*secret|parent|above|seed|pin|digits|user|device|card|.*mac[0-9]?|.*tac|ac|want|got|asn)$`)

// trace is what is left of the ten words and bytes of a function's arguments that
// the trace of a crash prints.
type trace int

// prints walks through t as the compiler does, and reports whether four bytes or
// more of an array are printed that is called like a key.
func (left *trace) prints(t types.Type, name string) (found bool) {
	if t == nil || *left <= 0 {
		return false
	}
	switch u := t.Underlying().(type) {
	case *types.Array:
		if n, ok := t.(*types.Named); ok {
			name = n.Obj().Name()
		}
		b, ok := u.Elem().Underlying().(*types.Basic)
		found = ok && b.Kind() == types.Uint8 && min(u.Len(), int64(*left)) >= 4 && keyName.MatchString(name)
		for range min(u.Len(), int64(*left)) {
			found = left.prints(u.Elem(), name) || found
		}
	case *types.Struct:
		for f := range u.Fields() {
			found = left.prints(f.Type(), f.Name()) || found
		}
	case *types.Slice:
		*left -= 3
	case *types.Interface:
		*left -= 2
	case *types.Basic:
		*left--
		if u.Info()&types.IsString != 0 {
			*left--
		}
	default:
		*left--
	}
	return found
}

// printing lists the functions of a package that are handed a key so that a trace
// shows it, as "package function".
func (c *comparer) printing(dir string) (all []string) {
	for _, f := range c.files[dir] {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			left := trace(10)
			handed := fn.Type.Params.List
			if fn.Recv != nil {
				handed = append(slices.Clone(fn.Recv.List), handed...)
			}
			for _, p := range handed {
				names := p.Names
				if len(names) == 0 {
					names = []*ast.Ident{{Name: "_"}}
				}
				for _, n := range names {
					if left.prints(c.info.Types[p.Type].Type, n.Name) {
						all = append(all, dir+" "+fn.Name.Name)
					}
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestTracesShowNoKeys: no function is handed a key so that the trace of a crash
// prints it. What a pointer leads to is not printed.
func TestTracesShowNoKeys(t *testing.T) {
	whole(t, (*comparer).printing, Shown, "is handed what may be a key, and a crash would print it: hand over a pointer, or say in Shown why it is none")
}

// TestPrintingIsFound holds the analysis itself to examples.
func TestPrintingIsFound(t *testing.T) {
	const text = `package x
type Key [16]byte
type pair struct{ n int; key [8]byte }
func (p pair) bad1() {}
func bad2(a int, s string, k [16]byte) {}
func bad3(pair) {}
func bad4(b []byte, of Key) {}
func bad5(mac2 [4]byte, err error) {}
func good1(k *[16]byte) {}
func good2(a, b, c []byte, k [16]byte) {}
func good3(rand [4]byte) {}
func good4(k []byte, pin string) {}
`
	if got, want := listed(t, text, (*comparer).printing), []string{". bad1", ". bad2", ". bad3", ". bad4", ". bad5"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
