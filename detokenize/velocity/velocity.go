// Package velocity bounds how many card numbers each caller is given, by a
// bucket that is kept in the database.
//
// A bucket fills with time up to a bound. A process takes what it gives out in
// small blocks, so that most calls write nothing; what it took and did not give
// is lost when it ends. So a restart, or a second process, never gives more
// than the bucket held.
package velocity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
)

// Rate is how many card numbers a caller may be given.
type Rate struct {
	PerMinute int // 0: no limit
	Burst     int // at once, after a time of rest; 0: as many as in a minute
}

// Config is what a [Limiter] is made of. DB is required, and migrated.
type Config struct {
	DB      *store.DB
	Default Rate
	Callers map[string]Rate // instead of Default, by client id
	Now     func() time.Time
}

// Limiter bounds callers. It is safe for concurrent use.
type Limiter struct {
	cfg  Config
	mu   sync.Mutex
	held map[string]*purse
}

// purse is what this process took for a caller and has not given yet.
type purse struct {
	mu     sync.Mutex
	left   int64
	looked time.Time // at the stored bucket, by this process's clock
}

// mostHeld bounds the memory: callers whom another issuer names may be many.
const mostHeld = 10_000

// bounds of a rate, so that no arithmetic on it can overflow.
const maxRate = 1_000_000_000

// New checks cfg and returns a limiter.
func New(cfg Config) (*Limiter, error) {
	if cfg.DB == nil {
		return nil, errors.New("configuring velocity limits: a database is required")
	}
	for _, r := range cfg.rates() {
		if r.PerMinute < 0 || r.Burst < 0 || r.PerMinute > maxRate || r.Burst > maxRate {
			return nil, errors.New("configuring velocity limits: a rate is not negative and at most a thousand million")
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Limiter{cfg: cfg, held: make(map[string]*purse)}, nil
}

func (c Config) rates() []Rate {
	all := []Rate{c.Default}
	for _, r := range c.Callers {
		all = append(all, r)
	}
	return all
}

// rate is that of one caller.
func (l *Limiter) rate(caller string) Rate {
	r, ok := l.cfg.Callers[caller]
	if !ok {
		r = l.cfg.Default
	}
	if r.Burst == 0 {
		r.Burst = r.PerMinute
	}
	return r
}

// known says how long to wait for n where nobody has to look: not at all, or for ever.
func (r Rate) known(n int) (wait time.Duration, known bool) {
	switch {
	case r.PerMinute == 0 || n <= 0:
		return 0, true
	case n > r.Burst:
		return -1, true
	}
	return 0, false
}

// Take takes n from what a caller may still have. When that is too little it
// takes nothing and returns how long to wait, which is negative when waiting
// does not help: n is more than the bucket ever holds.
func (l *Limiter) Take(ctx context.Context, caller string, n int) (wait time.Duration, err error) {
	r := l.rate(caller)
	if wait, known := r.known(n); known {
		return wait, nil
	}
	p := l.purse(caller)
	p.mu.Lock()
	defer p.mu.Unlock()
	if need := int64(n) - p.left; need > 0 {
		var got int64
		now := l.cfg.Now()
		if got, wait, err = l.draw(ctx, caller, r, need, now, p.looked); err != nil || wait > 0 {
			return wait, err
		}
		p.looked = now
		p.left += got
	}
	p.left -= int64(n)
	return 0, nil
}

// Would returns how long to wait for n as things stand, and takes nothing: another may take
// it first.
func (l *Limiter) Would(ctx context.Context, caller string, n int) (wait time.Duration, err error) {
	r := l.rate(caller)
	if wait, known := r.known(n); known {
		return wait, nil
	}
	p := l.purse(caller)
	p.mu.Lock()
	defer p.mu.Unlock()
	need := (int64(n) - p.left) * whole
	if need <= 0 {
		return 0, nil
	}
	b, _, err := l.fill(l.cfg.DB.Read(ctx), caller, r, l.cfg.Now(), p.looked)
	if err != nil || b.Level >= need {
		return 0, err
	}
	return r.after(need - b.Level), nil
}

func (l *Limiter) purse(caller string) *purse {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.held[caller]
	if p == nil {
		if len(l.held) == mostHeld {
			clear(l.held) // what was in them is not given: the limit is kept
		}
		p = &purse{}
		l.held[caller] = p
	}
	return p
}

// bucket is a row. Level is in thousandths, so that slow rates fill it too.
type bucket struct {
	Client string `gorm:"primaryKey"`
	Level  int64
	At     int64
}

// TableName is the table.
func (bucket) TableName() string { return "velocity" }

const whole = 1000 // of a level

// draw takes what is needed out of the stored bucket, and a block beyond that
// when the bucket has it. It returns how long to wait when it has not enough.
func (l *Limiter) draw(ctx context.Context, caller string, r Rate, need int64, now, looked time.Time) (got int64, wait time.Duration, err error) {
	err = l.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		got, wait = 0, 0
		b, forgot, err := l.fill(tx, caller, r, now, looked)
		if err != nil {
			return err
		}
		if b.Level < need*whole {
			wait = r.after(need*whole - b.Level)
			if !forgot {
				return nil
			}
			return keep(tx, b)
		}
		got = min(b.Level/whole, need+max(int64(r.Burst)/20, 1)-1)
		b.Level -= got * whole
		return keep(tx, b)
	})
	return got, wait, err
}

func keep(tx *gorm.DB, b bucket) error {
	if err := tx.Save(&b).Error; err != nil {
		return fmt.Errorf("keeping a velocity limit: %w", err)
	}
	return nil
}

// ahead is by how much the clocks of processes may disagree.
const ahead = 2 * time.Minute

// fill reads a bucket and fills it by the time that has passed. A bucket that
// does not exist is full.
//
// A clock that is wrong fills nothing and stops nothing. Of what has passed since
// the bucket was filled last, by any process, no more counts than has passed since
// this one looked at it. And a moment that lies ahead was written by a clock that
// is wrong, or was: nothing flows in, and it is forgotten. Otherwise one process
// whose clock was a day ahead would keep a caller from all others for that day.
func (l *Limiter) fill(tx *gorm.DB, caller string, r Rate, now, looked time.Time) (b bucket, forgot bool, err error) {
	var rows []bucket
	if err := tx.Where("client = ?", caller).Limit(1).Find(&rows).Error; err != nil {
		return bucket{}, false, fmt.Errorf("reading a velocity limit: %w", err)
	}
	full := int64(r.Burst) * whole
	if len(rows) == 0 {
		return bucket{caller, full, now.UnixMilli()}, false, nil
	}
	b = rows[0]
	passed := now.UnixMilli() - b.At
	if !looked.IsZero() {
		passed = min(passed, now.Sub(looked).Milliseconds())
	}
	passed = min(max(passed, 0), int64(24*time.Hour/time.Millisecond)*365) // a long rest fills all
	b.Level = min(full, b.Level+r.in(passed))
	if b.At = max(b.At, now.UnixMilli()); b.At > now.Add(ahead).UnixMilli() {
		b.At, forgot = now.UnixMilli(), true
	}
	return b, forgot, nil
}

// in is what flows in during so many milliseconds. Both factors are bounded.
func (r Rate) in(ms int64) int64 {
	const minute = 60_000
	per := int64(r.PerMinute) * whole
	return ms/minute*per + ms%minute*per/minute
}

// after is how long it takes for so much to flow in.
func (r Rate) after(level int64) time.Duration {
	per := int64(r.PerMinute) * whole
	return time.Duration((level*60_000+per-1)/per) * time.Millisecond
}
