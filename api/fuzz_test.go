package api

import (
	"slices"
	"strings"
	"testing"
)

// FuzzQuery: what is taken holds known names only, each with one value.
func FuzzQuery(f *testing.F) {
	names := []string{"ref", "last4", "cursor", "limit"}
	for _, s := range []string{"", "ref=x", "ref=x&ref=y", "ref=", "limit=10&last4=1234", "a%zz", "ref=%00", "ref;x=1", "&&", "ref=x&pin=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := readQuery(raw, names)
		if err != nil {
			return
		}
		if len(raw) > maxQuery {
			t.Fatal("longer than the bound")
		}
		for name, value := range got {
			if !slices.Contains(names, name) || value == "" {
				t.Fatalf("%q", name)
			}
		}
		q := request{query: got}
		if n, err := q.page(); err == nil && (n < 1 || n > 100) {
			t.Fatalf("a page of %d", n)
		}
		if p, err := places.parse(got["cursor"]); err == nil && got["cursor"] != "" && places.format(p) != got["cursor"] {
			t.Fatalf("a position has two spellings: %q", got["cursor"])
		}
	})
}

// TestUnknownParameter: who misspells a parameter is told those that there are, and
// nothing of what stood there.
func TestUnknownParameter(t *testing.T) {
	_, err := readQuery("ref=x&lasst4=1234", []string{"ref", "last4"})
	if err == nil || !strings.Contains(err.Error(), "it knows ref, last4") || strings.Contains(err.Error(), "lasst4") {
		t.Error(err)
	}
}

// FuzzForm: what is taken asks for the one grant there is, and holds an
// assertion.
func FuzzForm(f *testing.F) {
	const good = "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c"
	for _, s := range []string{good, good + "&scope=tokens%3Aread+x", good + "&client_id=bank", good + "&client_assertion=d", "", "%", "grant_type=password"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readForm(body)
		if (err == nil) == (got.assertion == "") {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}
