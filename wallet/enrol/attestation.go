package enrol

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/token"
)

// Verdict is what a platform's attestation came to.
type Verdict string

// Verdicts.
const (
	Trusted   Verdict = "TRUSTED"   // the chain ends in a pinned root and is not revoked
	Untrusted Verdict = "UNTRUSTED" // a key, but nobody vouches for it
	Failed    Verdict = "FAILED"    // rooted, emulated, or a check did not hold
)

// Level is where the device's keys live.
type Level string

// Levels, best first.
const (
	Element   Level = "SE"        // a secure element of its own
	StrongBox Level = "STRONGBOX" // Android StrongBox: a security chip of the phone
	TEE       Level = "TEE"       // trusted execution environment of the main processor
	Software  Level = "SOFTWARE"  // nothing but the operating system
)

// Boot is the state of verified boot.
type Boot string

// Boot states.
const (
	Verified   Boot = "VERIFIED"    // the maker's own system
	SelfSigned Boot = "SELF_SIGNED" // a system signed by a key that the owner installed
	Unverified Boot = "UNVERIFIED"  // any system
)

// UseCount says how many uses of a key the hardware can count and bound.
type UseCount string

// Use counts.
const (
	NoCount     UseCount = "NONE"
	SingleCount UseCount = "SINGLE" // one use only
	AnyCount    UseCount = "ANY"
)

// Attestation is what is known of a device. Its chain was checked by whoever calls; this
// package judges what that came to. Every vendor's attestation comes in these fields.
type Attestation struct {
	Verdict     Verdict
	Level       Level
	At          time.Time // of the verdict
	Patch       string    // security patch level, YYYY-MM
	Boot        Boot
	Locked      bool          // the boot loader is
	Leaf        string        // SHA-256 of the leaf certificate, 64 upper-case hex digits
	HardwareMAC bool          // HMAC keys can be imported into hardware
	UseCount    UseCount      // of keys in hardware
	SignP95     time.Duration // 95th percentile of the time that a signature takes, up to one minute
}

// check reports what no attestation can say.
func (a Attestation) check() error {
	leaf, err := hex.DecodeString(a.Leaf)
	_, perr := time.Parse("2006-01", a.Patch)
	switch {
	case !slices.Contains([]Verdict{Trusted, Untrusted, Failed}, a.Verdict),
		!slices.Contains([]Level{Element, StrongBox, TEE, Software}, a.Level),
		!slices.Contains([]Boot{Verified, SelfSigned, Unverified}, a.Boot),
		!slices.Contains([]UseCount{NoCount, SingleCount, AnyCount}, a.UseCount):
		return fmt.Errorf("%w: an attestation in words that are not known", token.ErrMalformed)
	case err != nil || len(leaf) != 32 || fmt.Sprintf("%X", leaf) != a.Leaf:
		return fmt.Errorf("%w: an attestation's leaf is a SHA-256 in hex", token.ErrMalformed)
	case perr != nil, a.At.IsZero(), a.SignP95 < 0 || a.SignP95 > time.Minute:
		return fmt.Errorf("%w: an attestation's times", token.ErrMalformed)
	}
	return nil
}

// Tier is how far a device is trusted with offline money.
type Tier string

// Tiers, most trusted first.
const (
	TierSE Tier = "SE" // a secure element, and nothing against it
	TierA  Tier = "A"  // keys in hardware, and a system as its maker shipped it
	TierB  Tier = "B"  // something speaks against it: see its reasons
	TierC  Tier = "C"  // no slots, online only: its attestation failed, or it was taken down
)

// order ranks tiers, most trusted first.
var order = []Tier{TierSE, TierA, TierB, TierC}

// lower returns the less trusted of two tiers.
func lower(a, b Tier) Tier {
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// Reason is why a device is not in a better tier.
type Reason string

// Reasons.
const (
	CheckFailed    Reason = "CHECK_FAILED"     // the verdict is [Failed]
	NotTrusted     Reason = "NOT_TRUSTED"      // the verdict is [Untrusted]
	SoftwareKey    Reason = "SOFTWARE_KEY"     // its keys are at level [Software]
	BootUnverified Reason = "BOOT_UNVERIFIED"  // the boot state is not [Verified]
	BootUnlocked   Reason = "BOOT_UNLOCKED"    // the boot loader is not locked
	PatchOld       Reason = "PATCH_OLD"        // the security patch is older than 12 months
	NoHardwareKeys Reason = "NO_HARDWARE_KEYS" // no HMAC key in hardware, and none whose uses are counted
	Integrity      Reason = "INTEGRITY"        // a later verdict of the platform is worse
	Detected       Reason = "DETECTED"         // its taps showed signs of fraud: [Service.Distrust]
)

// patchMonths is how old a security patch may be in tier A.
const patchMonths = 12

// judge gives a device its tier at a moment, and says what keeps it there.
func judge(a Attestation, now time.Time) (Tier, []Reason) {
	if a.Verdict == Failed {
		return TierC, []Reason{CheckFailed}
	}
	var why []Reason
	patch, _ := time.Parse("2006-01", a.Patch) // check has read it
	for _, bad := range []struct {
		is  bool
		why Reason
	}{
		{a.Verdict != Trusted, NotTrusted},
		{a.Level == Software, SoftwareKey},
		{a.Boot != Verified, BootUnverified},
		{!a.Locked, BootUnlocked},
		{now.After(patch.AddDate(0, patchMonths+1, 0)), PatchOld},
		{a.Level != Element && !a.HardwareMAC && a.UseCount == NoCount, NoHardwareKeys},
	} {
		if bad.is {
			why = append(why, bad.why)
		}
	}
	switch {
	case len(why) > 0:
		return TierB, why
	case a.Level == Element:
		return TierSE, nil
	}
	return TierA, nil
}
