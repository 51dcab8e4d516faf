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
	ranges := v.ranges.all()
	all := make([]Capacity, len(ranges))
	for i, n := range ranges {
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
	for day, count := range back {
		switch {
		case day < 0:
			c.Ready += count
		case day >= never/dayMS/2:
			c.Spent += count
		default:
			c.Resting += count
		}
	}
	if c.Fresh, err = v.neverGiven(ctx, n); err != nil {
		return c, err
	}
	if c.PerDay, err = v.perDay(ctx, n); err != nil {
		return c, err
	}
	c.DaysLeft = daysLeft(c.Fresh+c.Ready, back, c.PerDay)
	return c, nil
}

// neverGiven counts the serials that were never given out and still can be: those
// that were not leased yet, and those in leases that are in no row, since what is
// leased and not used is handed back. Serials that an import left out are neither.
func (v *Vault) neverGiven(ctx context.Context, n *numbering) (int64, error) {
	var left int64
	err := v.cfg.DB.Read(ctx).Raw("SELECT r.next_serial - (SELECT coalesce(sum(l.end_serial - l.first_serial), 0) FROM range_leases l WHERE l.range_id = r.id) "+
		"+ (SELECT count(*) FROM range_leases l JOIN numbers n ON n.range_id = l.range_id AND n.serial >= l.first_serial AND n.serial < l.end_serial WHERE l.range_id = r.id) "+
		"FROM token_ranges r WHERE r.id = ?", n.Name).Scan(&left).Error
	return max(0, n.size()-left), err
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
