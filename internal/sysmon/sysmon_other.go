//go:build !linux || !cgo

package sysmon

import (
	"errors"
	"fmt"
	"runtime"
)

// Rest can do nothing here.
func Rest(int) error {
	return fmt.Errorf("telling Go's monitor thread on %s that it may be late: %w", runtime.GOOS, errors.ErrUnsupported)
}
