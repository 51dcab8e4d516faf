package issuerhost_test

import (
	"errors"
	"testing"

	"github.com/tapvault/tapvault/issuerhost"
)

// FuzzWindow: no order of values is taken twice, and what is taken lies in the
// window.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 1, 0, 100, 0, 90}, uint16(100), uint8(20))
	f.Add([]byte{255, 255, 0, 0, 255, 254}, uint16(65535), uint8(255))
	f.Fuzz(func(t *testing.T, values []byte, ahead uint16, behind uint8) {
		var l issuerhost.Line
		taken := map[uint16]bool{}
		for ; len(values) >= 2; values = values[2:] {
			v := uint16(values[0])<<8 | uint16(values[1])
			next, err := l.Take(v, issuerhost.Window{Ahead: ahead, Behind: behind})
			if err != nil {
				if next != l || !errors.Is(err, issuerhost.ErrReplayed) && !errors.Is(err, issuerhost.ErrJumped) {
					t.Fatalf("%v moved the line", err)
				}
				continue
			}
			if taken[v] {
				t.Fatalf("%d was taken twice", v)
			}
			if len(taken) > 0 && (int(v) > int(l.High)+int(ahead) || int(v) < int(l.High)-min(int(behind), 63)) {
				t.Fatalf("%d was taken, far from %d", v, l.High)
			}
			taken[v], l = true, next
		}
	})
}
