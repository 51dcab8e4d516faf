// Package scripts carries one complete script for each kind of ceremony, and those with which a rehearsal makes its keys.
package scripts

import "embed"

// Files are the scripts by name.
//
//go:embed *.yaml
var Files embed.FS
