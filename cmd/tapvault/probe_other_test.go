//go:build !linux

package main

// probe has nothing to try here.
func probe() {}
