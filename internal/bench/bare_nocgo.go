//go:build !cgo

package bench

import (
	"time"

	"github.com/tapvault/tapvault/hsm"
)

// bare cannot exist in a build without cgo.
type bare struct{}

func openBare(module, token, label string) (*bare, error) { return nil, hsm.ErrUnavailable }

func (*bare) close() {}

func (*bare) run(n int, seed uint64) (d time.Duration, macs [2][4]byte, err error) {
	return d, macs, hsm.ErrUnavailable
}

func (*bare) slots(n int, seed uint64) (d time.Duration, key [16]byte, err error) {
	return d, key, hsm.ErrUnavailable
}
