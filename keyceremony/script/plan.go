package script

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// Op is what happens in one step.
type Op string

// Ops.
const (
	OpApprove   Op = "approve"         // an officer signs the plan's digest
	OpConfirm   Op = "confirm"         // the short hash is typed
	OpPIN       Op = "type-pin"        // a person types a part of a PIN
	OpInit      Op = "init-token"      //
	OpOpen      Op = "open-token"      // log in and look round
	OpGenerate  Op = "generate"        //
	OpEnter     Op = "enter-component" // a custodian types a component or share
	OpDraw      Op = "draw"            // components are drawn at random, in memory
	OpLetter    Op = "letter"          // a custodian gets a component or share in writing
	OpImport    Op = "import"          // the components are combined and become a key of the token
	OpUnwrap    Op = "import-block"    // a key block becomes a key of the token
	OpWrap      Op = "write-block"     // the key is written as a key block
	OpSealKey   Op = "draw-backup-key" // the key that opens a backup, in memory
	OpSeal      Op = "write-backup"    // the key is written to the backup
	OpOpenBack  Op = "open-backup"     // the shares are put together
	OpRestore   Op = "restore"         // a key of the backup becomes a key of the token
	OpProve     Op = "prove"           // a trial computation with the key
	OpActivate  Op = "activate"        // PENDING to ACTIVE, and what it replaces to RETIRING
	OpRetire    Op = "retire"          // RETIRING to RETIRED
	OpDestroy   Op = "destroy"         //
	OpSign      Op = "sign"            // a person signs the transcript
	OpTokenSign Op = "token-sign"      // the token's audit key signs the transcript
)

// Lasting reports whether what a step did is still there when the program was
// killed: the others are done again, with all that hangs on them.
func (o Op) Lasting() bool {
	switch o {
	case OpPIN, OpOpen, OpEnter, OpDraw, OpSealKey, OpOpenBack:
		return false
	}
	return true
}

// Step is one thing that one person, or the program, does.
type Step struct {
	Number int
	Op     Op
	Who    string // empty: the program
	Key    string // label, or "kbpk", "backup key", "so PIN", "user PIN"
	Part   int    // of Parts: which component, share or part
	Parts  int
	Group  int    // steps of one group share secrets in memory
	Says   string // in plain words
}

// Plan is a script with its steps: what the officers approve.
type Plan struct {
	Script Script
	Text   []byte // the script as it was written
	Steps  []Step
}

// Secrets that are no key of the token.
const (
	KBPKName   = "kbpk"
	BackupName = "backup key"
	SOPIN      = "so PIN"
	UserPIN    = "user PIN"
)

// Read parses a script and lays out its steps.
func Read(text []byte) (Plan, error) {
	s, err := Parse(text)
	if err != nil {
		return Plan{}, err
	}
	b := builder{s: s, group: 1}
	b.open()
	b.body()
	b.close()
	return Plan{s, text, b.steps}, nil
}

// Digest is what approvals are signed over: the script to the last byte, and
// the words in which the plan was read.
func (p Plan) Digest() [32]byte {
	h := sha256.New()
	text := sha256.Sum256(p.Text)
	fmt.Fprintf(h, "tapvault ceremony plan 1\n%x\n%s", text, p.words())
	return [32]byte(h.Sum(nil))
}

// Short is the part of the digest that people read aloud and type.
func (p Plan) Short() string {
	d := p.Digest()
	return fmt.Sprintf("%X-%X", d[:2], d[2:4])
}

func (p Plan) words() string {
	var b strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%3d. %s\n", s.Number, s.Says)
	}
	return b.String()
}

// String prints the plan in plain words.
func (p Plan) String() string {
	var b strings.Builder
	s := p.Script
	fmt.Fprintf(&b, "Ceremony %s (%s) on token %s\nWhy: %s\n\nPeople\n", s.Ceremony, s.Kind, s.Token, s.Reason)
	for _, x := range s.People {
		key := x.Key
		if key == "" {
			key = "no key yet: a rehearsal only"
		}
		fmt.Fprintf(&b, "  %-12s %-17s %s\n", x.Name, x.Role, key)
	}
	fmt.Fprintf(&b, "Approvals needed: %d of %d security officers\n\nSteps\n%s\nDigest of the plan: %X\nShort hash, to be read aloud and typed: %s\n",
		s.Quorum, len(s.With(Officer)), p.words(), p.Digest(), p.Short())
	return b.String()
}

type builder struct {
	s     Script
	steps []Step
	group int
}

func (b *builder) add(op Op, who, key string, format string, args ...any) *Step {
	says := fmt.Sprintf(format, args...)
	b.steps = append(b.steps, Step{Number: len(b.steps) + 1, Op: op, Who: who, Key: key, Group: b.group, Says: says})
	return &b.steps[len(b.steps)-1]
}

// each adds a step for each holder of a part.
func (b *builder) each(op Op, holders []string, key, format string) {
	for i, who := range holders {
		s := b.add(op, who, key, format, who, i+1, len(holders))
		s.Part, s.Parts = i+1, len(holders)
	}
}

func (b *builder) open() {
	officers := b.s.With(Officer)
	for _, who := range officers[:b.s.Quorum] {
		b.add(OpApprove, who, "", "%s reads this plan and approves it by signing its digest.", who)
	}
	b.add(OpConfirm, officers[0], "", "%s types the plan's short hash. From here on the token is changed.", officers[0])
	b.group++
	if p := b.s.PINs; p != nil {
		if p.SO != nil {
			b.each(OpPIN, p.SO, SOPIN, "%s chooses and types part %d of %d of the token's SO PIN.")
		}
		says := "%s types part %d of %d of the token's user PIN."
		if p.SO != nil {
			says = "%s chooses and types part %d of %d of the token's user PIN."
		}
		b.each(OpPIN, p.User, UserPIN, says)
	}
	if b.s.Kind == InitToken {
		b.add(OpInit, "", "", "The token %s is initialised. A token that exists already is never wiped.", b.s.Token)
	}
	b.add(OpOpen, "", "", "The program logs in to the token %s, and sees that it holds no keys that nothing explains.", b.s.Token)
}

func (b *builder) close() {
	b.group++
	for _, p := range b.s.People {
		if p.Role != Officer || b.approved(p.Name) {
			b.add(OpSign, p.Name, "", "%s (%s) signs the transcript.", p.Name, p.Role)
		}
	}
	if b.s.AuditKey != NoKey {
		b.add(OpTokenSign, "", b.s.AuditKey, "The token signs the transcript with %s.", b.s.AuditKey)
	}
}

func (b *builder) approved(name string) bool {
	for _, s := range b.steps {
		if s.Op == OpApprove && s.Who == name {
			return true
		}
	}
	return false
}

func (b *builder) body() {
	s := b.s
	switch s.Kind {
	case ImportTR31:
		b.group++
		b.kbpk()
	case Backup:
		b.group++
		b.add(OpSealKey, "", BackupName, "The program draws the key that opens the backup, and splits it: any %d of %d shares open it.", s.Backup.Threshold, len(s.Backup.Custodians))
		b.each(OpLetter, s.Backup.Custodians, BackupName, "%s alone receives share %d of %d in a letter, and seals it.")
	case Restore:
		b.group++
		b.each(OpEnter, s.Backup.Custodians, BackupName, "%s types a share of the backup's key, masked and twice (person %d of %d).")
		b.add(OpOpenBack, "", BackupName, "The program puts the shares together and opens the backup.")
	}
	for _, k := range s.Keys {
		b.key(k)
	}
}

func (b *builder) kbpk() {
	b.each(OpEnter, b.s.KBPK.Custodians, KBPKName, "%s types component %[2]d of %[3]d of the key block protection key, masked and twice, and reads its check value back.")
}

func (b *builder) key(k Key) {
	s := b.s
	becomes := fmt.Sprintf("as %s; its attributes are read back and compared", k.State)
	switch s.Kind {
	case Generate:
		b.group++
		b.add(OpGenerate, "", k.Label, "The token generates %s inside, %s.", k.Label, becomes)
	case Components:
		b.group++
		b.enter(k)
		b.add(OpImport, "", k.Label, "The components are combined in locked memory%s and become %s, %s.", parity(k), k.Label, becomes)
	case Letters:
		b.group++
		b.add(OpDraw, "", k.Label, "The program draws %d components of %s at random, in locked memory.", len(s.Custodians), k.Label)
		b.each(OpLetter, s.Custodians, k.Label, "%s alone receives component %d of %d of "+k.Label+" in a letter, and seals it.")
		b.add(OpImport, "", k.Label, "The components are combined%s and become %s, %s.", parity(k), k.Label, becomes)
	case ImportTR31:
		b.add(OpUnwrap, "", k.Label, "The key block is opened and becomes %s, %s.", k.Label, becomes)
	case ExportTR31:
		b.export(k, becomes)
	case Backup:
		b.group++
		b.add(OpDraw, "", k.Label, "The program draws %s at random, in locked memory.", k.Label)
		b.add(OpSeal, "", k.Label, "%s is sealed for the backup: only the shares open it again.", k.Label)
		b.add(OpImport, "", k.Label, "%s becomes a key of the token, %s.", k.Label, becomes)
		b.add(OpProve, "", k.Label, "A trial computation with %s is recorded, so that a restored key can be proved.", k.Label)
	case Restore:
		b.add(OpRestore, "", k.Label, "%s is taken out of the backup and becomes a key of the token, %s.", k.Label, becomes)
		b.add(OpProve, "", k.Label, "The trial computation with %s is repeated and compared.", k.Label)
	default:
		b.move(k)
	}
}

func (b *builder) enter(k Key) {
	b.each(OpEnter, b.s.Custodians, k.Label, "%s types component %d of %d of "+k.Label+", masked and twice, and reads its check value back.")
}

func (b *builder) export(k Key, becomes string) {
	b.group++
	if k.Source == "birth" {
		b.add(OpDraw, "", k.Label, "The program draws %s at random, in locked memory.", k.Label)
	} else {
		b.enter(k)
	}
	b.kbpk()
	b.add(OpWrap, "", k.Label, "%s is written as a key block under the protection key, in a new file.", k.Label)
	if k.Source == "birth" {
		b.add(OpImport, "", k.Label, "%s becomes a key of the token, %s.", k.Label, becomes)
	}
}

func (b *builder) move(k Key) {
	b.group++
	switch b.s.Kind {
	case RotateKeys:
		more := "No version is replaced."
		if k.Replaces != "" {
			more = fmt.Sprintf("%s becomes RETIRING: it verifies and issues no more.", k.Replaces)
		}
		where := fmt.Sprintf("%d devices hold it", len(k.HeldBy))
		if len(k.HeldBy) == 1 {
			where = "1 device holds it"
		}
		if k.Evidence != "" {
			where = k.Evidence
		}
		b.add(OpActivate, "", k.Label, "%s becomes ACTIVE (%s). %s", k.Label, where, more)
	case RetireKeys:
		b.add(OpRetire, "", k.Label, "%s becomes RETIRED (%s).", k.Label, k.Evidence)
	case DestroyKeys:
		which := k.Label
		if k.Check != "" {
			which += ", if it shows the check value " + k.Check + ","
		}
		b.add(OpDestroy, "", k.Label, "%s is destroyed for good (%s). Nothing brings it back but a backup.", which, k.Evidence)
	}
}

func parity(k Key) string {
	if k.Parity == "odd" {
		return ", given odd parity,"
	}
	return ""
}
