package main

import (
	"strings"
	"sync"
	"testing"
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
