// Package scripts carries one complete script for each kind of ceremony, and those with which a rehearsal makes its keys.
package scripts

import "embed"

// Files are the scripts by name.
//
//go:embed *.yaml
var Files embed.FS

// Rehearsal are the ceremonies that make the tokens and keys of a rehearsal of
// the service, in the order of their names.
//
//go:embed rehearsal/*.yaml
var Rehearsal embed.FS
