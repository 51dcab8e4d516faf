//go:build !linux

package sysmon

import (
	"errors"
	"fmt"
	"runtime"
)

// Rest can do nothing here.
func Rest() error {
	return fmt.Errorf("giving Go's monitor thread a lower priority on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
