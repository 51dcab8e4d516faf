// Package assembly builds the whole service from its configuration.
//
// It is the only place that knows every package: the program and the
// end-to-end tests both call [Build], so what a test exercises is what runs.
package assembly

import (
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
)

// Environments. Only a rehearsal may hold keys that were imported in the
// clear, or run with a shifted clock.
const (
	Rehearsal  = "rehearsal"
	Production = "production"
)

// Config is the whole configuration file. Paths are relative to the folder of
// the file; secrets are never in it, only the paths of files that hold them.
type Config struct {
	// Environment is "rehearsal" or "production". Required.
	Environment string `yaml:"environment"`
	// Listen is the address the service listens on, e.g. 127.0.0.1:8443. Required.
	Listen string `yaml:"listen"`
	// StopNotice is how long a process that was told to stop still serves while
	// /readyz says that it does not, so that a balancer turns away first. 0: not
	// at all.
	StopNotice time.Duration `yaml:"stop_notice"`
	// MaxInFlight is how many requests are served at the same time; beyond it
	// callers are told to come back. 0: 512.
	MaxInFlight int `yaml:"max_in_flight"`
	// TLS names the server's certificate. Required: there is no plain HTTP.
	TLS TLS `yaml:"tls"`
	// HSM is the PKCS#11 token that holds every master key. Required.
	HSM HSM `yaml:"hsm"`
	// Store is the database. Required.
	Store Store `yaml:"store"`
	// Audit is the record of who asked for what. Required.
	Audit Audit `yaml:"audit"`
	// Calendar says when a service day begins. Required.
	Calendar Calendar `yaml:"calendar"`
	// Vault is where token numbers come from. Required.
	Vault Vault `yaml:"vault"`
	// Realms are the families of cards whose masters the HSM holds. At least one.
	Realms []Realm `yaml:"realms"`
	// Slots says what a phone's bundle looks like. Required.
	Slots Slots `yaml:"slots"`
	// Tiers are what devices are allowed, by their tier: SE, A, B. Those that are
	// not here have their defaults; a device of tier C gets no slots.
	Tiers map[string]Tier `yaml:"tiers"`
	// PIN bounds the work that PINs make.
	PIN PIN `yaml:"pin"`
	// Identity says who issues access tokens and for whom. Required.
	Identity Identity `yaml:"identity"`
	// Tokens says how tokens live, and what is agreed with those who ask for them.
	Tokens Tokens `yaml:"tokens"`
	// Detokenize bounds how many card numbers a caller is given. Without it
	// there is no limit.
	Detokenize Detokenize `yaml:"detokenize"`
	// DenyList says how readers are told whom not to take.
	DenyList DenyList `yaml:"denylist"`
	// Places says what is known of where terminals stand, by their number or
	// the name of their group. A token's control on what is not known refuses.
	Places map[string]Place `yaml:"places"`
	// EMV says for which issuers of EMV cards the service answers.
	EMV EMV `yaml:"emv"`
	// Estate is the terminals that take phones.
	Estate Estate `yaml:"estate"`
	// Limits bounds how much callers may ask.
	Limits Limits `yaml:"limits"`
	// Traces sends the steps of some requests to an OpenTelemetry collector.
	Traces Traces `yaml:"traces"`
	// Quorum puts verbs under the approval of others: detokenize-batch,
	// vault-export, settings, client-creation, key-destruction, load-decision.
	Quorum map[string]Quorum `yaml:"quorum"`

	dir string // of the configuration file
}

// TLS names the certificate and its key, both PEM. The service speaks TLS 1.3
// and nothing older.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCertificates asks callers for a certificate. One who shows one gets
	// access tokens that are bound to it (RFC 8705); no chain is checked.
	ClientCertificates bool `yaml:"client_certificates"`
}

// HSM says how to reach the PKCS#11 token.
type HSM struct {
	// Module is the PKCS#11 library, an absolute path.
	Module string `yaml:"module"`
	// Token is the token's label.
	Token string `yaml:"token"`
	// PINFile holds the user PIN on one line; readable by its owner only.
	PINFile string `yaml:"pin_file"`
	// SoftHSMConf is SoftHSM's own configuration file; empty for other modules.
	SoftHSMConf string `yaml:"softhsm_conf"`
	// InitArgs is what some modules want at C_Initialize; usually empty.
	InitArgs string `yaml:"init_args"`
	// Others are further tokens that hold the same keys: slots of this module or
	// of others. Work is spread over those that answer.
	Others []Token `yaml:"others"`
	// Workers is how many threads drive the module; 0 means 1, which is best
	// for SoftHSM. A networked HSM wants more.
	Workers int `yaml:"workers"`
	// MaxSessions caps open sessions; 0 lets the service choose.
	MaxSessions int `yaml:"max_sessions"`
	// RecycleAfter is after how many session objects a module that loses their
	// memory is finalised and initialised again. 0 means 200,000 for SoftHSM and
	// never for others; -1 never.
	RecycleAfter int `yaml:"recycle_after"`
	// Transcripts is the folder of all transcripts of key ceremonies on this
	// token: they say in which state a key is. Empty: every key is flagged.
	Transcripts string `yaml:"transcripts"`
	// Officers are the public keys of those whose approvals count, as
	// keyceremony enrol prints them. Empty: of any officer.
	Officers []string `yaml:"officers"`
	// SM4 says where keys of realms that compute SM4 are used. Empty: nowhere.
	SM4 SM4 `yaml:"sm4"`
}

// Token is one more token with the same keys. What is left out is the first
// one's, but for the last two where the module is another.
type Token struct {
	// Module is the PKCS#11 library, an absolute path.
	Module string `yaml:"module"`
	// Token is the token's label.
	Token string `yaml:"token"`
	// PINFile holds the user PIN on one line; readable by its owner only.
	PINFile string `yaml:"pin_file"`
	// SoftHSMConf is SoftHSM's own configuration file.
	SoftHSMConf string `yaml:"softhsm_conf"`
	// InitArgs is what some modules want at C_Initialize.
	InitArgs string `yaml:"init_args"`
}

// SM4 is either the numbers by which the module's vendor knows SM4, or the
// folder of keys that are used in memory. Not both.
type SM4 struct {
	// KeyType is the vendor's CKA_KEY_TYPE.
	KeyType uint `yaml:"key_type"`
	// Derive makes a key of an enciphered block, as CKM_AES_ECB_ENCRYPT_DATA
	// does for AES.
	Derive uint `yaml:"derive"`
	// CBC is the vendor's mechanism for it, without padding.
	CBC uint `yaml:"cbc"`
	// ValueLen says that derived keys are asked for with CKA_VALUE_LEN.
	ValueLen bool `yaml:"value_len"`
	// SoftwareKeys is a folder of keys, sealed by the HSM, that are computed with
	// in the memory of the service. For a module without SM4 only.
	SoftwareKeys string `yaml:"software_keys"`
}

// Store is the database.
type Store struct {
	// DSN is a file for SQLite, or a URL that begins with postgres:// for
	// PostgreSQL, where several services may share a database. A password is not
	// put into it: name a file of them with ?passfile=. Required.
	DSN string `yaml:"dsn"`
	// MaxBytes caps the SQLite file, so that it never takes the last of a disk. 0: none.
	MaxBytes int64 `yaml:"max_bytes"`
	// ReadOnly is for an instance that answers questions on a copy: every
	// write is refused, logins too.
	ReadOnly bool `yaml:"read_only"`
}

// Audit is the append-only record.
type Audit struct {
	// File is appended to, and flushed to the disk, before an action proceeds.
	// Beside it stand the tree over its lines and their checkpoints, files of the
	// same name with .tree and .checkpoints after it.
	File string `yaml:"file"`
	// CheckpointEvery is how often the HSM signs what the record is, if anything
	// was recorded. 0: 1m.
	CheckpointEvery time.Duration `yaml:"checkpoint_every"`
}

// Calendar says when a service day begins.
type Calendar struct {
	// Zone is an IANA name, e.g. Asia/Shanghai.
	Zone string `yaml:"zone"`
	// CutOver is when the day changes, HH:MM.
	CutOver string `yaml:"cut_over"`
}

// Vault is where token numbers come from.
type Vault struct {
	// BINController is the four characters that payment account references
	// begin with, as EMVCo assigns them. Required.
	BINController string `yaml:"bin_controller"`
	// Quarantine is how long a number rests after its token's day, 744h or
	// more. 0: 1080h, 45 days.
	Quarantine time.Duration `yaml:"quarantine"`
	// AlarmDays is when a range that runs low is told of in the log: so many
	// days before it is used up. 0: 14.
	AlarmDays int `yaml:"alarm_days"`
	// KeyVersions are the versions of keys that new rows are made with. What
	// `tapvault rewrap` leaves behind is under them too.
	KeyVersions VaultKeys `yaml:"key_versions"`
	// Ranges are where token numbers come from. At least one.
	Ranges []Range `yaml:"ranges"`
	// CardRanges are where physical cards are numbered. A token range may not
	// overlap them in the last digits, which keys are derived from.
	CardRanges []CardRange `yaml:"card_ranges"`
}

// VaultKeys are versions of the vault's keys; 0 means 1.
type VaultKeys struct {
	Seal     uint8 `yaml:"pan_seal"`
	Index    uint8 `yaml:"pan_index"`
	PAR      uint8 `yaml:"par"`
	RangeKEK uint8 `yaml:"range_kek"`
}

// Range is a block of token numbers: prefix, then permuted serial, then a
// check digit where Luhn is on.
type Range struct {
	// Name is stored with every token; it never changes.
	Name string `yaml:"name"`
	// Prefix is the digits that every number of the range begins with.
	Prefix string `yaml:"prefix"`
	// Length is how many digits a number has, 13 to 19. A card of this length
	// gets its token here.
	Length int `yaml:"length"`
	// Luhn says whether the last digit is a check digit.
	Luhn bool `yaml:"luhn"`
	// Requestor keeps the range for one token requestor, by its 11 digits.
	// Empty: it is for all of them. Ranges are used in the order of this file.
	Requestor token.Requestor `yaml:"requestor"`
	// Scheme keeps the range for cards of the card ranges that name it. Empty:
	// it is for all cards.
	Scheme string `yaml:"scheme"`
}

// CardRange is a block of card numbers that exist.
type CardRange struct {
	Prefix string `yaml:"prefix"`
	Length int    `yaml:"length"`
	// Scheme is whose cards these are, where token ranges ask for it.
	Scheme string `yaml:"scheme"`
}

// Realm is a family of cards: how its keys are diversified and which options
// of the e-purse it uses.
type Realm struct {
	// Name is lower case; it begins the labels of the realm's keys.
	Name string `yaml:"name"`
	// Issuer is the 8-byte issuer id of file 0015 as 16 hex digits; phones show it.
	Issuer string `yaml:"issuer"`
	// Factors lead from a master to a card's key, root first: issuer8,
	// issuer4x2, asn8, or fixed:<16 hex digits>. Empty: keys are the cards' own.
	Factors []cryptogram.FactorRule `yaml:"factors"`
	// Algorithms maps the algorithm id that a card answers to what it computes;
	// 3des, or sm4 where hsm.sm4 is there. Required, e.g. {0: 3des, 4: sm4}.
	Algorithms map[byte]string `yaml:"algorithms"`
	// KeyVersions maps the key version that a card answers to the version of
	// the master in the HSM. Required, e.g. {1: 1}.
	KeyVersions map[byte]uint8 `yaml:"key_versions"`
	// TAC is fold (left half xor right half), direct (the whole key), or
	// refuse. Empty: fold.
	TAC cryptogram.TACMode `yaml:"tac"`
	// OverdraftTAC is the same for limit updates, where sources disagree.
	OverdraftTAC cryptogram.TACMode `yaml:"overdraft_tac"`
	// AuthCode appends the 9-byte authentication code to MAC1 of composite purchases.
	AuthCode bool `yaml:"auth_code"`
	// Requestors are the token requestors whose issuers are served, 11 digits each.
	// Empty: every issuer with the right.
	Requestors []string `yaml:"requestors"`
	// Test lets keys be imported into the realm with `tapvault keys import`.
	// Refused in production.
	Test bool `yaml:"test"`
}

// Slots says what a bundle for a phone looks like.
type Slots struct {
	// Realm holds MPK-S and MTK-S.
	Realm string `yaml:"realm"`
	// KeyVersion is the PSAM key version that slots are for.
	KeyVersion uint8 `yaml:"key_version"`
	// ElementKeyVersion is the version of the slot masters that serve secure
	// elements, and no phone: their tokens' keys leave the HSM, enciphered to the
	// element. 0: none is served.
	ElementKeyVersion uint8 `yaml:"element_key_version"`
	// AlgorithmID is what the phone answers.
	AlgorithmID uint8 `yaml:"algorithm_id"`
	// Count is how many slots a bundle holds, 2 to 64.
	Count int `yaml:"count"`
	// CapFen is the most one slot may pay, in fen.
	CapFen uint32 `yaml:"cap_fen"`
	// AppType and AppVersion are bytes 8 and 9 of a phone's file 0015.
	AppType    uint8 `yaml:"application_type"`
	AppVersion uint8 `yaml:"application_version"`
	// AID is the application id that readers select, in hex.
	AID string `yaml:"aid"`
}

// Identity says who issues access tokens and for whom.
type Identity struct {
	// IssuerURL is `iss` of access tokens.
	IssuerURL string `yaml:"issuer_url"`
	// Audience is `aud` of access tokens, and of the assertions clients sign.
	Audience string `yaml:"audience"`
	// AccessTTL is how long an access token is good, 1m to 1h. 0: 10m.
	AccessTTL time.Duration `yaml:"access_ttl"`
	// KeyVersion is the version of jwt-sign that must be there at the start. Newer
	// ones are found while the service runs. 0: 1.
	KeyVersion uint8 `yaml:"key_version"`
	// Issuers are other issuers whose access tokens are believed.
	Issuers []ForeignIssuer `yaml:"issuers"`
}

// In sets the folder that relative paths of c start from.
func (c Config) In(dir string) Config { c.dir = dir; return c }

// Path resolves a path of the configuration.
func (c Config) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}
