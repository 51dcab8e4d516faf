package credential

// Tier is how far a device is trusted, as a credential says it.
type Tier byte

// Tiers, least trusted first.
const (
	TierC       Tier = 0 // none, or not known
	TierB       Tier = 1
	TierA       Tier = 2
	TierElement Tier = 3 // a secure element
)

// Bits of a credential's risk class. Bits 1 to 5 are kept for form factor and
// name check, and are zero.
const (
	tierShift = 6
	offlineOK = 1
)

// Risk is the risk class of a device of tier t, which may pay at terminals that
// never hear the deny list or may not.
func Risk(t Tier, offline bool) byte {
	b := byte(t) << tierShift
	if offline {
		b |= offlineOK
	}
	return b
}

// Tier is the tier of the device that c was issued to.
func (c Credential) Tier() Tier { return Tier(c.Risk >> tierShift) }

// OfflineOK reports whether terminals that never hear the deny list may take c.
func (c Credential) OfflineOK() bool { return c.Risk&offlineOK != 0 }
