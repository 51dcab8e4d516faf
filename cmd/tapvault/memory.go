package main

import (
	"os"
	"runtime/debug"
)

// collectLater lets the heap grow to five times what lives in it before garbage
// is collected, unless GOGC says otherwise. Little lives in the service, a few
// megabytes, so that Go's own rule would collect several times a second.
func collectLater() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
