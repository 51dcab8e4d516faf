//go:build cgo

package bench

/*
#cgo CFLAGS: -O2 -Wall -I${SRCDIR}/../../hsm
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "bare.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

// bare is the C loop on one token that this process has open.
type bare struct{ b C.struct_bare }

func openBare(module, token, label string) (*bare, error) {
	m, t, l := C.CString(module), C.CString(fmt.Sprintf("%-32s", token)), C.CString(label)
	defer C.free(unsafe.Pointer(m))
	defer C.free(unsafe.Pointer(t))
	defer C.free(unsafe.Pointer(l))
	b := &bare{}
	if rv := C.bare_open(&b.b, m, t, l, C.ck_ulong(len(label))); rv != 0 {
		return nil, fmt.Errorf("opening the bare loop: PKCS #11 code %#x", uint64(rv))
	}
	return b, nil
}

func (b *bare) close() { C.bare_close(&b.b) }

// run does n checks and returns how long they took and the last two MACs.
func (b *bare) run(n int, seed uint64) (time.Duration, [2][4]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var macs [2][4]byte
	begin := time.Now()
	rv := C.bare_run(&b.b, C.ck_ulong(n), C.ck_ulong(seed), (*C.ck_byte)(&macs[0][0]))
	took := time.Since(begin)
	if rv != 0 {
		return 0, macs, fmt.Errorf("running the bare loop: PKCS #11 code %#x", uint64(rv))
	}
	return took, macs, nil
}

// slots fetches the keys of n slots of n tokens and returns how long that took
// and the last key.
func (b *bare) slots(n int, seed uint64) (time.Duration, [16]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var key [16]byte
	begin := time.Now()
	rv := C.bare_slots(&b.b, C.ck_ulong(n), C.ck_ulong(seed), (*C.ck_byte)(&key[0]))
	took := time.Since(begin)
	if rv != 0 {
		return 0, key, fmt.Errorf("running the bare loop: PKCS #11 code %#x", uint64(rv))
	}
	return took, key, nil
}
