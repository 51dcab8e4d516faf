//go:build !cgo

package bench

import "github.com/tapvault/tapvault/hsm"

func (*bare) tac(n int, seed uint64, msg []byte) (mac [8]byte, err error) {
	return mac, hsm.ErrUnavailable
}
