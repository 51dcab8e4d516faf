//go:build !linux

package hugepage

import (
	"errors"
	"fmt"
	"runtime"
)

func inGo() error {
	return fmt.Errorf("asking for large pages on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
