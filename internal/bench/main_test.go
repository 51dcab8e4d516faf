package bench

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// TestMain is also the client of the benches over HTTP, which run this program
// again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ClientCommand {
		if err := Client(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
