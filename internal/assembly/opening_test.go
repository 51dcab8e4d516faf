package assembly

import (
	"strings"
	"testing"
)

// TestValidateOpening: each thing that is wrong is named.
func TestValidateOpening(t *testing.T) {
	good := Config{Detokenize: Detokenize{PerMinute: 600, Burst: 1000, Callers: map[string]Velocity{"bank": {PerMinute: 1}}},
		Places: map[string]Place{"line-1": {Merchant: "metro", MCC: "4111", Country: "156"}, "line-2": {}}}
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"good":                 {func(*Config) {}, ""},
		"nothing":              {func(c *Config) { *c = Config{} }, ""},
		"a negative limit":     {func(c *Config) { c.Detokenize.PerMinute = -1 }, "detokenize.per_minute"},
		"too great a burst":    {func(c *Config) { c.Detokenize.Burst = 1 << 40 }, "detokenize.burst"},
		"a caller's limit":     {func(c *Config) { c.Detokenize.Callers = map[string]Velocity{"a": {PerMinute: -1}} }, "detokenize.callers.a.per_minute"},
		"a caller's burst":     {func(c *Config) { c.Detokenize.Callers = map[string]Velocity{"a": {Burst: -1}} }, "detokenize.callers.a.burst"},
		"a merchant's name":    {func(c *Config) { c.Places = map[string]Place{"x": {Merchant: "Metro Line"}} }, "places.x"},
		"a short category":     {func(c *Config) { c.Places = map[string]Place{"x": {MCC: "411"}} }, "places.x"},
		"a country in letters": {func(c *Config) { c.Places = map[string]Place{"x": {Country: "CHN"}} }, "places.x"},
	} {
		conf := good
		c.change(&conf)
		v := &checker{}
		conf.validateOpening(v)
		if c.says == "" && len(v.errs) > 0 || c.says != "" && (len(v.errs) != 1 || !strings.Contains(v.errs[0].Error(), c.says)) {
			t.Errorf("%s: %v", name, v.errs)
		}
	}
}

// TestRequestorsOnce: of two entries for one requestor, the second would have
// taken the place of the first unseen.
func TestRequestorsOnce(t *testing.T) {
	one, other := Requestor{ID: "50110000001", Decide: true}, Requestor{ID: "50110000002"}
	for _, c := range []struct {
		all   []Requestor
		twice bool
	}{{[]Requestor{one, other}, false}, {[]Requestor{one, other, {ID: one.ID}}, true}} {
		err := Config{Tokens: Tokens{Requestors: c.all}}.Validate()
		if got := strings.Contains(err.Error(), "tokens.requestors[2].id: is there twice"); got != c.twice {
			t.Errorf("%d entries: %v", len(c.all), err)
		}
	}
}
