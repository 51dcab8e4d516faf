//go:build cgo

package hsm

// #include "composite.h"
import "C"

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/miekg/pkcs11"
)

// What follows is called by C code of ours, or its answer looked at, because
// miekg/pkcs11 believes every length that a module gives: it reads beyond its memory,
// ends the process, or loses memory for each error.

// signed are the lengths of what Sign makes.
var signed = map[uint]int{pkcs11.CKM_SHA256_HMAC: 32, pkcs11.CKM_AES_CMAC: 16, pkcs11.CKM_ECDSA: 64}

// mostSigned is longer than any of them.
const mostSigned = 128

// Sign signs or MACs data in one crossing and two calls. miekg's way takes three
// of either, because it asks for the length first.
func (c calls) Sign(s pkcs11.SessionHandle, mech uint, key pkcs11.ObjectHandle, data []byte) ([]byte, error) {
	in, out := append(data[:len(data):len(data)], 0), make([]byte, mostSigned)
	defer clear(in)
	got := C.ck_ulong(len(out))
	rv := C.tv_sign(c.native.f, C.ck_ulong(s), C.ck_ulong(mech), C.ck_ulong(key), (*C.ck_byte)(&in[0]), C.ck_ulong(len(data)),
		(*C.ck_byte)(&out[0]), &got)
	switch n := signed[mech]; {
	case rv != 0:
		return nil, rvError(rv)
	case got != C.ck_ulong(n):
		return nil, odd{oddLength}
	case blank(out[:n]):
		return nil, odd{oddSilent}
	default:
		return out[:n], nil
	}
}

// WrapKey enciphers a key by RSA-OAEP with SHA-1, of which the length is known.
func (c calls) WrapKey(s pkcs11.SessionHandle, by, k pkcs11.ObjectHandle) ([]byte, error) {
	out := make([]byte, maxRSA/8+spareBytes)
	room := C.ck_ulong(maxRSA / 8)
	rv := C.tv_wrap(c.native.f, C.ck_ulong(s), C.ck_ulong(by), C.ck_ulong(k), (*C.ck_byte)(&out[0]), &room)
	switch {
	case rv != 0:
		return nil, rvError(rv)
	case room > maxRSA/8:
		return nil, odd{oddLength}
	case blank(out[:room]):
		return nil, odd{oddSilent}
	}
	return out[:room], nil
}

// drawn is the beginning of what was drawn last, by any module.
var drawn atomic.Uint64

// GenerateRandom draws at least 8 bytes. The same twice, or zeros, are none: a
// module that writes nothing would have everything sealed under one IV.
func (c calls) GenerateRandom(s pkcs11.SessionHandle, n int) ([]byte, error) {
	out := make([]byte, max(n, leastTold))
	if rv := C.tv_random(c.native.f, C.ck_ulong(s), (*C.ck_byte)(&out[0]), C.ck_ulong(len(out))); rv != 0 {
		return nil, rvError(rv)
	}
	if now := binary.NativeEndian.Uint64(out); drawn.Swap(now) == now || now == 0 {
		return nil, odd{"what it calls random repeats itself"}
	}
	return out[:n], nil
}

const (
	// spareSlots is how many slots may come while they are listed.
	spareSlots = 64
	mostSlots  = 1 << 16
	// triesToFit is how often is asked again for what grew meanwhile.
	triesToFit = 3
)

// GetSlotList lists the slots. Unlike miekg's it gives room for more than were counted:
// a token that is put in between counting and listing is answered by an error where a
// module looks at the room, and NSS softokn, which does not, writes past its end.
func (c calls) GetSlotList(tokenPresent bool) ([]uint, error) {
	var present C.int
	if tokenPresent {
		present = 1
	}
	for try := 1; ; try++ {
		var counted C.ck_ulong // which also has a module look for new slots
		if rv := C.tv_slots(c.native.f, present, nil, &counted); rv != 0 {
			return nil, rvError(rv)
		}
		room := make([]C.ck_ulong, min(counted, mostSlots)+spareSlots)
		n := C.ck_ulong(len(room))
		rv := C.tv_slots(c.native.f, present, &room[0], &n)
		switch {
		case rv == pkcs11.CKR_BUFFER_TOO_SMALL && try < triesToFit:
			continue
		case rv != 0:
			return nil, rvError(rv)
		case n > C.ck_ulong(len(room)):
			return nil, odd{oddCount}
		}
		slots := make([]uint, n)
		for i := range slots {
			slots[i] = uint(room[i])
		}
		slices.Sort(slots)
		return slices.Compact(slots), nil
	}
}

// FindObjects goes on with a search.
func (c calls) FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error) {
	room := make([]C.ck_ulong, most+spareSlots)
	var n C.ck_ulong
	if rv := C.tv_find(c.native.f, C.ck_ulong(s), &room[0], C.ck_ulong(most), &n); rv != 0 {
		return nil, false, rvError(rv)
	}
	if n > C.ck_ulong(most) {
		return nil, false, odd{oddCount}
	}
	found := make([]pkcs11.ObjectHandle, n)
	for i := range found {
		if room[i] == 0 {
			return nil, false, odd{"it finds an object and gives no handle of it"}
		}
		found[i] = pkcs11.ObjectHandle(room[i])
	}
	return found, false, nil
}

// mostValue is longer than any attribute that is read.
const mostValue = 1 << 16

// GetAttributeValue reads attributes of an object. One without a value is empty. A module
// that says nothing of one is not taken to say that: an object without a label is
// one that may be destroyed.
func (c calls) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	types, rooms, lens := make([]C.ck_ulong, len(a)), make([]C.ck_ulong, len(a)), make([]C.ck_ulong, len(a))
	for i := range a {
		types[i] = C.ck_ulong(a[i].Type)
	}
	for try := 1; ; try++ {
		get := func(lens []C.ck_ulong, blob *C.ck_byte) C.ck_ulong {
			return C.tv_get(c.native.f, C.ck_ulong(s), C.ck_ulong(o), &types[0], &lens[0], C.ck_ulong(len(lens)), blob)
		}
		for i := range rooms {
			rooms[i] = untold
		}
		if rv := get(rooms, nil); rv != 0 {
			return nil, rvError(rv)
		}
		total, err := sizes(types, rooms)
		if err != nil {
			return nil, err
		}
		blob := make([]byte, total+spareBytes)
		copy(lens, rooms)
		rv := get(lens, (*C.ck_byte)(&blob[0]))
		if rv == pkcs11.CKR_BUFFER_TOO_SMALL && try < triesToFit {
			continue
		}
		if rv != 0 {
			return nil, rvError(rv)
		}
		return values(types, rooms, lens, blob)
	}
}

const (
	// untold is where a module has to say a length.
	untold = C.TV_ODD_SILENT
	// none is the length of an attribute that cannot be had, which goes with an error.
	none = ^C.ck_ulong(0)
)

// sizes adds up the lengths that a module gave.
func sizes(types, lens []C.ck_ulong) (total C.ck_ulong, err error) {
	for i, n := range lens {
		switch {
		case n == untold:
			return 0, odd{oddSilent}
		case n == none:
			return 0, odd{fmt.Sprintf("it says that attribute %#x cannot be had, and that this is no error", types[i])}
		case n > mostValue:
			return 0, odd{fmt.Sprintf("it says that attribute %#x has %d bytes", types[i], n)}
		}
		total += n
	}
	return total, nil
}

// values cuts what was read into attributes.
func values(types, rooms, lens []C.ck_ulong, blob []byte) ([]*pkcs11.Attribute, error) {
	all := make([]*pkcs11.Attribute, len(types))
	for i, room := range rooms {
		if lens[i] > room || lens[i] == 0 && room > 0 {
			return nil, odd{fmt.Sprintf("it says that it wrote %d bytes of attribute %#x into room for %d", lens[i], types[i], room)}
		}
		all[i] = &pkcs11.Attribute{Type: uint(types[i]), Value: blob[:lens[i]:lens[i]]}
		blob = blob[room:]
	}
	return all, nil
}

// OpenSession opens a session.
func (c calls) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	return given(c.Ctx.OpenSession(slot, flags))
}

// CreateObject makes an object that is not secret.
func (c calls) CreateObject(s pkcs11.SessionHandle, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return given(c.Ctx.CreateObject(s, t))
}

// CopyObject copies an object.
func (c calls) CopyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return given(c.Ctx.CopyObject(s, o, t))
}

// GenerateKey makes a key inside.
func (c calls) GenerateKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return given(c.Ctx.GenerateKey(s, m, t))
}

// GenerateKeyPair makes a pair of keys inside.
func (c calls) GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pub, priv pkcs11.ObjectHandle, err error) {
	pub, priv, err = c.Ctx.GenerateKeyPair(s, m, public, private)
	if pub, err = given(pub, err); err == nil {
		priv, err = given(priv, nil)
	}
	return pub, priv, err
}

// UnwrapKey makes a key of what another deciphers.
func (c calls) UnwrapKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, by pkcs11.ObjectHandle, wrapped []byte, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return given(c.Ctx.UnwrapKey(s, m, by, wrapped, t))
}

// text is a field of a fixed length, which the standard fills with blanks and some
// modules with zeros.
func text(field string) string {
	field, _, _ = strings.Cut(field, "\x00")
	return strings.TrimRight(field, " ")
}

// GetTokenInfo says what is known of a token.
func (c calls) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	i, err := c.Ctx.GetTokenInfo(slot)
	i.Label, i.ManufacturerID = text(i.Label), text(i.ManufacturerID)
	return i, err
}

// GetSlotInfo says what is known of a slot.
func (c calls) GetSlotInfo(slot uint) (pkcs11.SlotInfo, error) {
	i, err := c.Ctx.GetSlotInfo(slot)
	i.ManufacturerID = text(i.ManufacturerID)
	return i, err
}
