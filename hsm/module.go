//go:build cgo

package hsm

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// cryptoki lists the calls that this package makes through [calls].
type cryptoki interface {
	Initialize(...pkcs11.InitializeOption) error
	Finalize() error
	GetInfo() (pkcs11.Info, error)
	Destroy()
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetSlotInfo(slot uint) (pkcs11.SlotInfo, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error)
	InitToken(slot uint, pin, label string) error
	InitPIN(s pkcs11.SessionHandle, pin string) error
	OpenSession(slot uint, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(s pkcs11.SessionHandle) error
	GetSessionInfo(s pkcs11.SessionHandle) (pkcs11.SessionInfo, error)
	Login(s pkcs11.SessionHandle, user uint, pin string) error
	Logout(s pkcs11.SessionHandle) error
	CreateObject(s pkcs11.SessionHandle, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	CopyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error
	GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	FindObjectsInit(s pkcs11.SessionHandle, t []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, max int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(s pkcs11.SessionHandle) error
	EncryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error
	DecryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error
	Sign(s pkcs11.SessionHandle, mech uint, key pkcs11.ObjectHandle, data []byte) ([]byte, error)
	GenerateKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error)
	UnwrapKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, by pkcs11.ObjectHandle, wrapped []byte, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	WrapKey(s pkcs11.SessionHandle, by, k pkcs11.ObjectHandle) ([]byte, error)
	GenerateRandom(s pkcs11.SessionHandle, n int) ([]byte, error)
}

// calls makes them: those of miekg/pkcs11, and ours where that is wasteful or believes
// too much, see answers.go.
type calls struct {
	*pkcs11.Ctx
	native native
}

// module is a loaded and initialised library.
type module struct {
	path     string
	initArgs string
	ctx      cryptoki
	native   native
	refs     int
	recycled recycling
	mending  mending
	born     atomic.Uint64 // how often it was initialised anew

	// turn is held while a token is opened or closed, and while the module is
	// recycled.
	turn    sync.Mutex
	tokens  []*Token // that are open
	prepare func() error

	mu    sync.Mutex      // slot list, initialisation and what is below; inside of Token.mu
	owned map[string]bool // labels of tokens whose login belongs to a Token of this process
	down  atomic.Bool     // it was finalised and not initialised yet
}

// loaded holds the modules of this process. It has to be process-wide, because
// C_Initialize is: a second call for the same library is an error, and ending
// one user's use of it would end everybody's.
var loaded = struct {
	sync.Mutex
	m map[string]*module
}{m: map[string]*module{}}

// load returns the module at path, initialising it for its first user.
func load(path, initArgs string, prepare func() error) (*module, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if m := loaded.m[path]; m != nil {
		m.refs++
		return m, nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: no PKCS #11 module at %s: install it, or correct the path in the configuration", ErrUnavailable, path)
	}
	nss, err := keep(path) // tells why, where miekg only says that it could not
	if err != nil {
		return nil, err
	}
	if err := accepts(path, initArgs, nss); err != nil {
		return nil, err
	}
	p := pkcs11.New(path)
	if p == nil {
		return nil, fmt.Errorf("%w: loading the module %s: it is not a PKCS #11 library", ErrUnavailable, path)
	}
	n := native{table(p), nss}
	if n.f == nil { // miekg does not look whether it was given one
		return nil, fmt.Errorf("%w: loading the module %s: its C_GetFunctionList fails", ErrUnavailable, path)
	}
	ctx := calls{p, n}
	if err := initialise(ctx, initArgs, prepare); err != nil {
		ctx.Destroy()
		return nil, initError(path, err)
	}
	m := &module{path: path, initArgs: initArgs, ctx: ctx, native: n, refs: 1, owned: map[string]bool{}}
	loaded.m[path] = m
	return m, nil
}

// accepts refuses a reserved string with which NSS softokn would crash, or
// would hold no token. Of other modules nothing is known.
func accepts(path, args string, nss bool) error {
	if strings.Contains(args, "\x00") {
		return fmt.Errorf("%w: initialising the module %s: a zero byte in init_args", ErrUnavailable, path)
	}
	if !nss || nssHome.MatchString(args) {
		return nil
	}
	return fmt.Errorf("%w: the module %s is NSS softokn, which wants to know where its tokens are: set init_args to "+
		"\"configdir='sql:FOLDER' certPrefix='' keyPrefix='' secmod='secmod.db' flags= dbTokenDescription='LABEL'\"", ErrUnavailable, path)
}

// nssHome is found in a string that names a folder for at least one token.
var nssHome = regexp.MustCompile(`configdir=(sql:|'sql:|"sql:)[^'"\s\]>]`)

// initError says what a failed C_Initialize means and what to do about it.
func initError(path string, err error) error {
	switch c := code(err); {
	case c == pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED:
		return fmt.Errorf("%w: initialising the module %s: another part of this process has initialised it: %w", ErrUnavailable, path, err)
	case c == pkcs11.CKR_ARGUMENTS_BAD:
		return fmt.Errorf("%w: initialising the module %s: it refuses init_args: correct them, or leave them out: %w", ErrUnavailable, path, err)
	case c == nssNoCertDB, c == nssNoKeyDB:
		return fmt.Errorf("%w: initialising the module %s: it cannot open the database that init_args name: does the folder after "+
			"configdir='sql: exist, and is it this user's?: NSS code %#x", ErrUnavailable, path, uint(c))
	}
	return fmt.Errorf("%w: initialising the module %s: %w", ErrUnavailable, path, told(err))
}

// Codes of NSS softokn's own.
const (
	nssNoCertDB pkcs11.Error = 0xCE534351
	nssNoKeyDB  pkcs11.Error = 0xCE534352
)

// environ is held while what a module reads from the environment matters.
var environ sync.Mutex

func initialise(ctx cryptoki, args string, prepare func() error) error {
	environ.Lock()
	defer environ.Unlock()
	if prepare != nil {
		if err := prepare(); err != nil {
			return err
		}
	}
	if args == "" {
		return ctx.Initialize()
	}
	reserved := append([]byte(args), 0)
	return ctx.Initialize(pkcs11.InitializeWithReserved(unsafe.Pointer(&reserved[0])))
}

// release ends one use of m; the last one finalises the library.
func (m *module) release() error {
	loaded.Lock()
	defer loaded.Unlock()
	m.refs--
	if m.refs > 0 {
		return nil
	}
	delete(loaded.m, m.path)
	var err error
	if !m.down.Load() { // nobody else has it now
		err = m.ctx.Finalize()
	}
	m.ctx.Destroy()
	return err
}

// slot finds the one token of a label. Its errors say what to do.
func (m *module) slot(label string) (uint, pkcs11.TokenInfo, error) {
	var found []uint
	var info pkcs11.TokenInfo
	slots, err := m.ctx.GetSlotList(true)
	if err != nil {
		return 0, info, fmt.Errorf("%w: listing the slots: %w", ErrUnavailable, told(err))
	}
	blank, others, unread := 0, []string(nil), ""
	for _, s := range slots {
		i, err := m.ctx.GetTokenInfo(s)
		if err != nil { // a token that was just pulled out is not ours
			unread = fmt.Sprintf(" (of slot %d the module says nothing: %v)", s, told(err))
			continue
		}
		if i.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			blank++
		} else if i.Label == label {
			found, info = append(found, s), i
		} else {
			others = append(others, fmt.Sprintf("%q", i.Label))
		}
	}
	switch {
	case len(found) == 1:
		return found[0], info, nil
	case len(found) > 1:
		return 0, info, fmt.Errorf("%w: %d tokens have the label %q: give each its own", ErrUnavailable, len(found), label)
	case blank > 0:
		return 0, info, noToken(label, others, fmt.Sprintf("if this HSM is new (%d of its slots hold a token that nobody initialised), make it by a ceremony of the kind init-token; for a trial, tapvault init makes one on SoftHSM", blank))
	}
	return 0, info, noToken(label, others, "if it is not among them, connect the HSM that has it"+unread)
}

// noToken says that no token has a label, and what there is.
func noToken(label string, others []string, or string) error {
	there := "the module shows no token that was initialised"
	if len(others) > 0 {
		slices.Sort(others)
		there = "the module's tokens are " + strings.Join(others, ", ")
	}
	return fmt.Errorf("%w: %w %q; %s: correct the label in the configuration; %s", ErrUnavailable, errNoToken, label, there, or)
}

// claim makes a Token the owner of the login on the token of a label.
func (m *module) claim(label string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owned[label] {
		return fmt.Errorf("%w: the token %q is already open in this process", ErrUnavailable, label)
	}
	m.owned[label] = true
	return nil
}

func (m *module) unclaim(label string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.owned, label)
}

// code returns the PKCS #11 code in err, or CKR_OK.
func code(err error) pkcs11.Error {
	var e pkcs11.Error
	if errors.As(err, &e) {
		return e
	}
	return pkcs11.CKR_OK
}
