package sysmon

import (
	"errors"
	"testing"
)

func TestPick(t *testing.T) {
	monitor := look{asleep: least}
	for name, c := range map[string]struct {
		seen map[int]look
		want int
	}{
		"one":            {map[int]look{7: monitor, 8: {engaged: least}, 9: {asleep: 1}}, 7},
		"one, just":      {map[int]look{7: {asleep, asleep}}, 7},
		"nobody":         {nil, 0},
		"not enough":     {map[int]look{7: {asleep: asleep - 1}}, 0},
		"now and then":   {map[int]look{7: {asleep, asleep + 1}}, 0},
		"two: which one": {map[int]look{7: monitor, 8: {asleep: asleep}}, 0},
	} {
		got, err := pick(c.seen)
		if got != c.want || (err != nil) != (c.want == 0) || err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: thread %d, %v, want %d", name, got, err, c.want)
		}
	}
}
