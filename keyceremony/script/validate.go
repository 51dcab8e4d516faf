package script

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/keyceremony/officer"
)

// uses says which parts of a script a kind needs; what it does not use must
// not be there.
type uses struct {
	so, custodians, kbpk, backup bool
	noKeys                       bool
	fields                       []string // of a key, besides its label
}

var kinds = map[Kind]uses{
	InitToken:   {so: true, noKeys: true},
	Generate:    {fields: []string{"state", "bits"}},
	Components:  {custodians: true, fields: []string{"state", "bits", "parity", "check"}},
	Letters:     {custodians: true, fields: []string{"state", "bits", "parity"}},
	ImportTR31:  {kbpk: true, fields: []string{"state", "bits", "block", "check", "usage"}},
	ExportTR31:  {kbpk: true, custodians: true, fields: []string{"state", "bits", "source", "usage", "parity"}},
	RotateKeys:  {fields: []string{"replaces", "held_by", "evidence"}},
	RetireKeys:  {fields: []string{"evidence"}},
	DestroyKeys: {fields: []string{"evidence", "check"}},
	Backup:      {backup: true, fields: []string{"state", "bits"}},
	Restore:     {backup: true, fields: []string{"state", "bits"}},
}

var (
	ceremonyName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	personName   = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,31}$`)
	hexText      = regexp.MustCompile(`^([0-9A-F]{6}|[0-9A-F]{10})$`)
)

const (
	maxKeys   = 100
	maxPeople = 40
	maxLine   = 500
)

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrScript}, args...)...)
}

// plain reports whether text is one line that a terminal and a page show as it is: with
// controls of any kind, or marks that turn the direction of writing, officers would approve
// something else than they read.
func plain(text string) bool {
	return len(text) <= maxLine && utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func (s Script) validate() error {
	u, ok := kinds[s.Kind]
	switch {
	case !ok:
		return wrong("kind %q is none of %s", s.Kind, kindNames())
	case !ceremonyName.MatchString(s.Ceremony):
		return wrong("ceremony: a name of a to z, 0 to 9 and hyphens")
	case s.Reason == "" || !plain(s.Reason):
		return wrong("reason: one line of letters, digits and signs that says why")
	case len(s.Token) == 0 || len(s.Token) > 32 || !plain(s.Token) || strings.TrimSpace(s.Token) != s.Token:
		return wrong("token: a label of 1 to 32 bytes")
	}
	if s.AuditKey != NoKey {
		if r, err := keyref.Parse(s.AuditKey); err != nil || r.Usage != keyref.AuditSign {
			return wrong("audit_key: the label of an audit-sign key, or none")
		}
	}
	if s.Kind == InitToken && s.AuditKey != NoKey {
		return wrong("audit_key: none: a token that is being initialised holds no key yet")
	}
	for _, check := range []func(uses) error{s.people, s.parts, s.keys} {
		if err := check(u); err != nil {
			return err
		}
	}
	return nil
}

// Name reports whether somebody can be named so in a script.
func Name(name string) error {
	if !personName.MatchString(name) {
		return fmt.Errorf("%q is no name of a to z, 0 to 9, dots and hyphens, of 32 at most, that begins with a letter", name)
	}
	return nil
}

func kindNames() string {
	var all []string
	for k := range kinds {
		all = append(all, string(k))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// people checks that each has one role and a key of their own, and that there
// are enough.
func (s Script) people(uses) error {
	if len(s.People) > maxPeople {
		return wrong("people: at most %d", maxPeople)
	}
	keys := map[string]string{}
	for i, p := range s.People {
		if err := Name(p.Name); err != nil {
			return wrong("people: %w", err)
		}
		if !slices.Contains([]Role{Officer, Custodian, Witness, Auditor}, p.Role) {
			return wrong("people: %s has no role of security-officer, custodian, witness and auditor", p.Name)
		}
		for _, other := range s.People[:i] {
			if other.Name == p.Name {
				return wrong("people: %s is there twice: nobody has two roles", p.Name)
			}
		}
		if p.Key == "" {
			continue
		}
		if _, err := officer.ParsePublic(p.Key); err != nil {
			return wrong("people: %s: %w", p.Name, err)
		}
		if other := keys[p.Key]; other != "" {
			return wrong("people: %s and %s have one key: nobody has two roles", other, p.Name)
		}
		keys[p.Key] = p.Name
	}
	switch n := len(s.With(Officer)); {
	case s.Quorum < 2:
		return wrong("quorum: two security officers at least")
	case s.Quorum > n:
		return wrong("quorum: %d approvals are wanted, and there are %d security officers", s.Quorum, n)
	case len(s.With(Witness)) == 0:
		return wrong("people: a witness is missing")
	}
	return nil
}

// parts checks who holds what.
func (s Script) parts(u uses) error {
	if s.PINs == nil && u.so {
		return wrong("pins: say who chooses the PINs")
	}
	if s.PINs != nil {
		if u.so != (len(s.PINs.SO) > 0) {
			return wrong("pins: so is for init-token, which needs it")
		}
		for name, list := range map[string][]string{"pins.so": s.PINs.SO, "pins.user": s.PINs.User} {
			if name == "pins.user" || u.so {
				if err := s.holders(name, list, 1, true); err != nil {
					return err
				}
			}
		}
	}
	birthOnly := s.Kind == ExportTR31 && !slices.ContainsFunc(s.Keys, func(k Key) bool { return k.Source == "components" })
	switch {
	case (s.Custodians != nil) != (u.custodians && !birthOnly):
		return wrong("custodians: %s", needed(u.custodians && !birthOnly, s.Kind))
	case (s.KBPK != nil) != u.kbpk:
		return wrong("kbpk: %s", needed(u.kbpk, s.Kind))
	case (s.Backup != nil) != u.backup:
		return wrong("backup: %s", needed(u.backup, s.Kind))
	}
	if s.Custodians != nil {
		if err := s.holders("custodians", s.Custodians, 2, false); err != nil {
			return err
		}
	}
	if s.KBPK != nil {
		if err := s.kbpk(); err != nil {
			return err
		}
	}
	if s.Backup != nil {
		return s.backup()
	}
	return nil
}

func needed(yes bool, k Kind) string {
	if yes {
		return fmt.Sprintf("a ceremony of kind %s needs it", k)
	}
	return fmt.Sprintf("a ceremony of kind %s has none", k)
}

// holders checks a list of custodians: nobody may be there twice, so that
// nobody holds two parts.
func (s Script) holders(field string, list []string, atLeast int, officersToo bool) error {
	if len(list) < atLeast || len(list) > 16 {
		return wrong("%s: %d people at least, 16 at most", field, atLeast)
	}
	for i, name := range list {
		p, ok := s.Person(name)
		if !ok || p.Role != Custodian && !(officersToo && p.Role == Officer) {
			return wrong("%s: %s is no custodian of this ceremony", field, name)
		}
		if slices.Contains(list[:i], name) {
			return wrong("%s: %s is there twice: nobody holds two parts", field, name)
		}
	}
	return nil
}

func (s Script) kbpk() error {
	k := s.KBPK
	sizes := map[string][]int{"aes": {128, 192, 256}, "tdes": {128, 192}}[k.Algorithm]
	if !slices.Contains(sizes, k.Bits) {
		return wrong("kbpk: algorithm is aes with 128, 192 or 256 bits, or tdes with 128 or 192")
	}
	if k.Check != "" && !hexText.MatchString(k.Check) {
		return wrong("kbpk: check is 6 or 10 hex digits, in capitals")
	}
	return s.holders("kbpk.custodians", k.Custodians, 2, false)
}

func (s Script) backup() error {
	b := s.Backup
	if err := s.holders("backup.custodians", b.Custodians, 2, false); err != nil {
		return err
	}
	if b.Threshold < 2 || s.Kind == Backup && b.Threshold > len(b.Custodians) || s.Kind == Restore && b.Threshold != len(b.Custodians) {
		return wrong("backup: threshold is 2 at least; a restoration names as many custodians as it says")
	}
	if (b.File != "") != (s.Kind == Restore) || !plain(b.File) {
		return wrong("backup: file names the backup to restore, and only that")
	}
	return nil
}

func (s Script) keys(u uses) error {
	if u.noKeys != (len(s.Keys) == 0) {
		return wrong("keys: %s", needed(!u.noKeys, s.Kind))
	}
	if len(s.Keys) > maxKeys {
		return wrong("keys: at most %d in one ceremony", maxKeys)
	}
	for i, k := range s.Keys {
		for _, other := range s.Keys[:i] {
			if other.Label == k.Label {
				return wrong("keys: %s is there twice", k.Label)
			}
		}
		if err := s.key(u, k); err != nil {
			return err
		}
	}
	return nil
}

func (s Script) key(u uses, k Key) error {
	r, err := keyref.Parse(k.Label)
	if err != nil {
		return wrong("keys: %q is no label of a key", k.Label)
	}
	for field, set := range map[string]bool{"state": k.State != "", "parity": k.Parity != "", "bits": k.Bits != 0, "check": k.Check != "",
		"block": k.Block != "", "source": k.Source != "", "replaces": k.Replaces != "", "held_by": k.HeldBy != nil, "evidence": k.Evidence != "", "usage": k.Usage != ""} {
		if set && !slices.Contains(u.fields, field) {
			return wrong("keys: %s: a ceremony of kind %s has no %s", k.Label, s.Kind, field)
		}
	}
	spec, _ := r.Usage.Spec()
	switch {
	case r.Usage == keyref.OfficerSign:
		return wrong("keys: %s: a person's own key is made by keyceremony enrol, on their own token", k.Label)
	case s.births() && k.State != Active && k.State != Pending:
		return wrong("keys: %s: a new key is ACTIVE or PENDING", k.Label)
	case (spec.Type == keyref.AES) != (k.Bits != 0) && (s.births() || s.Kind == ExportTR31):
		return wrong("keys: %s: bits are said of AES masters, and of them only", k.Label)
	case k.Bits != 0 && !slices.Contains([]int{128, 192, 256}, k.Bits):
		return wrong("keys: %s: bits is 128, 192 or 256", k.Label)
	case k.Parity != "" && (k.Parity != "none" && k.Parity != "odd" || spec.Type != keyref.DES3):
		return wrong("keys: %s: parity is none or odd, and of Triple DES keys only", k.Label)
	case k.Check != "" && !hexText.MatchString(k.Check):
		return wrong("keys: %s: check is 6 or 10 hex digits, in capitals", k.Label)
	case spec.Type == keyref.ECP256 && s.Kind != Generate && s.Kind != RotateKeys && s.Kind != RetireKeys && s.Kind != DestroyKeys:
		return wrong("keys: %s: a key pair is generated inside the token and never leaves it, in any form", k.Label)
	case spec.Type == keyref.SM4 && s.Kind != Generate && s.Kind != RotateKeys && s.Kind != RetireKeys && s.Kind != DestroyKeys:
		return wrong("keys: %s: SM4 keys are generated inside the token: they have neither components nor key blocks here", k.Label)
	case spec.Type == keyref.AES && s.Kind == Generate:
		return wrong("keys: %s: an AES master of given length is born of components: use letters", k.Label)
	}
	return s.more(r, k)
}

// more checks what only one kind has.
func (s Script) more(r keyref.Ref, k Key) error {
	switch s.Kind {
	case RotateKeys:
		return rotation(r, k)
	case RetireKeys, DestroyKeys:
		if k.Evidence == "" || !plain(k.Evidence) {
			return wrong("keys: %s: evidence: one line that says why nothing needs the key any more", k.Label)
		}
		if s.Kind == DestroyKeys && k.Label == s.AuditKey {
			return wrong("keys: %s signs this transcript: name another audit_key, or none", k.Label)
		}
	case ImportTR31:
		return s.block(r, k)
	case ExportTR31:
		if k.Source != "birth" && k.Source != "components" {
			return wrong("keys: %s: source is birth (made and exported at once) or components (put together by its custodians)", k.Label)
		}
		if (k.Source == "birth") != (k.State != "") || k.State != "" && k.State != Active && k.State != Pending {
			return wrong("keys: %s: state is said of a key that is born here: ACTIVE or PENDING", k.Label)
		}
		if _, err := BlockUsage(r, k.Usage); err != nil {
			return err
		}
		if s.KBPK.Algorithm == "tdes" && algorithmOf(r) != keyblock.TDES {
			return wrong("keys: %s: a Triple DES key does not protect an AES key", k.Label)
		}
	}
	return nil
}

func rotation(r keyref.Ref, k Key) error {
	if k.Replaces != "" {
		old, err := keyref.Parse(k.Replaces)
		if err != nil || old.Realm != r.Realm || old.Usage != r.Usage || old.Version == r.Version {
			return wrong("keys: %s: replaces names another version of the same key", k.Label)
		}
	}
	if len(k.HeldBy) == 0 && k.Evidence == "" || !plain(k.Evidence) || len(k.HeldBy) > 10000 {
		return wrong("keys: %s: held_by lists the devices that hold it already; or evidence says in one line why none has to", k.Label)
	}
	for i, h := range k.HeldBy {
		if !hexText.MatchString(h.Check) || h.Device == "" || !plain(h.Device) {
			return wrong("keys: %s: held_by: a device and its check value of 6 or 10 hex digits", k.Label)
		}
		if slices.ContainsFunc(k.HeldBy[:i], func(o Holding) bool { return o.Device == h.Device }) {
			return wrong("keys: %s: held_by: %s is there twice", k.Label, h.Device)
		}
	}
	return nil
}
