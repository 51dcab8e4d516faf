// Package loss says what clones of one phone can cost: at most, by a formula,
// and on average, by playing many days.
//
// The model is small on purpose. A clone pays as long as readers take it. What
// ends it is a fork: two different purchases from one slot, of which the
// service learns when both are uploaded, and of which readers learn with their
// next deny list. A reader that hears no list takes the clone until the token's
// day ends, unless it demands a proof that only the holder's own phone can make.
package loss

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tapvault/tapvault/token"
)

// Case is one kind of theft.
type Case struct {
	Clones int
	// Online is the share of taps at readers that hear the deny list.
	Online float64
	// Proof says that readers which hear no list demand a device proof.
	Proof bool
	Fare  token.Amount
	Cap   token.Amount  // of a slot
	Slots int           // of a bundle
	Every time.Duration // between a clone's taps
	// Left is how long the slots are good when the first clone taps.
	Left time.Duration
	// Upload is the mean time until an online reader hands in a tap, and Poll
	// the time between two of its looks at the deny list.
	Upload, Poll time.Duration
}

// Default is a day of 18 hours as the design has it.
func Default(clones int, online float64) Case {
	return Case{Clones: clones, Online: online, Fare: 300, Cap: 1000, Slots: 10, Every: 10 * time.Minute, Left: 18 * time.Hour,
		Upload: time.Minute, Poll: 5 * time.Minute}
}

// Bound is the most that c can cost when clones are denied everywhere online
// after detection d of the first clone's first tap:
//
//	k x (online x ceil(d / every) + offline x ceil(left / every)) x min(fare, cap)
//
// where offline is nothing if a proof is demanded there. A share of taps is
// rounded up to whole taps, because one tap is not a share.
func (c Case) Bound(d time.Duration) token.Amount {
	per := min(c.Fare, c.Cap)
	taps := func(share float64, span time.Duration) float64 {
		return math.Ceil(share * math.Ceil(float64(span)/float64(c.Every)))
	}
	n := taps(c.Online, min(d, c.Left))
	if !c.Proof {
		n += taps(1-c.Online, c.Left)
	}
	return token.Amount(c.Clones) * token.Amount(n) * per
}

// Day is what became of one day.
type Day struct {
	Loss     token.Amount
	Taps     int           // that readers took
	Detected time.Duration // after the first tap; 0: never that day
}

// Play plays one day.
func (c Case) Play(r *rand.Rand) Day {
	taps := c.schedule(r)
	// Readers look at the list at the same moments, which is the worst way to
	// spread them: how long the next look is away is drawn once a day.
	look := time.Duration(r.Int64N(int64(c.Poll)))
	var d Day
	known := detection(taps)
	for _, t := range taps {
		if !t.pays || t.online && known > 0 && t.at > known+look {
			continue
		}
		d.Taps++
		d.Loss += min(c.Fare, c.Cap)
	}
	d.Detected = known
	return d
}

// tap is one try of one clone.
type tap struct {
	at, arrives  time.Duration
	slot         int
	online, pays bool
}

// schedule is every try of every clone, in order of time. A clone begins at
// some moment of the first interval, uses its slots in order, and begins again
// when it has used them all.
func (c Case) schedule(r *rand.Rand) []tap {
	var taps []tap
	for range c.Clones {
		first := time.Duration(r.Int64N(int64(c.Every)))
		for n := 0; ; n++ {
			t := tap{at: first + time.Duration(n)*c.Every, slot: n % c.Slots, online: r.Float64() < c.Online}
			if t.at >= c.Left {
				break
			}
			t.pays = t.online || !c.Proof
			t.arrives = t.at + time.Duration(r.ExpFloat64()*float64(c.Upload))
			taps = append(taps, t)
		}
	}
	slices.SortFunc(taps, func(a, b tap) int { return int(a.at - b.at) })
	return taps
}

// detection is when the service first holds two purchases from one slot; 0 if
// it never does. What an offline reader took, it learns too late.
func detection(taps []tap) time.Duration {
	first := map[int]time.Duration{}
	var known time.Duration
	up := slices.Clone(taps)
	slices.SortFunc(up, func(a, b tap) int { return int(a.arrives - b.arrives) })
	for _, t := range up {
		if !t.online {
			continue
		}
		if _, ok := first[t.slot]; ok && known == 0 {
			known = t.arrives
		}
		first[t.slot] = t.arrives
	}
	return known
}

// Summary is what many days came to.
type Summary struct {
	Mean, P95 token.Amount
	Detected  time.Duration // mean, over the days on which it was
}

// Simulate plays days from a seed.
func (c Case) Simulate(seed uint64, days int) Summary {
	r := rand.New(rand.NewPCG(seed, 6))
	losses := make([]token.Amount, days)
	var s Summary
	var sum token.Amount
	found, total := 0, time.Duration(0)
	for i := range losses {
		d := c.Play(r)
		losses[i] = d.Loss
		sum += d.Loss
		if d.Detected > 0 {
			found++
			total += d.Detected
		}
	}
	slices.Sort(losses)
	s.Mean, s.P95 = sum/token.Amount(days), losses[days*95/100]
	if found > 0 {
		s.Detected = total / time.Duration(found)
	}
	return s
}
