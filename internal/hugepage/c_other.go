//go:build !linux || !cgo

package hugepage

func inC() error { return nil }

// Trim can do nothing here.
func Trim() {}
