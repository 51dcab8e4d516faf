package lab_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/token"
)

// TestEMV: a card and a token pay as EMV cards at the running service, across a
// restart, and a mistake is explained.
func TestEMV(t *testing.T) {
	master := keyref.Ref{Realm: "bank", Usage: keyref.ACMaster, Version: 1}
	value, cards := []byte("a master of EMV!"), &softkey.Ring{}
	if err := cards.ImportScratch(t.Context(), master, value); err != nil {
		t.Fatal(err)
	}
	city, err := emv.ParseProfile([]byte(`{"name":"city","master":"a","session":"csk","padding":2,"fields":["9F02:6","9F36:2"],"response":{"method":1,"master":false}}`))
	if err != nil {
		t.Fatal(err)
	}
	l := lab.New(t, lab.Options{Keys: map[keyref.Ref][]byte{master: value}, Config: func(c *assembly.Config) {
		c.EMV = assembly.EMV{Profiles: []emv.Profile{city}, Issuers: []assembly.EMVIssuer{{Realm: "bank", Prefixes: []string{"6212", "6299"}, Profiles: []string{"city"}, ATCBehind: 63}}}
	}})
	c := l.Client(t, "issuer")
	digits := "621212345678901"
	digits += string(token.LuhnDigit(digits))
	tok, err := c.RequestToken(t.Context(), wire.TokenRequest{PAN: wire.NewDigits(digits), PANExpiry: "3012", Location: "03"})
	if err != nil {
		t.Fatal(err)
	}
	made := func(number, psn string, atc byte) wire.EMVRequest {
		t.Helper()
		card, err := emv.NewCard(number, psn)
		if err != nil {
			t.Fatal(err)
		}
		d := emv.Data{"9F02": {0, 0, 0, 0, 2, 0}, "9F36": {0, atc}}
		ac, err := city.AC(t.Context(), cards, master, card, d)
		if err != nil {
			t.Fatal(err)
		}
		return wire.EMVRequest{EMVTransaction: wire.EMVTransaction{Profile: "city", Cryptogram: ac,
			Data: wire.EMVData{"9F02": d["9F02"], "9F36": d["9F36"]}}, Answer: &wire.EMVAnswer{ARC: &wire.Hex2{'0', '0'}}}
	}
	byCard, byToken := made(digits, "01", 1), made(tok.Number, tok.PSN, 1)
	byCard.PAN, byCard.PSN, byToken.Ref = wire.NewDigits(digits), "01", tok.Ref
	for name, q := range map[string]wire.EMVRequest{"card": byCard, "token": byToken} {
		got, err := c.AuthoriseEMV(t.Context(), q)
		if err != nil || got.ATC != 1 || len(got.Response) != 10 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	l.Stop(t)
	if err := l.Start(t); err != nil {
		t.Fatal(err)
	}
	c = l.Client(t, "issuer")
	for name, q := range map[string]wire.EMVRequest{"card": byCard, "token": byToken} {
		_, err := c.AuthoriseEMV(t.Context(), q)
		problem(t, name+" after a restart", err, "counter-replayed")
	}
	if err := c.VerifyEMV(t.Context(), byCard.EMVTransaction); err != nil {
		t.Error(err)
	}
	problem(t, "a token without its counter", c.VerifyEMV(t.Context(), byToken.EMVTransaction), "slot-token")
	_, err = c.ExplainEMV(t.Context(), byToken.EMVTransaction)
	problem(t, "a token explained", err, "slot-token")
	byCard.PSN = ""
	got, err := c.ExplainEMV(t.Context(), byCard.EMVTransaction)
	if err != nil || got.Holds || len(got.Variants) == 0 || got.Variants[0].Changes[0].What != "psn" || got.Variants[0].Changes[0].Held != "01" {
		t.Errorf("%+v, %v", got, err)
	}
	results, err := c.AuthoriseEMVBatch(t.Context(), []wire.EMVRequest{byCard, byToken})
	if err != nil || len(results) != 2 || results[0].Problem == nil || !strings.HasSuffix(results[0].Problem.Type, ":refused") {
		t.Errorf("%+v, %v", results, err)
	}
	// At the last use of a control, 32 at once: as many hold as it allows.
	if _, err := c.UpdateToken(t.Context(), tok.Ref, wire.Attributes{Controls: &wire.Controls{MaxCount: 5, MaxAmount: 200, Channels: []string{"contactless"}}}); err != nil {
		t.Fatal(err)
	}
	qs := make([]wire.EMVRequest, 32)
	for i := range qs {
		qs[i] = made(tok.Number, tok.PSN, byte(10+i))
		qs[i].Ref, qs[i].Data["9F39"] = tok.Ref, []byte{7}
	}
	var held, refused atomic.Int64
	var wg sync.WaitGroup
	for _, q := range qs {
		wg.Go(func() {
			_, err := c.AuthoriseEMV(t.Context(), q)
			var e *client.Error
			switch {
			case err == nil:
				held.Add(1)
			case errors.As(err, &e) && strings.HasSuffix(e.Type, ":refused"):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if held.Load() != 5 || refused.Load() != 27 {
		t.Errorf("%d held and %d were refused, with 5 allowed", held.Load(), refused.Load())
	}

	if text := l.Logs.String(); strings.Contains(text, digits) || strings.Contains(text, fmt.Sprintf("%X", byCard.Cryptogram[:])) {
		t.Error("the log holds a number or a cryptogram")
	}
}

// problem expects an error that is a problem of a kind.
func problem(t *testing.T, what string, err error, kind string) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || !strings.HasSuffix(e.Type, ":"+kind) {
		t.Errorf("%s: %v, want %s", what, err, kind)
	}
}
