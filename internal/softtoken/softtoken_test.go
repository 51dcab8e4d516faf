package softtoken_test

import (
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// TestScratch makes a token on each module and opens it.
func TestScratch(t *testing.T) {
	for _, m := range softtoken.Modules {
		cfg, err := m.Scratch(t.Context(), t.TempDir(), "a scratch", "123456")
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		tok, err := hsm.Open(t.Context(), cfg)
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		if err := tok.Health(t.Context()); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if err := tok.Close(); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

func TestFind(t *testing.T) {
	if m, err := softtoken.Find(""); err != nil || m.Name != "softhsm" {
		t.Errorf("the default is %q, %v", m.Name, err)
	}
	if m, err := softtoken.Find("nss"); err != nil || m.Name != "nss" {
		t.Errorf("nss is %q, %v", m.Name, err)
	}
	if _, err := softtoken.Find("other"); err == nil {
		t.Error("an unknown module was found")
	}
}

// TestNSSHome: what would end the reserved string early is refused.
func TestNSSHome(t *testing.T) {
	m, err := softtoken.Find("nss")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a'b", "a]b", "a>b", `a\b`} {
		if _, err := m.Home(t.TempDir()+"/"+dir, "x"); err == nil {
			t.Errorf("%q was taken", dir)
		}
	}
	for _, n := range []int{0, 97} {
		if _, err := m.Home(t.TempDir(), make([]string, n)...); err == nil {
			t.Errorf("%d tokens were taken", n)
		}
	}
}
