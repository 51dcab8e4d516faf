//go:build !linux

package durable

func rename(from, to string) error { return link(from, to) }
