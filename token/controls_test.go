package token_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/tapvault/tapvault/token"
)

func TestJudge(t *testing.T) {
	c := token.Controls{
		Requestors: []token.Requestor{"12345678901"}, Locations: []token.Location{"03"}, Merchants: []string{"m1", "m2"},
		TerminalGroups: []string{"metro"}, MCC: []string{"4111"}, Channels: []token.Channel{token.Contactless},
		Countries: []string{"156"}, MaxAmount: 1000, MaxSum: 5000, MaxCount: 3,
	}
	good := token.Use{Requestor: "12345678901", Location: "03", Merchant: "m2", Terminal: "metro", MCC: "4111",
		Channel: token.Contactless, Country: "156", Amount: 1000, SumBefore: 4000, CountBefore: 2}
	for _, x := range []struct {
		change func(*token.Use)
		want   string
	}{
		{func(*token.Use) {}, ""},
		{func(u *token.Use) { u.Requestor = "" }, ""}, // its own
		{func(u *token.Use) { u.Requestor = "99999999999" }, "control-requestor"},
		{func(u *token.Use) { u.Location = "01" }, "control-location"},
		{func(u *token.Use) { u.Location = "" }, "control-location"},
		{func(u *token.Use) { u.Merchant = "m3" }, "control-merchant"},
		{func(u *token.Use) { u.Merchant = "" }, "control-merchant"},
		{func(u *token.Use) { u.Terminal = "bus" }, "control-terminal"},
		{func(u *token.Use) { u.MCC = "5411" }, "control-mcc"},
		{func(u *token.Use) { u.Channel = token.Ecommerce }, "control-channel"},
		{func(u *token.Use) { u.Channel = "" }, "control-channel"},
		{func(u *token.Use) { u.Country = "840" }, "control-country"},
		{func(u *token.Use) { u.Amount = 1001 }, "control-amount"},
		{func(u *token.Use) { u.SumBefore = 4001 }, "control-sum"},
		{func(u *token.Use) { u.SumBefore = math.MaxUint64 }, "control-sum"},
		{func(u *token.Use) { u.CountBefore = 3 }, "control-count"},
		{func(u *token.Use) { u.CountBefore, u.Amount, u.Merchant = 3, 2000, "m3" }, "control-merchant"}, // the first one
	} {
		u := good
		x.change(&u)
		if got := c.Judge(u); got != x.want {
			t.Errorf("%+v: %q, want %q", u, got, x.want)
		}
	}
	for _, u := range []token.Use{good, {}, {Amount: math.MaxUint32, SumBefore: math.MaxUint64, CountBefore: math.MaxInt}} {
		if got := (token.Controls{}).Judge(u); got != "" {
			t.Errorf("no controls refuse %+v: %s", u, got)
		}
	}
	if !(token.Controls{}).IsZero() || c.IsZero() || (token.Controls{MaxCount: 1}).IsZero() || (token.Controls{MaxSum: 1}).IsZero() || (token.Controls{MaxAmount: 1}).IsZero() || (token.Controls{Countries: []string{"156"}}).IsZero() {
		t.Error("what controls nothing is told wrong")
	}
}

func TestValidateControls(t *testing.T) {
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprint("m", i)
	}
	for name, c := range map[string]token.Controls{
		"none": {}, "amounts": {MaxAmount: 5, MaxSum: 5}, "only a sum": {MaxSum: 1}, "only an amount": {MaxAmount: 9},
		"full lists": {Merchants: many[:64]}, "a code": {MCC: []string{"0742"}, Countries: []string{"004"}},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]token.Controls{
		"a requestor": {Requestors: []token.Requestor{"1"}}, "a location": {Locations: []token.Location{"08"}},
		"a merchant": {Merchants: []string{"a b"}}, "an empty merchant": {Merchants: []string{""}}, "twice": {Merchants: []string{"a", "a"}},
		"a group": {TerminalGroups: []string{"x\n"}}, "a category": {MCC: []string{"411"}}, "a channel": {Channels: []token.Channel{"pigeon"}},
		"a country": {Countries: []string{"CN"}}, "too many": {Merchants: many}, "a negative count": {MaxCount: -1},
		"an amount over the sum": {MaxAmount: 6, MaxSum: 5}, "a long merchant": {Merchants: []string{fmt.Sprintf("%036d", 1)}},
	} {
		refuses(t, name, "", c.Validate())
	}
}
