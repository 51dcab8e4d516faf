package vault

import (
	"context"
	"fmt"
	"time"
)

// Capacity is how much is left of a token range.
type Capacity struct {
	Range
	Issuing bool  // configured: new numbers come from it
	Size    int64 // numbers in all
	Fresh   int64 // were never given out
	Ready   int64 // were given out and came back: they can be given out again
	Resting int64 // are borne by a token or in quarantine, and will come back
	Spent   int64 // have so few counters left that they never come back
	// PerDay is how many tokens a day were issued from it, over the last seven
	// days or since the first one.
	PerDay float64
	// DaysLeft is when the range is used up if that goes on, with numbers that
	// come back until then counted in; [Plenty] when that is out of sight.
	DaysLeft int
}

// Plenty is as far as capacity is looked ahead, in days: further than any
// number of a day's token stays in quarantine.
const Plenty = 400

// never is when a number comes back whose counters are used up.
const never = 1 << 62

const dayMS = int64(24 * time.Hour / time.Millisecond)

// rateDays is how many days back issuing is looked at.
const rateDays = 7

// Capacity says of every range what is left of it. It reads an index entry for
// each number that is out, so it is for every few minutes and not for every
// request.
func (v *Vault) Capacity(ctx context.Context) ([]Capacity, error) {
	all := make([]Capacity, len(v.ranges))
	for i, n := range v.ranges {
		var err error
		if all[i], err = v.capacity(ctx, n); err != nil {
			return nil, fmt.Errorf("looking at what is left of token range %s: %w", n.Name, err)
		}
	}
	return all, nil
}

func (v *Vault) capacity(ctx context.Context, n *numbering) (Capacity, error) {
	c := Capacity{Range: n.Range, Issuing: n.issues, Size: n.size()}
	back, err := v.comingBack(ctx, n)
	if err != nil {
		return c, err
	}
	var given int64
	for day, count := range back {
		given += count
		switch {
		case day < 0:
			c.Ready += count
		case day >= never/dayMS/2:
			c.Spent += count
		default:
			c.Resting += count
		}
	}
	// Every serial that is in no row counts as fresh, leased or not: what is
	// leased and not used is handed back.
	c.Fresh = max(0, c.Size-given)
	if c.PerDay, err = v.perDay(ctx, n); err != nil {
		return c, err
	}
	c.DaysLeft = daysLeft(c.Fresh+c.Ready, back, c.PerDay)
	return c, nil
}

// comingBack counts the numbers of a range that were given out by the day, from
// now, on which they come back; those that are back are under -1.
func (v *Vault) comingBack(ctx context.Context, n *numbering) (map[int64]int64, error) {
	now := v.cfg.Now().UnixMilli()
	var rows []struct{ Day, Count int64 }
	err := v.cfg.DB.Read(ctx).Table("numbers").
		Select("CASE WHEN free_after <= ? THEN -1 ELSE (free_after - ?) / ? END AS day, count(*) AS count", now, now, dayMS).
		Where("range_id = ?", n.Name).Group("day").Find(&rows).Error
	back := make(map[int64]int64, len(rows))
	for _, r := range rows {
		back[r.Day] = r.Count
	}
	return back, err
}

// perDay is how many tokens a day came from a range lately.
func (v *Vault) perDay(ctx context.Context, n *numbering) (float64, error) {
	now := v.cfg.Now().UnixMilli()
	var r struct{ Count, First int64 }
	err := v.cfg.DB.Read(ctx).Table("tokens").Select("count(*) AS count, coalesce(min(created_at), 0) AS first").
		Where("range_id = ? AND created_at > ?", n.Name, now-rateDays*dayMS).Find(&r).Error
	if err != nil || r.Count == 0 {
		return 0, err
	}
	// Not less than a day: an hour's rush does not make a day of rushes.
	return float64(r.Count) / max(1, float64(now-r.First)/float64(dayMS)), nil
}

// daysLeft goes ahead day by day until the numbers at hand do not last.
func daysLeft(left int64, back map[int64]int64, perDay float64) int {
	at := float64(left)
	for day := range int64(Plenty) {
		if at -= perDay; at < 0 {
			return int(day)
		}
		at += float64(back[day])
	}
	return Plenty
}
