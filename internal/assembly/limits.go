package assembly

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/detokenize/velocity"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/guess/guessdb"
	"github.com/tapvault/tapvault/internal/obs"
)

// Limits bounds how much callers may ask, all processes together.
type Limits struct {
	// PerMinute is how many requests one caller may make in a minute. 0: no limit.
	PerMinute int `yaml:"per_minute"`
	// Burst is how many at once, after a time of rest. 0: as many as in a minute.
	Burst int `yaml:"burst"`
	// Callers are limits of their own, by client id.
	Callers map[string]Velocity `yaml:"callers"`
}

func (c Config) validateLimits(v *checker) {
	const most = 100_000_000
	v.between("limits.per_minute", c.Limits.PerMinute, 0, most)
	v.between("limits.burst", c.Limits.Burst, 0, most)
	for _, id := range slices.Sorted(maps.Keys(c.Limits.Callers)) {
		v.between("limits.callers."+id+".per_minute", c.Limits.Callers[id].PerMinute, 0, most)
		v.between("limits.callers."+id+".burst", c.Limits.Callers[id].Burst, 0, most)
	}
}

// httpBucket keeps buckets of requests apart from those of card numbers.
const httpBucket = "http:"

// limit bounds requests; nil when nothing is.
func (p *parts) limit() (func(ctx context.Context, client string) (time.Duration, error), error) {
	c := p.cfg.Limits
	if c.PerMinute == 0 && len(c.Callers) == 0 {
		return nil, nil
	}
	callers := make(map[string]velocity.Rate, len(c.Callers))
	for id, r := range c.Callers {
		callers[httpBucket+id] = velocity.Rate(r)
	}
	l, err := velocity.New(velocity.Config{DB: p.db, Default: velocity.Rate{PerMinute: c.PerMinute, Burst: c.Burst}, Callers: callers, Now: p.opt.Now})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, client string) (time.Duration, error) {
		return l.Take(ctx, httpBucket+client, 1)
	}, nil
}

// secret keys digests that are kept. It follows from the HSM, so that all processes
// have the same and the database shows none.
func (p *parts) secret(ctx context.Context, of string) ([]byte, error) {
	keys, ref := p.names()
	key, err := keys.HMAC(ctx, ref, []byte(of))
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", of, err)
	}
	return key[:], nil
}

// nameKey is the key of HMACs by which cards are named, and from which the keys of
// digests follow. It is version 1 whatever vault.key_versions.par says: that is of new
// references. Under another version every card would be a new one: counters and
// counts would begin anew, and a cryptogram that was used would be good again.
var nameKey = keyref.Ref{Usage: keyref.PARKey, Version: 1}

// names is nameKey and who has it; no message of another kind is all digits, as
// card numbers are.
func (p *parts) names() (lateKeys, keyref.Ref) { return lateKeys{p.hsm}, nameKey }

// guard bounds the MACs of cards and taps that do not hold, by one count.
func (p *parts) guard() *guess.Guard {
	g := guess.New(guessdb.New(p.db, p.opt.Now), p.opt.Log, p.opt.Now)
	p.gauges = append(p.gauges, obs.Gauge{Name: "guesses_refused", Help: "Requests refused since this process began, because their caller had shown too many MACs that do not hold.",
		Value: func() float64 { return float64(g.Refused()) }})
	return g
}

// cardName names a card to who counts guesses, by an HMAC: the database shows no
// number of one.
func (p *parts) cardName() func(context.Context, cardhost.Card) (guess.Name, error) {
	keys, ref := p.names()
	return func(ctx context.Context, c cardhost.Card) (guess.Name, error) {
		msg := binary.BigEndian.AppendUint16([]byte("mac-guess"), uint16(len(c.Realm)))
		msg = append(append(append(msg, c.Realm...), c.Issuer[:]...), c.ASN[:]...)
		return keys.HMAC(ctx, ref, msg)
	}
}
