//go:build !linux

package main

// unsynchronised is not asked of other systems.
func unsynchronised() bool { return false }
