// Package script reads the one YAML file that says what a key ceremony does, and turns it into the steps that its officers approve.
package script

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// ErrScript reports a script that cannot be carried out as it stands.
var ErrScript = fault.New(fault.Malformed, "the script cannot be carried out")

// MaxSize bounds a script, in bytes.
const MaxSize = 64 << 10

// Kind is what a ceremony is for.
type Kind string

// Kinds.
const (
	InitToken   Kind = "init-token"
	Generate    Kind = "generate"
	Components  Kind = "import-components"
	Letters     Kind = "letters"
	ImportTR31  Kind = "import-tr31"
	ExportTR31  Kind = "export-tr31"
	RotateKeys  Kind = "rotate"
	RetireKeys  Kind = "retire"
	DestroyKeys Kind = "destroy"
	Backup      Kind = "backup"
	Restore     Kind = "restore"
)

// Role is what a person does in a ceremony. Nobody has two.
type Role string

// Roles.
const (
	Officer   Role = "security-officer" // approves the plan and confirms it
	Custodian Role = "custodian"        // holds one component, share or part of a PIN
	Witness   Role = "witness"          // sees that it went as planned
	Auditor   Role = "auditor"          // reads the transcript afterwards
)

// State is where a key version is in its life.
type State string

// States. A pending or retiring version verifies; only the active one issues.
const (
	Pending   State = "PENDING"
	Active    State = "ACTIVE"
	Retiring  State = "RETIRING"
	Retired   State = "RETIRED"
	Destroyed State = "DESTROYED"
)

// NoKey in the place of a label says that there is no such key.
const NoKey = "none"

// Script is a ceremony as it is written.
type Script struct {
	Ceremony   string   `yaml:"ceremony"`             // its name: a to z, 0 to 9 and hyphens
	Kind       Kind     `yaml:"kind"`                 //
	Reason     string   `yaml:"reason"`               // one line
	Token      string   `yaml:"token"`                // label of the token
	AuditKey   string   `yaml:"audit_key,omitempty"`  // key of the token that signs the transcript; none: the officers alone do
	Quorum     int      `yaml:"quorum"`               // how many security officers have to approve
	People     []Person `yaml:"people"`               //
	PINs       *PINs    `yaml:"pins,omitempty"`       // who holds which part; without it the PIN comes from a file
	Keys       []Key    `yaml:"keys,omitempty"`       //
	Custodians []string `yaml:"custodians,omitempty"` // who holds a component of each key
	KBPK       *KBPK    `yaml:"kbpk,omitempty"`       // the key that protects key blocks
	Backup     *Sharing `yaml:"backup,omitempty"`     // who holds shares of the key that opens a backup
}

// Person is somebody in the room.
type Person struct {
	Name string `yaml:"name"`
	Role Role   `yaml:"role"`
	Key  string `yaml:"key,omitempty"` // public key; `keyceremony enrol` prints it. A rehearsal needs none
}

// PINs says who knows which part of a PIN. Parts are typed in this order and
// make one PIN; one name is a PIN of one person.
type PINs struct {
	SO   []string `yaml:"so,omitempty"`
	User []string `yaml:"user"`
}

// Key is one key of a ceremony.
type Key struct {
	Label    string    `yaml:"label"`
	State    State     `yaml:"state,omitempty"`    // of a new key: ACTIVE or PENDING; ACTIVE when nothing is said
	Parity   string    `yaml:"parity,omitempty"`   // of a Triple DES key of components: none or odd; none when nothing is said
	Bits     int       `yaml:"bits,omitempty"`     // of an AES master: 128, 192 or 256
	Check    string    `yaml:"check,omitempty"`    // check value that the whole key has to have, where it is known before
	Block    string    `yaml:"block,omitempty"`    // import-tr31: the key block
	Source   string    `yaml:"source,omitempty"`   // export-tr31: birth or components
	Replaces string    `yaml:"replaces,omitempty"` // rotate: the version that retires now
	HeldBy   []Holding `yaml:"held_by,omitempty"`  // rotate: where the new version is already held
	Evidence string    `yaml:"evidence,omitempty"` // rotate, retire, destroy: why this may happen
	Usage    string    `yaml:"usage,omitempty"`    // tr31: usage of the block, where the label alone does not say it
}

// Holding says that a device holds a key, by the check value that was read there.
type Holding struct {
	Device string `yaml:"device"`
	Check  string `yaml:"check"`
}

// KBPK is a key block protection key, made of components.
type KBPK struct {
	Algorithm  string   `yaml:"algorithm"` // aes or tdes
	Bits       int      `yaml:"bits"`      // 128 (tdes: without parity), 192 or 256
	Check      string   `yaml:"check,omitempty"`
	Custodians []string `yaml:"custodians"`
}

// Sharing splits the key that opens a backup.
type Sharing struct {
	Threshold  int      `yaml:"threshold"`
	Custodians []string `yaml:"custodians"` // restore: those who came
	File       string   `yaml:"file,omitempty"`
}

// Parse reads a script strictly: an unknown key, a second document or anything
// that the kind does not use is an error.
func Parse(text []byte) (Script, error) {
	var s Script
	if len(text) > MaxSize {
		return s, fmt.Errorf("%w: it has more than %d bytes", ErrScript, MaxSize)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil {
		return Script{}, unread(err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Script{}, fmt.Errorf("%w: one file holds one ceremony", ErrScript)
	}
	if s.AuditKey == "" {
		s.AuditKey = keyref.Ref{Usage: keyref.AuditSign, Version: 1}.Label()
	}
	for i := range s.Keys {
		if s.Keys[i].State == "" && s.births() {
			s.Keys[i].State = Active
		}
	}
	return s, s.validate()
}

// unread is what the decoder says of a text that is no script. Errors of its
// fields stay as they are, to be told one by one.
func unread(err error) error {
	var fields *yaml.TypeError
	switch {
	case errors.As(err, &fields):
		return fmt.Errorf("%w: %w", ErrScript, err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: nothing is in it", ErrScript)
	}
	return fmt.Errorf("%w: %s", ErrScript, strings.TrimPrefix(err.Error(), "yaml: "))
}

// births reports whether the kind makes keys on the token.
func (s Script) births() bool {
	switch s.Kind {
	case Generate, Components, Letters, ImportTR31, Backup, Restore:
		return true
	}
	return false
}

// Person returns the one of a name.
func (s Script) Person(name string) (Person, bool) {
	for _, p := range s.People {
		if p.Name == name {
			return p, true
		}
	}
	return Person{}, false
}

// With returns the people of a role.
func (s Script) With(r Role) (names []string) {
	for _, p := range s.People {
		if p.Role == r {
			names = append(names, p.Name)
		}
	}
	return names
}

// Ref is the key's reference; the script was checked.
func (k Key) Ref() keyref.Ref { r, _ := keyref.Parse(k.Label); return r }

// Length is how many bytes the key has.
func (k Key) Length() int {
	switch s, _ := k.Ref().Usage.Spec(); s.Type {
	case keyref.DES3:
		return 16
	case keyref.AES:
		return k.Bits / 8
	}
	return 32
}
