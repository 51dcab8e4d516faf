package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/vault"
)

// TestCommandsAtTheSameMoment: commands that are started together are all carried
// out, and each is in the record of what is done at the machine.
func TestCommandsAtTheSameMoment(t *testing.T) {
	s := newShop(t)
	const times = 6
	var all sync.WaitGroup
	for range times {
		all.Go(func() {
			if out, err := s.run("rewrap"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	all.Wait()
	if out := s.ok("audit", "verify", "audit.log.operations"); !strings.Contains(out, ": 6 records") {
		t.Errorf("%s", out)
	}
}

// TestImportHint: that nothing was stored is said only where it is known.
func TestImportHint(t *testing.T) {
	for _, x := range []struct {
		err  error
		says string
	}{
		{fmt.Errorf("importing: %w", store.ErrUnavailable), "or none: import again"},
		{fmt.Errorf("importing: %w", context.Canceled), "or none: import again"},
		{fmt.Errorf("importing: %w", store.ErrFull), "make room"},
		{fmt.Errorf("importing: %w", vault.ErrNotEmpty), "it was whole"},
		{fmt.Errorf("importing: %w", vault.ErrSchemas), "nothing was stored"},
	} {
		if got := importHint(x.err); !strings.Contains(got, x.says) {
			t.Errorf("%v: %q does not say %q", x.err, got, x.says)
		}
	}
	if got := importHint(store.ErrUnavailable); strings.Contains(got, "nothing was stored") {
		t.Errorf("nobody knows what was stored: %q", got)
	}
}
