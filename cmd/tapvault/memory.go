package main

import (
	"os"
	"runtime/debug"
)

// collectLater lets the heap grow to three times what lives in it before garbage
// is collected, unless GOGC says otherwise. Little lives in the service, a dozen
// megabytes, so that Go's own rule would collect several times a second
// (docs/decisions/086).
func collectLater() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}
