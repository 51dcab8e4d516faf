package wire

import "time"

// Attestation is what is known of a device, whoever checked it.
type Attestation struct {
	Verdict     string    `json:"verdict"`     // TRUSTED, UNTRUSTED, FAILED
	Level       string    `json:"level"`       // SE, STRONGBOX, TEE, SOFTWARE
	At          time.Time `json:"at"`          // of the verdict
	PatchLevel  string    `json:"patch_level"` // YYYY-MM
	Boot        string    `json:"boot"`        // VERIFIED, SELF_SIGNED, UNVERIFIED
	Locked      bool      `json:"locked"`      // the boot loader
	Leaf        Hex32     `json:"leaf"`        // SHA-256 of the leaf certificate
	HardwareMAC bool      `json:"hardware_mac"`
	UseCount    string    `json:"use_count"` // NONE, SINGLE, ANY: what the hardware enforces
	SignP95     uint32    `json:"sign_p95_ms"`
}

var attestation = table[Attestation]{
	{"verdict", must, func(d *decoder, v *Attestation) *FieldError {
		return choice(d, &v.Verdict, "TRUSTED", "UNTRUSTED", "FAILED")
	}},
	{"level", must, func(d *decoder, v *Attestation) *FieldError {
		return choice(d, &v.Level, "SE", "STRONGBOX", "TEE", "SOFTWARE")
	}},
	{"at", must, func(d *decoder, v *Attestation) *FieldError {
		at := &v.At
		err := moment(d, &at)
		v.At = *at
		return err
	}},
	{"patch_level", must, func(d *decoder, v *Attestation) *FieldError { return month(d, &v.PatchLevel) }},
	{"boot", must, func(d *decoder, v *Attestation) *FieldError {
		return choice(d, &v.Boot, "VERIFIED", "SELF_SIGNED", "UNVERIFIED")
	}},
	{"locked", must, func(d *decoder, v *Attestation) *FieldError { return yes(d, &v.Locked) }},
	{"leaf", must, func(d *decoder, v *Attestation) *FieldError { return parse(d, &v.Leaf) }},
	{"hardware_mac", must, func(d *decoder, v *Attestation) *FieldError { return yes(d, &v.HardwareMAC) }},
	{"use_count", must, func(d *decoder, v *Attestation) *FieldError { return choice(d, &v.UseCount, "NONE", "SINGLE", "ANY") }},
	{"sign_p95_ms", must, func(d *decoder, v *Attestation) *FieldError { return unsigned(d, &v.SignP95) }},
}

func (q *Attestation) read(d *decoder) *FieldError { return attestation.read(d, q) }

// yes reads true or false.
func yes(d *decoder, v *bool) *FieldError {
	d.space()
	for word, is := range map[string]bool{"true": true, "false": false} {
		if len(d.b)-d.i >= len(word) && string(d.b[d.i:d.i+len(word)]) == word {
			d.i, *v = d.i+len(word), is
			return nil
		}
	}
	return wrong("must be true or false")
}

// month reads YYYY-MM.
func month(d *decoder, v *string) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	if _, bad := time.Parse("2006-01", string(b)); bad != nil {
		return wrong("must be a month as YYYY-MM")
	}
	*v = string(b)
	return nil
}

// Enrolment is the body of POST /v1/devices.
type Enrolment struct {
	Wallet      string      `json:"wallet_id"`
	WrapKey     PublicKey   `json:"wrap_key"` // bundles are enciphered to it
	SignKey     PublicKey   `json:"sign_key"` // syncs are signed with it
	Attestation Attestation `json:"attestation"`
}

var enrolment = table[Enrolment]{
	{"wallet_id", must, func(d *decoder, v *Enrolment) *FieldError { return name(d, &v.Wallet, 28) }},
	{"wrap_key", must, func(d *decoder, v *Enrolment) *FieldError { return publicKey.read(d, &v.WrapKey) }},
	{"sign_key", must, func(d *decoder, v *Enrolment) *FieldError { return publicKey.read(d, &v.SignKey) }},
	{"attestation", must, func(d *decoder, v *Enrolment) *FieldError { return attestation.read(d, &v.Attestation) }},
}

func (q *Enrolment) read(d *decoder) *FieldError { return enrolment.read(d, q) }

// Device is an enrolled device and what its tier allows.
type Device struct {
	ID       string   `json:"device_id"`
	Wallet   string   `json:"wallet_id"`
	Tier     string   `json:"tier"`              // SE, A, B, C
	Reasons  []string `json:"reasons,omitempty"` // why it is not in a better one
	Limit    uint32   `json:"limit_fen"`         // live slots of one token
	Ceiling  uint32   `json:"ceiling_fen"`       // all tokens of the wallet
	Slots    int      `json:"slots"`             // of a full bundle
	TokenTTL int      `json:"token_ttl_sec"`
	Express  bool     `json:"express"`           // some slots pay without a PIN
	Offline  bool     `json:"offline_terminals"` // terminals that never hear the deny list take it
}

// PINSet is the body of POST /v1/wallets/{wallet}/pin.
type PINSet struct {
	PIN    string   `json:"pin_jwe"`          // compact JWE to the intake key
	Holder []string `json:"holder,omitempty"` // numbers that others know of the holder; looked at, not kept
}

var pinSet = table[PINSet]{
	{"pin_jwe", must, func(d *decoder, v *PINSet) *FieldError { return sealed(d, &v.PIN) }},
	{"holder", may, func(d *decoder, v *PINSet) *FieldError { return list(d, &v.Holder, 8, known) }},
}

// known reads a number that the holder is known by.
func known(d *decoder, v *string) *FieldError { return word(d, v, 1, 32) }

func (q *PINSet) read(d *decoder) *FieldError { return pinSet.read(d, q) }

// PINVerify is the body of POST /v1/wallets/{wallet}/pin/verify.
type PINVerify struct {
	PIN string `json:"pin_jwe"`
}

var pinVerify = table[PINVerify]{
	{"pin_jwe", must, func(d *decoder, v *PINVerify) *FieldError { return sealed(d, &v.PIN) }},
}

func (q *PINVerify) read(d *decoder) *FieldError { return pinVerify.read(d, q) }

// PINChange is the body of POST /v1/wallets/{wallet}/pin/change.
type PINChange struct {
	Old    string   `json:"old_pin_jwe"`
	PIN    string   `json:"pin_jwe"`
	Holder []string `json:"holder,omitempty"`
}

var pinChange = table[PINChange]{
	{"old_pin_jwe", must, func(d *decoder, v *PINChange) *FieldError { return sealed(d, &v.Old) }},
	{"pin_jwe", must, func(d *decoder, v *PINChange) *FieldError { return sealed(d, &v.PIN) }},
	{"holder", may, func(d *decoder, v *PINChange) *FieldError { return list(d, &v.Holder, 8, known) }},
}

func (q *PINChange) read(d *decoder) *FieldError { return pinChange.read(d, q) }

// PIN is the answer about a PIN: the epoch that bundles are masked under.
type PIN struct {
	Epoch uint32 `json:"pin_epoch"`
}

// Sync is the body of POST /v1/sync.
type Sync struct {
	Device string `json:"device_id"`
	Signed string `json:"sync"` // compact JWS under the device's sign_key
}

// maxSync bounds a signed sync.
const maxSync = 192 << 10

var sync = table[Sync]{
	{"device_id", must, func(d *decoder, v *Sync) *FieldError { return name(d, &v.Device, 28) }},
	{"sync", must, func(d *decoder, v *Sync) *FieldError { return compact(d, &v.Signed, 3, maxSync) }},
}

// compact reads base64url parts with dots between them.
func compact(d *decoder, v *string, parts, most int) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	dots, ok := 0, len(b) <= most
	for _, c := range b {
		switch {
		case c == '.':
			dots++
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', c == '-', c == '_':
		default:
			ok = false
		}
	}
	if !ok || dots != parts-1 {
		return wrong("must be in compact form, with %d parts and at most %d characters", parts, most)
	}
	*v = string(b)
	return nil
}

func (q *Sync) read(d *decoder) *FieldError { return sync.read(d, q) }

// GuardedBundle is a bundle that a PIN guards.
type GuardedBundle struct {
	Bundle
	Hardware string `json:"hw_key,omitempty"` // compact JWE: the key that tier A's masks need
	Epoch    uint32 `json:"pin_epoch"`
}

// Synced is the answer to [Sync].
type Synced struct {
	ID        string         `json:"sync_id"`
	Result    string         `json:"result"` // CLEAN, GAPS, CONTRADICTION
	State     string         `json:"wallet_state"`
	Tier      string         `json:"tier"`
	Decisions []TapResult    `json:"decisions"` // one for each used slot, in order
	Available uint32         `json:"available_fen"`
	Reserve   uint32         `json:"reserve_fen"`
	Due       uint32         `json:"due_fen"`
	Authority uint32         `json:"authority_fen"` // caps of all slots that can still pay
	Remaining uint32         `json:"remaining_fen"` // of the token's live slots
	Count     int            `json:"count"`
	Bundle    *GuardedBundle `json:"bundle,omitempty"`
	Scripts   []string       `json:"scripts,omitempty"` // hex; orders to the phone
	Next      SyncNext       `json:"next"`
	At        time.Time      `json:"server_time"`
}

// SyncNext says when a phone should sync again: at the first of these.
type SyncNext struct {
	SlotsLeft int       `json:"slots_left"`
	Remaining uint32    `json:"remaining_fen"`
	Before    time.Time `json:"before"`
}
