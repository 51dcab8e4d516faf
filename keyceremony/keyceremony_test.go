package keyceremony_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
)

func empty(t *testing.T) *hsm.Token { return hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}}) }

func twoTokens(t *testing.T) (keyceremony.Plan, *hsm.Token, *hsm.Token) {
	service, psam := empty(t), empty(t)
	return keyceremony.Plan{Holders: []keyceremony.Holder{
		{Name: "service", Token: service, Keys: keyceremony.ServiceKeys("transit")},
		{Name: "psam", Token: psam, Keys: keyceremony.PSAMKeys("transit")},
	}}, service, psam
}

func TestRehearse(t *testing.T) {
	plan, service, psam := twoTokens(t)
	births, err := keyceremony.Rehearse(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if len(births) != len(keyceremony.ServiceKeys("transit")) {
		t.Errorf("%d births", len(births))
	}
	for _, b := range births {
		shared := b.Key.Usage == keyref.PurchaseMaster || b.Key.Usage == keyref.SlotPurchaseMaster
		if b.Check == nil || b.Shared != shared || len(b.Holders) != map[bool]int{false: 1, true: 2}[shared] {
			t.Errorf("birth of %v: %+v", b.Key, b)
		}
	}
	if err := service.Require(t.Context(), keyceremony.ServiceKeys("transit")...); err != nil {
		t.Error(err)
	}
	if err := psam.Require(t.Context(), keyceremony.PSAMKeys("transit")...); err != nil {
		t.Error(err)
	}
	path, _ := keyceremony.PSAMKeys("transit")[1].Path(keyref.Factor{1}, keyref.Factor{2}, keyref.Factor{3})
	a, err := service.Encipher(t.Context(), path, [8]byte{})
	b, err2 := psam.Encipher(t.Context(), path, [8]byte{})
	if err := errors.Join(err, err2); err != nil || a != b {
		t.Errorf("the two tokens hold different masters (%v)", err)
	}
}

func TestNeverOverwrites(t *testing.T) {
	plan, service, psam := twoTokens(t)
	taken := keyceremony.PSAMKeys("transit")[0]
	if err := psam.Generate(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	before, err := psam.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyceremony.Rehearse(t.Context(), plan); !errors.Is(err, keyceremony.ErrExists) || !strings.Contains(err.Error(), "transit.mpk.v1 on psam") {
		t.Errorf("Rehearse = %v", err)
	}
	after, err := psam.Inventory(t.Context())
	if err != nil || len(after) != 1 || *after[0].Check != *before[0].Check {
		t.Errorf("the key that was there: %v, %v", after, err)
	}
	if list, err := service.Inventory(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%d keys were born before the refusal, %v", len(list), err)
	}
}

func TestPlans(t *testing.T) {
	tok := empty(t)
	mpk := keyref.Ref{Realm: "transit", Usage: keyref.PurchaseMaster, Version: 1}
	sign := keyref.Ref{Usage: keyref.CredSign, Version: 1}
	for name, holders := range map[string][]keyceremony.Holder{
		"a key twice":       {{Name: "a", Token: tok, Keys: []keyref.Ref{mpk, mpk}}},
		"no key":            {{Name: "a", Token: tok, Keys: []keyref.Ref{{Usage: "mpk", Version: 1}}}},
		"a shared key pair": {{Name: "a", Token: tok, Keys: []keyref.Ref{sign}}, {Name: "b", Token: tok, Keys: []keyref.Ref{sign}}},
	} {
		if _, err := keyceremony.Rehearse(t.Context(), keyceremony.Plan{Holders: holders}); !errors.Is(err, keyceremony.ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// vessel takes keys without a token: what matters here is the randomness.
type vessel struct{ keys map[keyref.Ref][]byte }

func (v *vessel) Generate(context.Context, keyref.Ref) error             { return errors.New("not asked for") }
func (v *vessel) Inventory(context.Context) ([]keyref.Info, error)       { return nil, nil }
func (v *vessel) Import(_ context.Context, r keyref.Ref, k []byte) error { v.keys[r] = k; return nil }

func TestComponents(t *testing.T) {
	part := func(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }
	mixed := []byte("sixteen letters!")
	weak := append(bytes.Repeat([]byte{0x01}, 8), "eight by"...)
	semi := append([]byte("eight by"), 0x1F, 0xE0, 0x1F, 0xE0, 0x0E, 0xF1, 0x0E, 0xF1)
	xor := func(a, b []byte) []byte {
		out := bytes.Clone(a)
		for i := range out {
			out[i] ^= b[i]
		}
		return out
	}
	good := bytes.Join([][]byte{part(1), part(2), mixed}, nil)
	for name, c := range map[string]struct {
		random []byte
		says   string
	}{
		"a zero component":       {bytes.Join([][]byte{part(0), part(2), mixed}, nil), "component 1: unusable key: it is zero"},
		"two equal components":   {bytes.Join([][]byte{mixed, part(2), mixed}, nil), "two components are equal"},
		"equal halves":           {bytes.Join([][]byte{part(1), part(2), part(4)}, nil), "single DES"},
		"halves equal in parity": {bytes.Join([][]byte{part(1), part(2), append(part(4)[:8], part(5)[:8]...)}, nil), "single DES"},
		"a weak half":            {bytes.Join([][]byte{part(1), part(2), xor(weak, part(3))}, nil), "weak"},
		"a semi-weak half":       {bytes.Join([][]byte{part(1), part(2), xor(semi, part(3))}, nil), "weak"},
		"the same master again":  {append(bytes.Clone(good), good...), "equals another"},
	} {
		v := &vessel{map[keyref.Ref][]byte{}}
		keys := keyceremony.PSAMKeys("transit")
		_, err := keyceremony.Rehearse(t.Context(), keyceremony.Plan{Rand: bytes.NewReader(c.random), Holders: []keyceremony.Holder{
			{Name: "a", Token: v, Keys: keys}, {Name: "b", Token: v, Keys: keys}}})
		if !errors.Is(err, keyceremony.ErrWeak) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		for r, k := range v.keys {
			if !bytes.Equal(k, make([]byte, 16)) {
				t.Errorf("%s: the buffer of %v was not wiped", name, r)
			}
		}
	}
	v := &vessel{map[keyref.Ref][]byte{}}
	_, err := keyceremony.Rehearse(t.Context(), keyceremony.Plan{Rand: bytes.NewReader(good[:40]), Holders: []keyceremony.Holder{
		{Name: "a", Token: v, Keys: keyceremony.PSAMKeys("x")[:1]}, {Name: "b", Token: v, Keys: keyceremony.PSAMKeys("x")[:1]}}})
	if err == nil || len(v.keys) != 0 {
		t.Errorf("short randomness: %v", err)
	}
}
