package token

import "time"

// Denied is a token that may not pay although a device may hold keys under it.
type Denied struct {
	Ref   Ref
	Until time.Time // end of the longest window that keys were made for
}
