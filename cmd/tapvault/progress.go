package main

import "github.com/tapvault/tapvault/internal/progress"

// newProgress begins to show a job of total steps on stderr.
func (a *app) newProgress(name string, total int64) *progress.Bar {
	return progress.New(a.stderr, "tapvault", name, total)
}
