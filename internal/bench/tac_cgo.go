//go:build cgo

package bench

/*
#cgo CFLAGS: -O2 -Wall -I${SRCDIR}/../../hsm
#include "tac.h"
*/
import "C"

import (
	"fmt"
	"runtime"
)

// tac computes n TACs over a padded message and returns the last.
func (b *bare) tac(n int, seed uint64, msg []byte) (mac [8]byte, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	rv := C.bare_tac(&b.b, C.ck_ulong(n), C.ck_ulong(seed), (*C.ck_byte)(&msg[0]), C.ck_ulong(len(msg)), (*C.ck_byte)(&mac[0]))
	if rv != 0 {
		return mac, fmt.Errorf("running the bare loop: PKCS #11 code %#x", uint64(rv))
	}
	return mac, nil
}
