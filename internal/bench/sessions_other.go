//go:build !linux

package bench

import (
	"context"
	"errors"
)

// Sessions needs a module that is slow on demand, which is made on Linux only.
func Sessions(context.Context, Options) (Result, error) {
	return Result{}, errors.New("measuring sessions: the slow module is made on Linux only")
}
