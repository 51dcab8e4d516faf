//go:build cgo

package hsm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
)

// allBack fails the test when a session or worker did not come back.
func allBack(t *testing.T, tok *hsm.Token, sessions, workers int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) { // a worker answers the last job before it is idle
		if s, w := tok.Idle(); s == sessions && w == workers {
			return
		}
	}
	s, w := tok.Idle()
	t.Errorf("%d sessions and %d workers are free, want %d and %d", s, w, sessions, workers)
}

// counting counts sessions, searches and PIN tries, and fails calls on demand.
type counting struct {
	hsm.Cryptoki
	opened, closed, inits, finals atomic.Int64
	sign, find                    atomic.Pointer[error]
	block                         chan struct{}
}

func (c *counting) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	c.opened.Add(1)
	return c.Cryptoki.OpenSession(slot, flags)
}

func (c *counting) CloseSession(s pkcs11.SessionHandle) error {
	c.closed.Add(1)
	return c.Cryptoki.CloseSession(s)
}

func (c *counting) FindObjectsInit(s pkcs11.SessionHandle, t []*pkcs11.Attribute) error {
	c.inits.Add(1)
	return c.Cryptoki.FindObjectsInit(s, t)
}

func (c *counting) FindObjects(s pkcs11.SessionHandle, max int) ([]pkcs11.ObjectHandle, bool, error) {
	if err := c.find.Load(); err != nil {
		return nil, false, *err
	}
	return c.Cryptoki.FindObjects(s, max)
}

func (c *counting) FindObjectsFinal(s pkcs11.SessionHandle) error {
	c.finals.Add(1)
	return c.Cryptoki.FindObjectsFinal(s)
}

func (c *counting) Sign(s pkcs11.SessionHandle, mech uint, key pkcs11.ObjectHandle, b []byte) ([]byte, error) {
	if err := c.sign.Load(); err != nil {
		return nil, *err // as if the operation had stayed active in the session
	}
	if c.block != nil {
		<-c.block
	}
	return c.Cryptoki.Sign(s, mech, key, b)
}

func inject(t *testing.T, tok *hsm.Token) *counting {
	c := &counting{}
	restore := tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { c.Cryptoki = in; return c })
	t.Cleanup(restore)
	return c
}

func small(c *hsm.Config) { c.MaxSessions = 1 }

// TestSickSessionsAreReplaced fails operations half-way. The session still has
// the operation open, so nobody may get it again.
func TestSickSessionsAreReplaced(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Config: small})
	c := inject(t, tok)
	for i := range 5 {
		sick := error(pkcs11.Error(pkcs11.CKR_FUNCTION_FAILED))
		c.sign.Store(&sick)
		_, err := tok.HMAC(t.Context(), ref(keyref.PARKey), []byte("x"))
		refuses(t, "a failing Sign", err, hsm.ErrUnavailable, "computing with par.v1", "CKR_FUNCTION_FAILED")
		if got := c.closed.Load(); got != int64(i+1) {
			t.Errorf("%d sessions were closed after %d failures", got, i+1)
		}
		c.sign.Store(nil)
		if _, err := tok.HMAC(t.Context(), ref(keyref.PARKey), []byte("x")); err != nil {
			t.Fatalf("after a failure: %v", err)
		}
		allBack(t, tok, 1, 1)
	}
}

func TestSearchesAreEnded(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	c := inject(t, tok)
	sick := error(pkcs11.Error(pkcs11.CKR_FUNCTION_FAILED))
	c.find.Store(&sick)
	if _, err := tok.Inventory(t.Context()); err == nil {
		t.Error("a failing search succeeded")
	}
	if err := tok.Require(t.Context(), ref(keyref.PARKey)); err == nil {
		t.Error("a failing search succeeded")
	}
	c.find.Store(nil)
	if err := tok.Require(t.Context(), ref(keyref.PARKey)); err != nil {
		t.Error(err)
	}
	if i, f := c.inits.Load(), c.finals.Load(); i == 0 || i != f {
		t.Errorf("%d searches begun, %d ended", i, f)
	}
}

func TestWaitForSessionEndsWithContext(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Config: small})
	c := inject(t, tok)
	c.block = make(chan struct{})
	begun := make(chan error)
	go func() {
		_, err := tok.HMAC(context.Background(), ref(keyref.PARKey), []byte("x"))
		begun <- err
	}()
	for s, _ := tok.Idle(); s != 0; s, _ = tok.Idle() {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := tok.Random(ctx, make([]byte, 8)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a waiting call: %v", err)
	}
	close(c.block) // the call that had begun is completed
	if err := <-begun; err != nil {
		t.Error(err)
	}
	allBack(t, tok, 1, 1)
	done, cancel2 := context.WithCancel(t.Context())
	cancel2()
	for name, call := range map[string]func() error{
		"Random":     func() error { return tok.Random(done, make([]byte, 1)) },
		"ProcessMAC": func() error { _, err := mac(done, tok, 1); return err },
		"Require":    func() error { return tok.Require(done, ref(keyref.PARKey)) },
		"Generate":   func() error { return tok.Generate(done, keyref.Ref{Usage: keyref.PARKey, Version: 2}) },
		"Open":       func() error { _, err := hsm.Open(done, hsmtest.Empty(t)); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v", name, err)
		}
	}
	allBack(t, tok, 1, 1)
}

// mac is one use of the hot path, for card number n.
func mac(ctx context.Context, tok *hsm.Token, n byte) ([4]byte, error) {
	p, err := ref(keyref.PurchaseMaster).Path(keyref.Factor{1}, keyref.Factor{n})
	if err != nil {
		return [4]byte{}, err
	}
	out, err := tok.ProcessMAC(ctx, p, [8]byte{n}, []byte{n})
	if err != nil {
		return [4]byte{}, err
	}
	return out[0], nil
}

// master is the value of the purchase master in tests that check answers.
var master = [16]byte([]byte("sixteen letters!"))

func known(t *testing.T, change func(*hsm.Config)) *hsm.Token {
	return hsmtest.New(t, hsmtest.Options{Values: map[keyref.Ref][]byte{ref(keyref.PurchaseMaster): master[:]}, Config: change})
}

// want is what [mac] has to answer.
func want(n byte) [4]byte {
	return softMAC(tdes(softDiversify(master, keyref.Factor{1}, keyref.Factor{n}), [8]byte{n}), []byte{n})
}

func TestJobsQueue(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			tok := known(t, func(c *hsm.Config) { c.Workers = workers })
			giveBack := tok.Borrow()
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for n := range byte(60) {
				wg.Go(func() {
					if n%4 == 0 {
						if _, err := mac(ctx, tok, n); !errors.Is(err, context.Canceled) {
							t.Errorf("a cancelled job: %v", err)
						}
					} else if got, err := mac(t.Context(), tok, n); err != nil || got != want(n) {
						t.Errorf("job %d: %X, %v", n, got, err)
					}
				})
			}
			for tok.Queued() < 60 {
				time.Sleep(time.Millisecond)
			}
			cancel()
			for tok.Queued() > 45 {
				time.Sleep(time.Millisecond)
			}
			giveBack()
			wg.Wait()
			allBack(t, tok, 16, workers)
		})
	}
}

// TestBatchWithBadJobs mixes jobs that cannot be done into a batch.
func TestBatchWithBadJobs(t *testing.T) {
	tok := known(t, nil)
	other := keyref.Ref{Realm: "other", Usage: keyref.PurchaseMaster, Version: 1}
	giveBack := tok.Borrow()
	var wg sync.WaitGroup
	for n := range byte(32) {
		wg.Go(func() {
			if n%3 == 0 {
				p, _ := other.Path(keyref.Factor{n})
				_, err := tok.ProcessMAC(t.Context(), p, [8]byte{}, []byte("m"))
				refuses(t, "a job without key", err, hsm.ErrKeyMissing)
			} else if got, err := mac(t.Context(), tok, n); err != nil || got != want(n) {
				t.Errorf("job %d: %X, %v", n, got, err)
			}
		})
	}
	for tok.Queued() < 32 {
		time.Sleep(time.Millisecond)
	}
	giveBack()
	wg.Wait()
}

func TestWorkerSessionLost(t *testing.T) {
	tok := known(t, nil)
	for n := range byte(6) {
		if got, err := mac(t.Context(), tok, 1); err != nil || got != want(1) {
			t.Fatalf("%d: %X, %v", n, got, err)
		}
		tok.CloseWorkers()
	}
	if tok.Generation() != 1 {
		t.Error("a lost worker session cost a login")
	}
}

func TestKeptKeys(t *testing.T) {
	tok := known(t, func(c *hsm.Config) { c.CachedKeys = 8 })
	for range 3 {
		for n := range byte(40) {
			for range 4 { // derived, kept, used, used
				if got, err := mac(t.Context(), tok, n); err != nil || got != want(n) {
					t.Fatalf("card %d: %X, %v", n, got, err)
				}
			}
		}
	}
	if n := tok.Kept(); n != 8 {
		t.Errorf("%d keys are kept, want 8", n)
	}
	once := known(t, nil)
	for n := range byte(100) {
		if _, err := mac(t.Context(), once, n); err != nil {
			t.Fatal(err)
		}
	}
	if n := once.Kept(); n != 1 {
		t.Errorf("%d keys are kept of cards seen once, want 1, the issuer's", n)
	}
}

func TestLostLogin(t *testing.T) {
	tok := known(t, nil)
	for i := range 5 {
		if err := tok.Logout(); err != nil {
			t.Fatal(err)
		}
		var err error
		switch i {
		case 0:
			_, err = mac(t.Context(), tok, 1)
		case 1:
			_, err = tok.Sign(t.Context(), ref(keyref.CredSign), [32]byte{1})
		case 2:
			err = tok.Health(t.Context())
		case 3:
			err = tok.Require(t.Context(), ref(keyref.LoadMaster))
		case 4:
			var list []keyref.Info
			if list, err = tok.Inventory(t.Context()); err == nil && len(list) != len(keyceremony.ServiceKeys(hsmtest.Realm)) {
				t.Errorf("the inventory has %d keys", len(list))
			}
		}
		if err != nil {
			t.Errorf("call %d after the login was lost: %v", i, err)
		}
		if got, err := mac(t.Context(), tok, 1); err != nil || got != want(1) {
			t.Errorf("%d: %X, %v", i, got, err)
		}
		if got := tok.Generation(); got != uint64(i+2) {
			t.Errorf("login %d, want %d", got, i+2)
		}
	}
	allBack(t, tok, 16, 1)
}

// leaving loses the login while a key is tried.
type leaving struct {
	hsm.Cryptoki
	leave func() error
}

func (l leaving) DecryptInit(pkcs11.SessionHandle, []*pkcs11.Mechanism, pkcs11.ObjectHandle) error {
	return errors.Join(l.leave(), pkcs11.Error(pkcs11.CKR_GENERAL_ERROR))
}

// TestLoginLostInTrial: what seals with one half and does not open with the other
// may be two keys, or nobody is logged in any more.
func TestLoginLostInTrial(t *testing.T) {
	tok := known(t, nil)
	restore := tok.Inject(func(c hsm.Cryptoki) hsm.Cryptoki { return leaving{c, tok.Logout} })
	err := tok.Require(t.Context(), ref(keyref.PANSeal))
	restore()
	refuses(t, "a trial without a login", err, hsm.ErrUnavailable, "CKR_USER_NOT_LOGGED_IN")
	if errors.Is(err, hsm.ErrKeyUnfit) {
		t.Errorf("a lost login says of a key: %v", err)
	}
	if err := tok.Require(t.Context(), ref(keyref.PANSeal)); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// TestHealthMissesKeys: an object goes while the token still answers.
func TestHealthMissesKeys(t *testing.T) {
	for label, class := range map[string]uint{"par.v1": pkcs11.CKO_SECRET_KEY, "pan-seal.v1.2": pkcs11.CKO_SECRET_KEY,
		"cred-sign.v1": pkcs11.CKO_PRIVATE_KEY} {
		tok := known(t, nil)
		if err := errors.Join(tok.Health(t.Context()), tok.Remove(label, class)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			refuses(t, label, tok.Health(t.Context()), hsm.ErrKeyMissing, label)
		}
		allBack(t, tok, 16, 1)
	}
}

// TestPINRefusedLater: the PIN was changed while we ran, and the login lost. Once it
// is corrected, all goes on.
func TestPINRefusedLater(t *testing.T) {
	pin := atomic.Pointer[string]{}
	good, bad := hsmtest.PIN, "654321"
	pin.Store(&good)
	var told []error
	tok := known(t, func(c *hsm.Config) {
		c.PIN = func(use func([]byte) error) error { return use([]byte(*pin.Load())) }
		c.OnPIN = func(err error) { told = append(told, err) }
	})
	pin.Store(&bad)
	if err := tok.Logout(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_, err := mac(t.Context(), tok, 1)
		refuses(t, "a job", err, hsm.ErrPIN, "wrong PIN for token", "will not be tried again until the file changes")
		refuses(t, "health", tok.Health(t.Context()), hsm.ErrPIN, "wrong PIN")
	}
	pin.Store(&good)
	if got, err := mac(t.Context(), tok, 1); err != nil || got != want(1) {
		t.Errorf("with the right PIN: %X, %v", got, err)
	}
	if len(told) != 1 || !errors.Is(told[0], hsm.ErrPIN) {
		t.Errorf("told of %v, want of one PIN that was refused", told)
	}
	allBack(t, tok, 16, 1)
}

// TestHammer lets 32 callers do everything at once, on few sessions, while the
// login is taken away again and again.
func TestHammer(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			tok := known(t, func(c *hsm.Config) { c.Workers, c.MaxSessions, c.CachedKeys = workers, 4, 8 })
			stop := make(chan struct{})
			var wg, thief sync.WaitGroup
			var alone sync.RWMutex // NSS says half of the truth while somebody logs out
			together := hsmtest.On(t) != "nss"
			thief.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(100 * time.Millisecond):
						alone.Lock()
						tok.Logout() // may find nobody logged in
						alone.Unlock()
					}
				}
			})
			begin := time.Now()
			for g := range byte(32) {
				wg.Go(func() {
					for i := range byte(200) {
						if together {
							hammer(t, tok, g+i, i)
							continue
						}
						alone.RLock()
						hammer(t, tok, g+i, i)
						alone.RUnlock()
					}
				})
			}
			wg.Wait()
			close(stop)
			thief.Wait()
			t.Logf("%d logins, %v", tok.Generation(), time.Since(begin))
			allBack(t, tok, 4, workers)
		})
	}
}

// TestTwoCallers lets two callers come back all the time, so that they take turns, and
// often go away while they wait or have the worker.
func TestTwoCallers(t *testing.T) {
	tok := known(t, func(c *hsm.Config) { c.Workers, c.MaxSessions = 1, 4 })
	tok.AtOnce(time.Millisecond)
	for round := range 20 {
		var wg sync.WaitGroup
		for g := range byte(2) {
			wg.Go(func() {
				for i := range 100 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					if i%20 == 19 {
						cancel()
						ctx, cancel = context.WithTimeout(t.Context(), time.Duration(i*round)*time.Microsecond)
					}
					n := g + byte(i)
					got, err := mac(ctx, tok, n)
					cancel()
					if err == nil && got != want(n) {
						t.Errorf("card %d: %X, want %X", n, got, want(n))
					}
					if err != nil && (i%20 != 19 || !errors.Is(err, context.DeadlineExceeded)) {
						t.Errorf("call %d: %v", i, err)
					}
				}
			})
		}
		wg.Wait()
		if n := tok.Queued(); n != 0 {
			t.Fatalf("%d jobs wait, and nobody for them", n)
		}
	}
	allBack(t, tok, 4, 1)
}

// hammer does one operation. A login that is taken away twice within one call
// may fail it; a wrong answer never happens.
func hammer(t *testing.T, tok *hsm.Token, n, op byte) {
	var err error
	switch op % 5 {
	case 0, 1:
		var got [4]byte
		if got, err = mac(t.Context(), tok, n); err == nil && got != want(n) {
			t.Errorf("card %d: %X, want %X", n, got, want(n))
		}
	case 2:
		var sealed, back []byte
		if sealed, err = tok.Seal(t.Context(), ref(keyref.PANSeal), []byte{n}, []byte("row")); err == nil {
			back, err = tok.Unseal(t.Context(), ref(keyref.PANSeal), sealed, []byte("row"))
			if err == nil && !bytes.Equal(back, []byte{n}) {
				t.Errorf("unsealed %d for %d", back, n)
			}
		}
	case 3:
		_, err = tok.HMAC(t.Context(), ref(keyref.PARKey), []byte{n})
	case 4:
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err = mac(ctx, tok, n)
		cancel()
	}
	if err != nil && !errors.Is(err, hsm.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("operation %d: %v", op%5, err)
	}
}

func TestCloseWhileInUse(t *testing.T) {
	cfg := hsmtest.Empty(t)
	for range 5 {
		tok, err := hsm.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		r := keyref.Ref{Realm: hsmtest.Realm, Usage: keyref.PurchaseMaster, Version: 1}
		if err := tok.ImportScratch(t.Context(), r, master[:]); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range byte(16) {
			wg.Go(func() {
				for {
					got, err := mac(t.Context(), tok, g)
					if err == nil {
						err = tok.Health(t.Context())
					}
					if err != nil {
						refuses(t, "after Close", err, hsm.ErrUnavailable, "this token was closed")
						return
					}
					if got != want(g) {
						t.Errorf("card %d: %X", g, got)
					}
				}
			})
		}
		time.Sleep(10 * time.Millisecond)
		if err := tok.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		refuses(t, "Require", tok.Require(t.Context(), r), hsm.ErrUnavailable, "this token was closed")
		refuses(t, "ImportScratch", tok.ImportScratch(t.Context(), r, master[:]), hsm.ErrUnavailable, "this token was closed")
		refuses(t, "Generate", tok.Generate(t.Context(), r), hsm.ErrUnavailable, "this token was closed")
	}
}
