//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
)

// load is callers who send requests with known answers, and what they were
// answered.
type load struct {
	f       *fleet
	checks  []check
	purses  []string      // wallets
	well    []atomic.Bool // which processes are ready
	callers int
	enough  atomic.Bool
	next    atomic.Int64
	wg      sync.WaitGroup
	stop    context.CancelFunc

	sent, answered, again, broken, opened atomic.Int64
	busy                                  *atomic.Int64
	forged                                atomic.Int64 // purchases that were asked about
	row                                   atomic.Int64 // of the fault that is played, or between

	mu      sync.Mutex
	kept    []issued       // some of the last
	refs    map[string]int // of tokens that were answered: the row they count in
	moved   map[string]int // likewise movements of money
	numbers map[string]struct{}
	paid    map[string]int64 // of wallets, in fen
	wrong   []string
	failed  error
	last    error // of a request that was not answered
}

// issued is a token whose card number is known.
type issued struct{ ref, digits string }

// check is a purchase whose answer is known.
type check struct {
	body wire.PurchaseVerify
	good bool
}

const (
	wallets   = 64
	purchases = 1024
	forgeries = 12
	mostKept  = 4096
	between   = -1 // in no row
)

func newLoad(ctx context.Context, f *fleet, c Config) (*load, error) {
	l := &load{f: f, refs: map[string]int{}, moved: map[string]int{}, numbers: map[string]struct{}{}, paid: map[string]int64{}, well: make([]atomic.Bool, len(f.nodes)), busy: &f.busy}
	l.row.Store(between)
	for i := range purchases {
		q, err := f.purchase(ctx, i)
		if err != nil {
			return nil, err
		}
		l.checks = append(l.checks, q)
	}
	for i := range wallets {
		w, err := f.nodes[0].client.OpenWallet(client.WithAttempt(ctx, fmt.Sprintf("wallet-%d", i)), wire.WalletRequest{})
		if err != nil {
			return nil, fmt.Errorf("opening a wallet: %w", err)
		}
		l.purses = append(l.purses, w.ID)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	for i := range f.nodes {
		go l.look(running, i)
	}
	l.callers = c.Callers
	return l, nil
}

// purchase is the nth purchase of the test card; one in a hundred is forged.
func (f *fleet) purchase(ctx context.Context, n int) (c check, err error) {
	q := &c.body
	q.Card = wire.Card{Realm: purse.Realm, KeyVersion: 1}
	q.OfflineSeq, q.Amount, q.TxnType, q.TermSeq = uint16(n), 200, 6, uint32(n)
	q.TermID, q.Date, q.Time = wire.Hex6{5: 1}, wire.Date{0x20, 0x26, 0x01, 0x02}, wire.Time{0x08, 0x30, 0}
	p := cryptogram.Purchase{Rand: q.Rand, Seq: q.OfflineSeq, Amount: q.Amount, Type: cryptogram.Type(q.TxnType), TermSeq: q.TermSeq, Terminal: q.TermID}
	copy(p.At[:4], q.Date[:])
	copy(p.At[4:], q.Time[:])
	path, err := purse.Path()
	if err != nil {
		return c, err
	}
	_, mac2, err := cryptogram.PurchaseMACs(ctx, f.cards, path, p)
	if c.good = n%100 != 7; !c.good {
		mac2[0]++
	}
	q.MAC2 = mac2
	return c, err
}

// look asks a process now and then whether it is ready, as a balancer does.
func (l *load) look(ctx context.Context, i int) {
	for {
		l.well[i].Store(l.f.nodes[i].ready(ctx))
		if wait(ctx, 250*time.Millisecond) != nil {
			return
		}
	}
}

// begin lets the callers call.
func (l *load) begin(ctx context.Context) {
	for range l.callers {
		l.wg.Go(func() {
			for !l.enough.Load() && l.failure() == nil {
				if err := l.one(ctx, l.next.Add(1)); err != nil {
					l.fail(err)
				}
			}
		})
	}
}

// finish ends the calls.
func (l *load) finish() {
	l.enough.Store(true)
	l.wg.Wait()
	l.stop()
}

// crowd has four times as many callers call besides for a while, who come back
// sooner than they are told to.
func (l *load) crowd(ctx context.Context, d time.Duration) error {
	var wg sync.WaitGroup
	for end, n := time.Now().Add(d), 0; n < 4*l.callers; n++ {
		wg.Go(func() {
			for time.Now().Before(end) && l.failure() == nil {
				if err := l.verify(ctx, l.next.Add(1)); err != nil {
					l.fail(err)
				}
			}
		})
	}
	wg.Wait()
	return l.failure()
}

// counts is how much was asked and answered.
type counts struct{ sent, answered, again, broken, busy int64 }

func (l *load) count() counts {
	busy := l.busy.Load()
	return counts{sent: l.sent.Load(), answered: l.answered.Load(), again: l.again.Load() - busy, broken: l.broken.Load(), busy: busy}
}

func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

// one is the nth request: of a hundred, one asks for a token, one moves money, one
// opens a card number, and the others are checks.
func (l *load) one(ctx context.Context, n int64) error {
	switch n % 100 {
	case 3:
		return l.issue(ctx, n, nil)
	case 28:
		return l.topUp(ctx, n)
	case 91:
		return l.open(ctx, n)
	}
	return l.verify(ctx, n)
}

// send sends a request until it is answered for good, each time to a process
// that is ready, if there is one; to one alone where that is given.
func (l *load) send(ctx context.Context, only *node, key string, do func(context.Context, *node) error) error {
	var err error
	again := false
	for end := time.Now().Add(patience); time.Now().Before(end); {
		n := only
		if n == nil {
			n = l.pick()
		}
		l.sent.Add(1)
		if again {
			l.again.Add(1)
		}
		if err = do(client.WithAttempt(ctx, key), n); final(err) {
			l.answered.Add(1)
			return err
		}
		if again = !refused(err); !again {
			l.sent.Add(-1)
		} else if broke(err) {
			l.broke(err)
		}
		if err := wait(ctx, time.Duration(20+rand.IntN(80))*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s was not answered in %v: %w", key, patience, err)
}

func (l *load) pick() *node {
	first := rand.IntN(len(l.f.nodes))
	for i := range l.f.nodes {
		if k := (first + i) % len(l.f.nodes); l.well[k].Load() {
			return l.f.nodes[k]
		}
	}
	return l.f.nodes[first]
}

// refused reports whether no connection came up: nothing was sent. A balancer
// tries another process then, and its caller knows nothing of it.
func refused(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "dial"
}

// broke reports whether a process left a request without an answer, or answered
// that it failed. One that says in good time that it cannot, or a machine that is
// too busy for an answer in time, is another matter.
func broke(err error) bool {
	var e *client.Error
	if errors.As(err, &e) {
		return e.Status == http.StatusInternalServerError
	}
	var slow net.Error
	return !errors.As(err, &slow) || !slow.Timeout()
}

func (l *load) broke(err error) {
	l.broken.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = err
}

// final tells an answer from a fault, which says to come again, and from a
// process whose clock is wrong, which believes nobody.
func final(err error) bool {
	if err == nil {
		return true
	}
	var e *client.Error
	return errors.As(err, &e) && e.Status < 500 && e.Status != http.StatusTooManyRequests && e.Status != http.StatusUnauthorized
}
