package enrol

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

var now = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)

// good is a device of tier A.
func good() Attestation {
	return Attestation{Verdict: Trusted, Level: TEE, At: now, Patch: "2025-03", Boot: Verified, Locked: true,
		Leaf: "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF", HardwareMAC: true, UseCount: AnyCount}
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Attestation)
		tier Tier
		why  []Reason
	}{
		"good":             {func(*Attestation) {}, TierA, nil},
		"strong box":       {func(a *Attestation) { a.Level = StrongBox }, TierA, nil},
		"use count alone":  {func(a *Attestation) { a.HardwareMAC = false; a.UseCount = SingleCount }, TierA, nil},
		"element":          {func(a *Attestation) { a.Level = Element; a.HardwareMAC = false; a.UseCount = NoCount }, TierSE, nil},
		"nobody vouches":   {func(a *Attestation) { a.Verdict = Untrusted }, TierB, []Reason{NotTrusted}},
		"software":         {func(a *Attestation) { a.Level = Software }, TierB, []Reason{SoftwareKey}},
		"own boot key":     {func(a *Attestation) { a.Boot = SelfSigned }, TierB, []Reason{BootUnverified}},
		"unlocked":         {func(a *Attestation) { a.Locked = false }, TierB, []Reason{BootUnlocked}},
		"13 months":        {func(a *Attestation) { a.Patch = "2025-02" }, TierB, []Reason{PatchOld}},
		"no hardware keys": {func(a *Attestation) { a.HardwareMAC = false; a.UseCount = NoCount }, TierB, []Reason{NoHardwareKeys}},
		"an old element":   {func(a *Attestation) { a.Level = Element; a.Patch = "2024-01" }, TierB, []Reason{PatchOld}},
		"failed":           {func(a *Attestation) { a.Verdict = Failed; a.Locked = false }, TierC, []Reason{CheckFailed}},
	} {
		a := good()
		tc.edit(&a)
		if err := a.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if tier, why := judge(a, now); tier != tc.tier || !slices.Equal(why, tc.why) {
			t.Errorf("%s: tier %s for %v", name, tier, why)
		}
	}
}

func TestAttestationRefused(t *testing.T) {
	for name, edit := range map[string]func(*Attestation){
		"verdict": func(a *Attestation) { a.Verdict = "" }, "level": func(a *Attestation) { a.Level = "HSM" },
		"boot": func(a *Attestation) { a.Boot = "" }, "use count": func(a *Attestation) { a.UseCount = "SOME" },
		"leaf": func(a *Attestation) { a.Leaf = "00" }, "leaf in lower case": func(a *Attestation) { a.Leaf = "aa" + a.Leaf[2:] },
		"patch": func(a *Attestation) { a.Patch = "2025-13" }, "time": func(a *Attestation) { a.At = time.Time{} },
		"latency": func(a *Attestation) { a.SignP95 = -1 },
	} {
		a := good()
		edit(&a)
		if a.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestTermsEnd: each bound of a tier's terms holds at its last value and not at the next.
func TestTermsEnd(t *testing.T) {
	kind := account.SlotKind{Class: credential.Medium, Cap: 100}
	free := account.SlotKind{Class: credential.Express, Cap: 500}
	for name, tc := range map[string]struct {
		tier Tier
		edit func(*Terms)
		ok   bool
	}{
		"C as it is": {TierC, func(*Terms) {}, true}, "C with a limit": {TierC, func(x *Terms) { x.Limit = 1 }, false}, "C with a ceiling": {TierC, func(x *Terms) { x.Ceiling = 1 }, false},
		"C with a slot": {TierC, func(x *Terms) { x.Layout = []account.SlotKind{kind} }, false}, "C offline": {TierC, func(x *Terms) { x.Offline = true }, false},
		"one slot": {TierA, func(x *Terms) { x.Layout = []account.SlotKind{kind} }, true}, "no slot": {TierA, func(x *Terms) { x.Layout = nil }, false},
		"64 slots": {TierA, func(x *Terms) { x.Layout = slices.Repeat([]account.SlotKind{kind}, 64) }, true}, "65": {TierA, func(x *Terms) { x.Layout = slices.Repeat([]account.SlotKind{kind}, 65) }, false},
		"an hour": {TierA, func(x *Terms) { x.TTL = time.Hour }, true}, "less": {TierA, func(x *Terms) { x.TTL = time.Hour - 1 }, false},
		"a week": {TierA, func(x *Terms) { x.TTL = 168 * time.Hour }, true}, "more": {TierA, func(x *Terms) { x.TTL = 168*time.Hour + 1 }, false},
		"all of the limit": {TierA, func(x *Terms) { x.Limit, x.Ceiling = 10000, 10000 }, true}, "a fen less": {TierA, func(x *Terms) { x.Limit = 9999 }, false},
		"a ceiling below":   {TierA, func(x *Terms) { x.Ceiling = x.Limit - 1 }, false},
		"three without PIN": {TierA, func(x *Terms) { x.Layout = slices.Repeat([]account.SlotKind{free}, 3) }, true}, "four": {TierA, func(x *Terms) { x.Layout = slices.Repeat([]account.SlotKind{free}, 4) }, false},
		"a unit more without PIN": {TierA, func(x *Terms) { x.Layout = []account.SlotKind{{Class: credential.Express, Cap: 510}} }, false},
		"one where none may be":   {TierB, func(x *Terms) { x.Layout = []account.SlotKind{free} }, false},
	} {
		ts := DefaultTiers()
		terms := ts[tc.tier]
		tc.edit(&terms)
		ts[tc.tier] = terms
		if err := ts.Validate(); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTiers(t *testing.T) {
	if err := DefaultTiers().Validate(); err != nil {
		t.Fatal(err)
	}
	edit := func(name Tier, f func(*Terms)) Tiers {
		ts := DefaultTiers()
		one := ts[name]
		f(&one)
		ts[name] = one
		return ts
	}
	kind := func(c credential.Class, most token.Amount, n int) []account.SlotKind {
		return slices.Repeat([]account.SlotKind{{Class: c, Cap: most}}, n)
	}
	turns := func(n int) (all []account.SlotKind) {
		for i := range n {
			all = append(all, kind(credential.Medium, token.Amount(500+10*(i%2)), 2)...)
		}
		return all
	}
	missing := DefaultTiers()
	delete(missing, TierB)
	more := DefaultTiers()
	more["D"] = Terms{}
	for name, ts := range map[string]Tiers{
		"one missing": missing, "one more": more,
		"slots in tier C":    edit(TierC, func(t *Terms) { t.Layout = kind(credential.Small, 500, 1) }),
		"caps over limit":    edit(TierB, func(t *Terms) { t.Limit = 4000 }),
		"limit over ceiling": edit(TierA, func(t *Terms) { t.Ceiling = 9000 }),
		"no slots":           edit(TierA, func(t *Terms) { t.Layout = nil }),
		"express in tier B":  edit(TierB, func(t *Terms) { t.Layout = kind(credential.Express, 500, 1) }),
		"dear express":       edit(TierA, func(t *Terms) { t.Layout = kind(credential.Express, 510, 1) }),
		"much express":       edit(TierA, func(t *Terms) { t.Layout = kind(credential.Express, 100, 4) }),
		"odd cap":            edit(TierA, func(t *Terms) { t.Layout = kind(credential.Medium, 1005, 1) }),
		"a long life":        edit(TierA, func(t *Terms) { t.TTL = 8 * 24 * time.Hour }),
		"many kinds in turn": edit(TierSE, func(t *Terms) { t.Layout = turns(9) }),
	} {
		if ts.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := edit(TierA, func(t *Terms) {
		t.Layout = append(kind(credential.Express, 500, 3), kind(credential.Medium, 1000, 8)...)
	}).Validate(); err != nil {
		t.Errorf("express in tier A: %v", err)
	}
	for name, n := range map[Tier]int{TierSE: 8, TierA: 9} {
		if err := edit(name, func(t *Terms) { t.Layout = turns(n) }).Validate(); err != nil {
			t.Errorf("%d kinds in turn in tier %s: %v", n, name, err)
		}
	}
}

// TestCovers: what belongs to a token of one day, in any zone and at any hour, is
// covered by a tier of a day; two days are not.
func TestCovers(t *testing.T) {
	day := DefaultTiers()[TierA]
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, zone) }
	for name, c := range map[string]struct {
		from, to time.Time
		want     bool
	}{
		"asked for in the morning":             {at(3, 5, 0), at(4, 3, 0), true},
		"asked for in the last hour":           {at(3, 2, 1), at(4, 3, 0), true},
		"renewed ten minutes before":           {at(3, 2, 50), at(4, 3, 0), true},
		"renewed, and clocks were set back":    {time.Date(2026, 10, 31, 2, 0, 0, 0, zone), at(1, 3, 0), true},
		"two days":                             {at(3, 3, 0), at(5, 3, 0), false},
		"two days but what a life may be more": {at(3, 5, 1), at(4, 7, 2), false},
	} {
		if got := day.Covers(c.from, c.to); got != c.want {
			t.Errorf("%s, %v: %t", name, c.to.Sub(c.from), got)
		}
	}
	short := Terms{TTL: 6 * time.Hour}
	if !short.Covers(at(3, 5, 0), at(3, 11, 0)) || short.Covers(at(3, 5, 0), at(3, 11, 1)) {
		t.Error("a tier of six hours does not end with six hours")
	}
}
