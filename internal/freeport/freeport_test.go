package freeport_test

import (
	"net"
	"testing"

	"github.com/tapvault/tapvault/internal/freeport"
)

// TestAddress: somebody can listen there, and whoever asks for any port gets
// another.
func TestAddress(t *testing.T) {
	for range 20 {
		at, err := freeport.Address()
		if err != nil {
			t.Fatal(err)
		}
		any, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := any.Close(); err != nil {
			t.Error(err)
		}
	}
}
