package vault_test

import (
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// BenchmarkIssue makes tokens for cards that are known already, each in a
// durable transaction of its own.
func BenchmarkIssue(b *testing.B) {
	f := vaulttest.New(b)
	w := f.Writer()
	for n := range 64 {
		if _, err := w.Issue(b.Context(), f.Order(b, n), "bank", access.Attempt{}); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.Issue(b.Context(), f.Order(b, int(n.Add(1)%64)), "bank", access.Attempt{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkPAN gives card numbers back.
func BenchmarkPAN(b *testing.B) {
	f := vaulttest.New(b)
	tok, err := f.Writer().Issue(b.Context(), f.Order(b, 1), "bank", access.Attempt{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := f.Opener().PAN(b.Context(), tok.Ref); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkToken reads tokens.
func BenchmarkToken(b *testing.B) {
	f := vaulttest.New(b)
	tok, err := f.Writer().Issue(b.Context(), f.Order(b, 1), "bank", access.Attempt{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := f.Reader().Token(b.Context(), tok.Ref); err != nil {
			b.Fatal(err)
		}
	}
}
