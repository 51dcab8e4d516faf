package trail

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
)

// TestCrowd: callers who come when they like, wait at once, later or not at all,
// at a disk that is slow and fails, are each told what became of their own
// record, in time, and also when the trail is closed among them.
func TestCrowd(t *testing.T) {
	for seed := range uint64(24) {
		c := &crowd{rounds: 30, disk: time.Duration(seed%4) * time.Millisecond, told: map[string]error{}}
		if c.callers = 24; seed%2 == 1 {
			c.callers = 3 // no crowd
		}
		synctest.Test(t, func(t *testing.T) { c.run(t, seed) })
	}
}

// crowd is a test's callers and what they were told.
type crowd struct {
	callers, rounds int
	disk            time.Duration // what a sync takes

	trail *Trail
	file  *moody
	mu    sync.Mutex
	told  map[string]error // of each record, unless its caller left
}

func (c *crowd) run(t *testing.T, seed uint64) {
	path := filepath.Join(t.TempDir(), "audit.log")
	c.trail = open(t, path)
	c.file = &moody{File: c.trail.file, dice: rand.New(rand.NewPCG(seed, 0)), slow: c.disk, dies: seed%5 == 4}
	c.trail.file = c.file
	var wg sync.WaitGroup
	for n := range c.callers {
		wg.Go(func() { c.call(t, n, rand.New(rand.NewPCG(seed, uint64(n+1)))) })
	}
	if seed%3 == 0 {
		wg.Go(func() {
			time.Sleep(time.Duration(c.rounds) * pause)
			_ = c.trail.Close()
		})
	}
	wg.Wait()
	if err := c.trail.Close(); err != nil {
		t.Error(err)
	}
	c.compare(t, read(t, path))
}

// call is one caller, who never has two records in hand.
func (c *crowd) call(t *testing.T, caller int, dice *rand.Rand) {
	for n := range c.rounds {
		time.Sleep(some(dice, 3*pause))
		ctx, leave := context.WithCancel(t.Context())
		e := entry(caller*1000 + n)
		wait, err := c.trail.Begin(ctx, e)
		if err != nil { // closed
			leave()
			c.tell(e.Object, err)
			continue
		}
		most := 2*c.disk + pauses*pause // from when it is waited for
		switch dice.IntN(4) {
		case 0:
			time.Sleep(some(dice, 2*lag))
		case 1:
			time.Sleep(2*c.disk + lag)
			most = 0 // because it was done meanwhile
		case 2:
			if dice.IntN(2) == 0 {
				time.AfterFunc(some(dice, pause), leave)
			}
		}
		waited := time.Now()
		err = wait()
		if took := time.Since(waited); took > most {
			t.Errorf("caller %d waited %v for a record, at most %v were due", caller, took, most)
		}
		if !errors.Is(err, context.Canceled) {
			c.tell(e.Object, err)
		}
		leave()
	}
}

// some is a while below most.
func some(dice *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(dice.Int64N(int64(most)))
}

func (c *crowd) tell(object string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told[object] = err
}

// compare checks that the trail has what callers were told, once and in order.
func (c *crowd) compare(t *testing.T, text []byte) {
	var recorded, refused int
	before := map[int]int{}
	_, err := verify(bytes.NewReader(text), func(l line, _ []byte) error {
		err, known := c.told[l.Object]
		if known && err != nil && !c.file.dead { // of the last group, nobody knows
			t.Errorf("%s is recorded, and its caller was told: %v", l.Object, err)
		}
		delete(c.told, l.Object)
		n := number(l.Object)
		if last, ok := before[n/1000]; ok && n <= last {
			t.Errorf("%s came after %d", l.Object, last)
		}
		before[n/1000] = n
		recorded++
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for object, err := range c.told {
		if fault.KindOf(err) != fault.AuditDown {
			t.Errorf("%s is not recorded, and its caller was told: %v", object, err)
		}
		refused++
	}
	if recorded == 0 || refused == 0 {
		t.Errorf("%d were recorded, %d refused", recorded, refused)
	}
}

func number(object string) (n int) {
	for _, c := range object[len("tr"):] {
		n = 10*n + int(c-'0')
	}
	return n
}

// moody is a file on a slow disk that is now and then full, and may die.
type moody struct {
	File
	dice *rand.Rand
	slow time.Duration
	dies bool
	dead bool
}

func (f *moody) Write(b []byte) (int, error) {
	if f.dice.IntN(6) > 0 {
		return f.File.Write(b)
	}
	n, _ := f.File.Write(b[:len(b)/2])
	return n, errors.New("the disk is full")
}

func (f *moody) Sync() error {
	time.Sleep(f.slow)
	if f.dies && f.dice.IntN(40) == 0 {
		f.dead = true
		return errors.New("the disk is dead")
	}
	return nil
}
