//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
)

// load is callers who send requests with known answers, and what they were
// answered.
type load struct {
	f       *fleet
	checks  []check
	purses  []string      // wallets
	well    []atomic.Bool // which processes are ready
	callers int
	enough  atomic.Int64
	next    atomic.Int64
	wg      sync.WaitGroup
	stop    context.CancelFunc

	sent, answered, again atomic.Int64
	forged                atomic.Int64 // purchases that were asked about
	row                   atomic.Int64 // of the fault that is played, or between

	mu      sync.Mutex
	refs    map[string]int // of tokens that were answered: the row they count in
	moved   map[string]int // likewise movements of money
	numbers map[string]struct{}
	paid    map[string]int64 // of wallets, in fen
	wrong   []string
	failed  error
}

// check is a purchase whose answer is known.
type check struct {
	body wire.PurchaseVerify
	good bool
}

const (
	wallets    = 64
	purchases  = 1024
	forgeries  = 12
	between    = -1 // in no row
	foreverish = int64(1) << 62
)

func newLoad(ctx context.Context, f *fleet, c Config) (*load, error) {
	l := &load{f: f, refs: map[string]int{}, moved: map[string]int{}, numbers: map[string]struct{}{}, paid: map[string]int64{}, well: make([]atomic.Bool, len(f.nodes))}
	l.enough.Store(foreverish)
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
			for l.answered.Load() < l.enough.Load() && l.failure() == nil {
				if err := l.one(ctx, l.next.Add(1)); err != nil {
					l.fail(err)
				}
			}
		})
	}
}

// finish ends the calls, not before so many were answered.
func (l *load) finish(least int64) {
	l.enough.Store(least)
	l.wg.Wait()
	l.stop()
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

// one is the nth request: nine in ten are checks, then a token or a top-up.
func (l *load) one(ctx context.Context, n int64) error {
	switch n % 20 {
	case 3:
		return l.issue(ctx, n, nil)
	case 11:
		return l.topUp(ctx, n)
	}
	return l.verify(ctx, n)
}

// send sends a request until it is answered for good, each time to a process
// that is ready, if there is one; to one alone where that is given.
func (l *load) send(ctx context.Context, only *node, key string, do func(context.Context, *client.Client) error) error {
	var err error
	for try, end := 0, time.Now().Add(patience); time.Now().Before(end); try++ {
		n := only
		if n == nil {
			n = l.pick()
		}
		l.sent.Add(1)
		if try > 0 {
			l.again.Add(1)
		}
		if err = do(client.WithAttempt(ctx, key), n.client); final(err) {
			l.answered.Add(1)
			return err
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

// final tells an answer from a fault, which says to come again, and from a
// process whose clock is wrong, which believes nobody.
func final(err error) bool {
	if err == nil {
		return true
	}
	var e *client.Error
	return errors.As(err, &e) && e.Status < 500 && e.Status != http.StatusTooManyRequests && e.Status != http.StatusUnauthorized
}

// verify asks for a check whose answer is known.
func (l *load) verify(ctx context.Context, n int64) error {
	i := n % int64(len(l.checks))
	if !l.checks[i].good && l.forged.Add(1) > forgeries {
		i++ // a good one: who shows many that are not is taken for a guesser
	}
	q := l.checks[i]
	err := l.send(ctx, nil, fmt.Sprintf("check-%d", n), func(ctx context.Context, c *client.Client) error { return c.VerifyPurchase(ctx, q.body) })
	if q.good && err == nil || !q.good && client.IsProblem(err, "refused") {
		return nil
	}
	return fmt.Errorf("a check was answered wrongly: %w", errors.Join(err, fmt.Errorf("it is good: %v", q.good)))
}

// issue asks for a token of a new card.
func (l *load) issue(ctx context.Context, n int64, only *node) error {
	digits := fmt.Sprintf("6212%011d", n)
	q := wire.TokenRequest{PAN: wire.NewDigits(digits + string(token.LuhnDigit(digits))), PANExpiry: "4912", Location: "03"}
	var got wire.Token
	err := l.send(ctx, only, fmt.Sprintf("token-%d", n), func(ctx context.Context, c *client.Client) (err error) {
		got, err = c.RequestToken(ctx, q)
		return err
	})
	if err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, twice := l.numbers[got.Number]
	_, again := l.refs[got.Ref]
	if twice || again {
		l.wrong = append(l.wrong, "the token "+got.Ref+" was given out twice")
	}
	l.numbers[got.Number], l.refs[got.Ref] = struct{}{}, int(l.row.Load())
	return nil
}

// topUp moves money.
func (l *load) topUp(ctx context.Context, n int64) error {
	purse, amount := l.purses[rand.IntN(len(l.purses))], uint32(1+n%97)
	key := fmt.Sprintf("move-%d", n)
	err := l.send(ctx, nil, key, func(ctx context.Context, c *client.Client) error {
		_, err := c.AccountEvent(ctx, purse, wire.AccountEvent{ID: key, Type: "TOP_UP", Amount: amount})
		return err
	})
	if err != nil {
		return fmt.Errorf("moving money: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paid[purse] += int64(amount)
	l.moved[key] = int(l.row.Load())
	return nil
}

// serves waits until every process is ready and has issued a token.
func (l *load) serves(ctx context.Context) error {
	for _, n := range l.f.nodes {
		if err := l.f.up(ctx, n); err != nil {
			return err
		}
		if err := l.issue(ctx, l.next.Add(1), n); err != nil {
			return fmt.Errorf("%w; it said: %s", err, n.said())
		}
	}
	return nil
}
