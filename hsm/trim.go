//go:build cgo

package hsm

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void trim(void) { malloc_trim(0); }
#else
static void trim(void) {}
#endif
*/
import "C"

// trim has C's allocator give memory that is free back to the system, which glibc
// does not do by itself.
func trim() { C.trim() }
