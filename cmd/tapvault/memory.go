package main

import (
	"os"
	"runtime/debug"
)

// collectLater lets the heap grow to three times what lives in it before garbage
// is collected, unless GOGC says otherwise. Little lives in the service, a dozen
// megabytes, so that Go's own rule would collect several times a second; with
// five times as much, as it was, a collection less would be saved for each two
// thousand requests, and 170 MiB be resident (docs/decisions/086).
func collectLater() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}
