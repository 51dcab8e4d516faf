//go:build !linux

package console

// quiet does nothing: a ceremony is held on Linux, where memory can be locked.
func quiet(int) (undo func(), err error) { return func() {}, nil }

func drop(int) error { return nil }
