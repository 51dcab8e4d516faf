//go:build linux

// Package shim makes a PKCS #11 module that stands in front of another and breaks it on demand, while it runs.
//
// It is a shared object in C, because the hot path of hsm makes its calls from
// C, past any fake in Go. One process uses either the module or its shim, not
// both: a module has one initialisation.
package shim

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

//go:embed csrc/shim.c
var source string

// Call is a function of PKCS #11: its place in the list of functions.
type Call int

// Calls that tests break.
const (
	Initialize      Call = 0
	Finalize        Call = 1
	GetInfo         Call = 2
	GetSlotList     Call = 4
	GetSlotInfo     Call = 5
	GetTokenInfo    Call = 6
	GetMechanism    Call = 8
	OpenSession     Call = 12
	CloseSession    Call = 13
	GetSessionInfo  Call = 15
	Login           Call = 18
	Logout          Call = 19
	CreateObject    Call = 20
	CopyObject      Call = 21
	DestroyObject   Call = 22
	GetAttribute    Call = 24
	FindInit        Call = 26
	Find            Call = 27
	FindFinal       Call = 28
	EncryptInit     Call = 29
	Encrypt         Call = 30
	DecryptInit     Call = 33
	Decrypt         Call = 34
	SignInit        Call = 42
	Sign            Call = 43
	GenerateKey     Call = 58
	GenerateKeyPair Call = 59
	WrapKey         Call = 60
	UnwrapKey       Call = 61
	DeriveKey       Call = 62
	GenerateRandom  Call = 64
)

const functions = 68

// control is struct control of shim.c.
type control struct {
	delayUS, removed, drop, logout, reused, open, removeIn, dropIn, cut, away, narrow, major atomic.Uint64
	fn                                                                                       [functions]fault
}

type fault struct{ mode, rv, skip, count, delayUS, calls, hole atomic.Uint64 }

// Shim is a module that was made by [Build].
type Shim struct {
	// Module is the path of the shared object.
	Module string
	c      *control
}

// Build compiles a shim for module into dir, which has to be empty. It stays
// mapped until the process ends, as a module does.
func Build(dir, module string) (*Shim, error) {
	so, src := filepath.Join(dir, "shim.so"), filepath.Join(dir, "shim.c")
	for name, text := range map[string]string{src: source, so + ".module": module + "\n",
		so + ".ctl": strings.Repeat("\x00", int(unsafe.Sizeof(control{})))} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("making a shim: %w", err)
		}
	}
	args := []string{"-O2", "-Wall", "-shared", "-fPIC", "-o", so, src, "-ldl", "-lpthread"}
	lib, err := os.ReadFile(module)
	if err != nil {
		return nil, fmt.Errorf("making a shim: %w", err)
	}
	if bytes.Contains(lib, []byte("NSC_GetFunctionList")) { // the name by which NSS softokn is known
		args = append(args, "-DNSS")
	}
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling a shim: %w\n%s", err, out)
	}
	f, err := os.OpenFile(so+".ctl", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("making a shim: %w", err)
	}
	defer f.Close()
	m, err := syscall.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(control{})), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a shim's control file: %w", err)
	}
	return &Shim{Module: so, c: (*control)(unsafe.Pointer(&m[0]))}, nil
}

// Fault is one way of breaking a call.
type Fault struct {
	Code  uint // what the call answers
	Done  bool // it takes effect all the same
	Skip  int  // how many calls pass first
	Times int  // how many fail then; 0: all
}

// Fail breaks a call until [Shim.Heal].
func (s *Shim) Fail(c Call, f Fault) {
	mode := uint64(1)
	if f.Done {
		mode = 2
	}
	s.breaks(c, mode, f)
}

func (s *Shim) breaks(c Call, mode uint64, f Fault) {
	x := &s.c.fn[c]
	x.mode.Store(0)
	x.rv.Store(uint64(f.Code))
	x.skip.Store(uint64(f.Skip))
	x.count.Store(uint64(f.Times))
	if f.Times == 0 {
		x.count.Store(1 << 62)
	}
	x.mode.Store(mode)
}

// Untruth is something that a module says and is not so.
type Untruth uint

// Untruths. Of [Untruths] all calls can be guilty; the last two are about [GetTokenInfo].
const (
	TooLong       Untruth = iota + 1 // its answer is longer than it is, or there are more
	HugeLength                       // of ^0 bytes, which the standard keeps for "cannot be had"
	NoLength                         // of no bytes
	HugeWhenAsked                    // of 2^40 bytes, when the length is asked
	NothingDone                      // it did what it was asked, and touched nothing
	NoHandle                         // the handle of what it made is 0
	TooSmall                         // the room is too small
	Zeros                            // a label is filled up with zeros
	NotText                          // a label is no UTF-8, and has no end
)

// Untruths are those that any call may say.
var Untruths = map[Untruth]string{TooLong: "too long", HugeLength: "huge", NoLength: "no length", HugeWhenAsked: "huge when asked",
	NothingDone: "nothing done", NoHandle: "no handle", TooSmall: "too small"}

// Lie has a call say what is not so, times times, or until [Shim.Heal] if that is 0.
func (s *Shim) Lie(c Call, what Untruth, times int) {
	s.breaks(c, 4, Fault{Code: uint(what), Times: times})
}

// Hole leaves a call out of the list of functions, from when the module is loaded next
// until [Shim.Heal].
func (s *Shim) Hole(c Call) { s.c.fn[c].hole.Store(1) }

// Version has the list of functions be of a version of PKCS #11, as [Shim.Hole] does.
func (s *Shim) Version(major byte) { s.c.major.Store(uint64(major)) }

// Hang keeps a call from returning until [Shim.Heal].
func (s *Shim) Hang(c Call) { s.c.fn[c].mode.Store(3) }

// Delay makes every call take so much longer.
func (s *Shim) Delay(d time.Duration) { s.c.delayUS.Store(uint64(d.Microseconds())) }

// DelayCall makes one call take so much longer.
func (s *Shim) DelayCall(c Call, d time.Duration) { s.c.fn[c].delayUS.Store(uint64(d.Microseconds())) }

// DropSessions closes every session before the next call.
func (s *Shim) DropSessions() { s.c.drop.Store(1) }

// LoseLogin logs out before the next call.
func (s *Shim) LoseLogin() { s.c.logout.Store(1) }

// Remove pulls the token out: its sessions are gone, and nothing finds it.
func (s *Shim) Remove() { s.c.removed.Store(1) }

// RemoveAt pulls the token out before the call that comes after so many others, unless
// [Shim.Heal] is first.
func (s *Shim) RemoveAt(calls int) { s.c.removeIn.Store(uint64(calls) + 1) }

// DropSessionsAt closes every session before the call that comes after so many others,
// unless [Shim.Heal] is first.
func (s *Shim) DropSessionsAt(calls int) { s.c.dropIn.Store(uint64(calls) + 1) }

// Cut cuts the module off from what it talks to: every call answers code, until it is
// initialised anew after [Shim.Reach].
func (s *Shim) Cut(code uint) {
	s.c.away.Store(1)
	s.c.cut.Store(uint64(code))
}

// Reach lets a module that was cut off connect again, when it is initialised.
func (s *Shim) Reach() { s.c.away.Store(0) }

// Insert puts it back.
func (s *Shim) Insert() { s.c.removed.Store(0) }

// Forget sets the count of [Shim.Reused] to nothing.
func (s *Shim) Forget() { s.c.reused.Store(0) }

// Heal ends every fault and delay.
func (s *Shim) Heal() {
	s.c.cut.Store(0)
	s.Reach()
	s.c.removeIn.Store(0)
	s.c.dropIn.Store(0)
	s.Insert()
	s.Delay(0)
	s.Version(0)
	for i := range s.c.fn {
		s.c.fn[i].mode.Store(0)
		s.c.fn[i].delayUS.Store(0)
		s.c.fn[i].hole.Store(0)
	}
}

// Reused counts calls in a session in which an earlier call was made to fail,
// but for those that clean up.
func (s *Shim) Reused() int { return int(s.c.reused.Load()) }

// Narrow counts the lists of slots that did not fit into the room that was given.
func (s *Shim) Narrow() int { return int(s.c.narrow.Load()) }

// Open counts the sessions that are open.
func (s *Shim) Open() int { return int(s.c.open.Load()) }

// Calls counts how often a call was made.
func (s *Shim) Calls(c Call) int { return int(s.c.fn[c].calls.Load()) }

// AllCalls counts how often any call was made.
func (s *Shim) AllCalls() int {
	n := 0
	for i := range s.c.fn {
		n += s.Calls(Call(i))
	}
	return n
}
