package event_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

const wallet = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")

func good() event.Event {
	return event.Event{Type: event.Suspended, Ref: token.Ref("tr" + strings.Repeat("A", 26)), Requestor: "12345678901",
		Data: map[string]string{"state": "SUSPENDED", "suspender": "ISSUER", "last4": "1234", "reason": ""}}
}

func TestCheck(t *testing.T) {
	many := map[string]string{}
	for i := range 17 {
		many["n"+string(rune('a'+i))] = ""
	}
	with := func(name, value string) func(*event.Event) {
		return func(e *event.Event) { e.Data = maps.Clone(e.Data); e.Data[name] = value }
	}
	for name, c := range map[string]struct {
		change func(*event.Event)
		ok     bool
	}{
		"as it should be":         {func(*event.Event) {}, true},
		"without data":            {func(e *event.Event) { e.Data = nil }, true},
		"eleven digits":           {with("requestor", "12345678901"), true},
		"no type":                 {func(e *event.Event) { e.Type = "" }, false},
		"unknown type":            {func(e *event.Event) { e.Type = "token.lost" }, false},
		"a number for reference":  {func(e *event.Event) { e.Ref = "6212345600001234" }, false},
		"a wallet's name":         {func(e *event.Event) { e.Wallet = wallet }, false},
		"a wallet's type":         {func(e *event.Event) { e.Type = event.CaseOpened }, false},
		"of a wallet":             {func(e *event.Event) { e.Type, e.Ref, e.Wallet = event.WalletClosed, "", wallet }, true},
		"of a wallet, as a token": {func(e *event.Event) { e.Ref, e.Wallet = "", wallet }, false},
		"no requestor":            {func(e *event.Event) { e.Requestor = "" }, false},
		"too much data":           {func(e *event.Event) { e.Data = many }, false},
		"a name of digits":        {with("12345", "x"), false},
		"a long name":             {with(strings.Repeat("a", 33), "x"), false},
		"an empty name":           {with("", "x"), false},
		"a card number":           {with("card", "621234560000"), false},
		"a long value":            {with("reason", strings.Repeat("x", 201)), false},
		"a line break":            {with("reason", "a\nb"), false},
		"a letter beyond English": {with("reason", "é"), false},
	} {
		e := good()
		c.change(&e)
		if err := e.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No type is listed twice: receivers switch on them.
func TestTypesDiffer(t *testing.T) {
	seen := map[event.Type]bool{}
	for _, typ := range event.Types {
		subject, _, ok := strings.Cut(string(typ), ".")
		if seen[typ] || !ok || !slices.Contains([]string{"token", "wallet", "case"}, subject) {
			t.Error(fmt.Errorf("%s is listed twice or is about nothing", typ))
		}
		seen[typ] = true
	}
}

func TestMatches(t *testing.T) {
	e := good()
	for name, c := range map[string]struct {
		f  event.Filter
		ok bool
	}{
		"everything":            {event.Filter{}, true},
		"its requestor":         {event.Filter{Requestor: e.Requestor, Ref: e.Ref}, true},
		"another requestor":     {event.Filter{Requestor: "10987654321"}, false},
		"another token":         {event.Filter{Ref: "tr" + "B"}, false},
		"a wallet":              {event.Filter{Wallet: "wl"}, false},
		"its token, another's ": {event.Filter{Ref: e.Ref, Requestor: "10987654321"}, false},
	} {
		if c.f.Matches(e) != c.ok {
			t.Errorf("%s: %v", name, !c.ok)
		}
	}
}
