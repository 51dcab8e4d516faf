package softring

import (
	"crypto/cipher"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/emmansun/gmsm/sm4"
)

// rounds is how many words a schedule has: as many for each direction.
const rounds = 32

// under lends use the cipher of a key and wipes it, since from the first four
// words of its schedule the key can be computed.
func under(key []byte, use func(cipher.Block)) error {
	c, err := sm4.NewCipher(key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyUnfit, err)
	}
	defer wipe(reflect.ValueOf(c))
	use(c)
	return nil
}

// wipes reports whether [wipe] reaches the schedule of this build of package
// sm4, which keeps it to itself. A release that moves it is noticed before
// any key is.
func wipes() error {
	c, err := sm4.NewCipher([]byte("a key of no use!"))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	if n := wipe(reflect.ValueOf(c)); n != 2*rounds {
		return fmt.Errorf("%w: %w: %d words", ErrMemory, errSchedule, n)
	}
	return nil
}

// wipe zeroes every array and slice of words that v leads to, and counts words
// that were not zero.
func wipe(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			n = wipe(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += wipe(v.Field(i))
		}
	case reflect.Array, reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint32 || v.Len() == 0 {
			return 0
		}
		words := unsafe.Slice((*uint32)(unsafe.Pointer(v.Index(0).UnsafeAddr())), v.Len())
		for i, w := range words {
			if w != 0 {
				n++
			}
			words[i] = 0
		}
	}
	return n
}
