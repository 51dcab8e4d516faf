//go:build !linux

package main

import "errors"

// noCoreDumps does nothing here: set the limit on core files outside.
func noCoreDumps() error { return nil }

// lockAll cannot lock memory here.
func lockAll() error { return errors.ErrUnsupported }
