package wallet

import (
	"testing"
)

// FuzzDeviceKey: what is taken as a key is a point of the curve, and prints as
// the coordinates that were sent.
func FuzzDeviceKey(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKey(b)
		if err != nil {
			return
		}
		if point, err := k.Bytes(); err != nil || len(point) != 65 {
			t.Fatalf("no point: %v", err)
		}
	})
}
