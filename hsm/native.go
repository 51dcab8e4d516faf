//go:build cgo

package hsm

/*
#cgo CFLAGS: -O2 -Wall
#cgo linux LDFLAGS: -ldl
#cgo noescape tv_run
#cgo nocallback tv_run
#include <stdlib.h>
#include "composite.h"
*/
import "C"

import (
	"crypto/subtle"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// native is the module's function table, for the calls that composite.c makes.
type native struct {
	f   *C.struct_ck_functions
	nss bool // it is NSS softokn
}

// keep loads a module for good, and says whether it is NSS softokn.
func keep(module string) (isNSS bool, err error) {
	name := C.CString(module)
	defer C.free(unsafe.Pointer(name))
	var why *C.char
	var nss C.int
	if C.tv_keep(name, &why, &nss) == 0 {
		return false, fmt.Errorf("%w: loading the module %s: %s: hsm.module has to name the HSM's PKCS #11 library, made for this machine", ErrUnavailable, module, C.GoString(why))
	}
	return nss != 0, nil
}

// table is the one by which miekg/pkcs11 calls the module. A module that is asked
// for another may give one with sessions of its own: p11-kit's do. miekg shows it to
// nobody, so it is read where it is kept, behind the library's handle.
func table(ctx *pkcs11.Ctx) *C.struct_ck_functions {
	kept := *(**struct{ library, functions unsafe.Pointer })(unsafe.Pointer(ctx))
	f := whole((*C.struct_ck_functions)(kept.functions))
	kept.functions = unsafe.Pointer(f)
	return f
}

// wholes are the tables that stand in for those with holes. A module is never
// unloaded, so each is made once. loaded has to be locked.
var wholes = map[*C.struct_ck_functions]*C.struct_ck_functions{}

// whole is a table without holes, into which a call would crash: there, a function
// answers that the module does not have it.
func whole(f *C.struct_ck_functions) *C.struct_ck_functions {
	if f == nil || C.tv_holes(f) == 0 {
		return f
	}
	w := wholes[f]
	if w == nil {
		w = (*C.struct_ck_functions)(C.malloc(C.size_t(unsafe.Sizeof(*w)))) // never nil
		wholes[f] = w
	}
	C.tv_whole(f, w)
	return w
}

func rvError(rv C.ck_ulong) error {
	switch rv {
	case 0:
		return nil
	case C.TV_ODD_LENGTH:
		return odd{oddLength}
	case C.TV_ODD_HANDLE:
		return odd{oddHandle}
	case C.TV_ODD_SILENT:
		return odd{oddSilent}
	}
	return pkcs11.Error(rv)
}

// login logs the user in on all sessions of this process, and wipes pin.
func (n native) login(s pkcs11.SessionHandle, pin []byte) error {
	defer clear(pin)
	if len(pin) == 0 {
		return pkcs11.Error(pkcs11.CKR_PIN_LEN_RANGE)
	}
	return rvError(C.tv_login(n.f, C.ck_ulong(s), (*C.ck_byte)(&pin[0]), C.ck_ulong(len(pin))))
}

// flat lays a template out as C wants it: types, lengths, and the values one
// after the other.
func flat(t []*pkcs11.Attribute) (types, lens []C.ck_ulong, blob []byte) {
	n := 1 // never empty, so that it has a first byte
	for _, a := range t {
		n += len(a.Value)
	}
	blob = make([]byte, 0, n)
	for _, a := range t {
		types = append(types, C.ck_ulong(a.Type))
		lens = append(lens, C.ck_ulong(len(a.Value)))
		blob = append(blob, a.Value...)
	}
	return types, lens, blob[:n]
}

// create makes an object. Unlike miekg's CreateObject it leaves no copy of the
// template, which holds a key value, in freed memory.
func (n native) create(s pkcs11.SessionHandle, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	types, lens, blob := flat(t)
	defer clear(blob)
	var h C.ck_ulong
	rv := C.tv_create(n.f, C.ck_ulong(s), &types[0], &lens[0], C.ck_ulong(len(types)), (*C.ck_byte)(&blob[0]), &h)
	return pkcs11.ObjectHandle(h), rvError(rv)
}

// derive makes a DES3 key by CKM_DES3_ECB_ENCRYPT_DATA over 24 bytes of data.
func (n native) derive(s pkcs11.SessionHandle, base pkcs11.ObjectHandle, data [24]byte, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return n.deriveBy(s, base, pkcs11.CKM_DES3_ECB_ENCRYPT_DATA, data[:], t)
}

// deriveBy makes a key of the cipher text of data under base. data is not
// empty.
func (n native) deriveBy(s pkcs11.SessionHandle, base pkcs11.ObjectHandle, mech uint, data []byte, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	types, lens, blob := flat(t)
	var h C.ck_ulong
	rv := C.tv_derive(n.f, C.ck_ulong(s), C.ck_ulong(base), C.ck_ulong(mech), (*C.ck_byte)(&data[0]), C.ck_ulong(len(data)),
		&types[0], &lens[0], C.ck_ulong(len(types)), (*C.ck_byte)(&blob[0]), &h)
	return pkcs11.ObjectHandle(h), rvError(rv)
}

// reveal puts the cipher text of data under base, which is a key, into memory
// from newSecret.
func (n native) reveal(s pkcs11.SessionHandle, base pkcs11.ObjectHandle, mech uint, data, secret []byte) error {
	return rvError(C.tv_reveal(n.f, C.ck_ulong(s), C.ck_ulong(base), C.ck_ulong(mech), (*C.ck_byte)(&data[0]),
		C.ck_ulong(len(data)), (*C.ck_byte)(&secret[0])))
}

// cipher ends an encryption or decryption in one call. Unlike miekg's calls it
// does not ask for the length first, which NSS answers for GCM without the
// tag, and leaves no plaintext in freed memory. The room is filled with what goes
// in, which is what comes out once in 2^64 times, unless nothing was written.
func (n native) cipher(s pkcs11.SessionHandle, fn C.int, in []byte, room int) ([]byte, error) {
	out := make([]byte, room+spareBytes)
	src := append(in[:len(in):len(in)], 0) // never empty, so that it has a first byte
	defer clear(src)
	copy(out, in)
	got := C.ck_ulong(room)
	rv := C.tv_cipher(n.f, fn, C.ck_ulong(s), (*C.ck_byte)(&src[0]), C.ck_ulong(len(in)), (*C.ck_byte)(&out[0]), &got)
	switch {
	case rv != 0:
		clear(out)
		return nil, rvError(rv)
	case got > C.ck_ulong(room):
		clear(out)
		return nil, odd{oddLength}
	case got >= leastTold && unwritten(out[:got], in):
		clear(out)
		return nil, odd{oddSilent}
	}
	return out[:got], nil
}

// unwritten reports whether out is in, with zeros behind.
func unwritten(out, in []byte) bool {
	n := min(len(out), len(in))
	return subtle.ConstantTimeCompare(out[:n], in[:n]) == 1 && blank(out[n:])
}

const (
	// spareBytes stand after an answer, for a module that writes more than it says.
	spareBytes = C.TV_SPARE
	// leastTold is how many bytes are not by chance what they were.
	leastTold = 8
)

func (n native) encrypt(s pkcs11.SessionHandle, in []byte, room int) ([]byte, error) {
	return n.cipher(s, C.CK_ENCRYPT, in, room)
}

func (n native) decrypt(s pkcs11.SessionHandle, in []byte, room int) ([]byte, error) {
	return n.cipher(s, C.CK_DECRYPT, in, room)
}

// ecdh puts the secret that an EC key shares with an uncompressed point into
// memory from newSecret.
func (n native) ecdh(s pkcs11.SessionHandle, base pkcs11.ObjectHandle, point [C.TV_POINT]byte, secret []byte) error {
	return rvError(C.tv_ecdh(n.f, C.ck_ulong(s), C.ck_ulong(base), (*C.ck_byte)(&point[0]), (*C.ck_byte)(&secret[0])))
}

// newSecret returns locked memory for one shared secret. The caller gives it
// back to freeSecret, which wipes it.
func newSecret() ([]byte, error) {
	p := C.tv_secret_new()
	if p == nil {
		return nil, fmt.Errorf("%w: locking memory for a secret: raise the limit on locked memory (ulimit -l)", ErrUnavailable)
	}
	return unsafe.Slice((*byte)(p), C.TV_SECRET), nil
}

func freeSecret(secret []byte) { C.tv_secret_free((*C.ck_byte)(&secret[0])) }

// batch is one worker's memory in C: up to maxBatch jobs.
type batch struct {
	b *C.struct_tv_batch
}

const (
	maxBatch    = C.TV_JOBS
	maxMessages = C.TV_MESSAGES
	maxData     = C.TV_DATA
	maxDrops    = C.TV_JOBS * C.TV_STEPS
)

func newBatch() (batch, error) {
	b := C.tv_new()
	if b == nil {
		return batch{}, fmt.Errorf("%w: locking a worker's memory: raise the limit on locked memory (ulimit -l) to 1024 or more", ErrUnavailable)
	}
	return batch{b}, nil
}

func (b *batch) free() { C.tv_free(b.b); b.b = nil }

// put lays job i out for C: the steps from base, and the messages.
func (b *batch) put(i int, base pkcs11.ObjectHandle, steps []step, j *job) {
	c := &b.b.job[i]
	op := j.op
	if op == opFold && !j.fold { // the folded key is at hand
		op = opCBC
	}
	c.base, c.steps, c.keep, c.op = C.ck_ulong(base), C.ck_ulong(len(steps)), C.ck_ulong(j.keep), C.ck_ulong(op)
	c.keep_folded = 0
	if j.keepFold {
		c.keep_folded = 1
	}
	for k := range steps {
		c.step[k].kind = C.ck_ulong(steps[k].kind)
		*(*[24]byte)(unsafe.Pointer(&c.step[k].data)) = steps[k].data
	}
	at := 0
	data := (*[maxData]byte)(unsafe.Pointer(&c.data))
	for k, m := range j.lens[:j.count] {
		c.len[k] = C.ck_ulong(m)
		at += m
	}
	copy(data[:at], j.data[:at])
	c.messages, c.folded, c.rv, c.done = C.ck_ulong(j.count), 0, 0, 0
}

// run does the first n jobs, after destroying drops. It reports whether
// everything that had to be destroyed was.
func (b *batch) run(f native, s pkcs11.SessionHandle, n int, drops []pkcs11.ObjectHandle) (clean bool) {
	for i, h := range drops {
		b.b.drop[i] = C.ck_ulong(h)
	}
	return C.tv_run(f.f, C.ck_ulong(s), b.b, C.ck_ulong(n), C.ck_ulong(len(drops))) == 0
}

// timed has run add up the CPU time that it takes, and spent tells the sum. Others than
// the worker may ask for either.
func (b *batch) timed() { atomic.StoreUintptr((*uintptr)(unsafe.Pointer(&b.b.timed)), 1) }

func (b *batch) spent() time.Duration {
	return time.Duration(atomic.LoadUintptr((*uintptr)(unsafe.Pointer(&b.b.spent))))
}

// result copies job i's answer into j and reports whether it was begun.
func (b *batch) result(i int, j *job) (begun bool, err error) {
	c := &b.b.job[i]
	if c.done == 0 {
		return false, nil
	}
	if err := rvError(c.rv); err != nil {
		return true, err
	}
	j.macs = *(*[maxMessages][8]byte)(unsafe.Pointer(&c.mac))
	if j.op == opECB || j.op == opChain {
		data := (*[maxData]byte)(unsafe.Pointer(&c.data))
		copy(j.data[:j.lens[0]], data[:j.lens[0]])
		clear(data[:j.lens[0]])
	}
	return true, nil
}

// kept returns the handle of the k-th derived key of job i.
func (b *batch) kept(i, k int) pkcs11.ObjectHandle { return pkcs11.ObjectHandle(b.b.job[i].handle[k]) }

// folded returns the handle of the folded key of job i.
func (b *batch) folded(i int) pkcs11.ObjectHandle { return pkcs11.ObjectHandle(b.b.job[i].folded) }
