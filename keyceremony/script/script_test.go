package script_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/keyceremony/script"
)

const people = `
quorum: 2
people:
  - {name: alice, role: security-officer}
  - {name: bob, role: security-officer}
  - {name: carol, role: custodian}
  - {name: dan, role: custodian}
  - {name: erin, role: custodian}
  - {name: walter, role: witness}
  - {name: ada, role: auditor}
`

func text(kind, more string) string {
	return "ceremony: test-1\nkind: " + kind + "\nreason: to see\ntoken: test\naudit_key: none\n" + people + more
}

const block = "D0112E0TX00N0000B82679114F470F540165EDFBF7E250FCEA43F810D215F8D207E2E417C07156A27E8E31DA05F7425509593D03A457DC34"

var good = map[string]string{
	"init-token":        "pins: {so: [alice, carol], user: [dan]}",
	"generate":          "keys: [{label: pan-seal.v1}, {label: transit.mpk.v2, state: PENDING}]",
	"import-components": "custodians: [carol, dan, erin]\nkeys: [{label: transit.mpk.v1, check: DDA8BA}]",
	"letters":           "custodians: [carol, dan, erin]\nkeys: [{label: transit.imk-ac-aes.v1, bits: 128}]",
	"import-tr31":       "kbpk: {algorithm: aes, bits: 256, custodians: [carol, dan]}\nkeys: [{label: transit.imk-ac.v1, block: " + block + "}]",
	"export-tr31":       "kbpk: {algorithm: aes, bits: 256, custodians: [carol, dan]}\nkeys: [{label: transit.imk-ac.v1, source: birth, state: ACTIVE}]",
	"rotate":            "keys: [{label: transit.mpk.v2, replaces: transit.mpk.v1, held_by: [{device: psam-1, check: AABBCC}]}]",
	"retire":            "keys: [{label: transit.mpk.v1, evidence: 'the last card is gone — März'}]",
	"destroy":           "keys: [{label: transit.mpk.v1, evidence: retired in May}]",
	"backup":            "backup: {threshold: 2, custodians: [carol, dan, erin]}\nkeys: [{label: transit.mpk.v1}]",
	"restore":           "backup: {threshold: 2, custodians: [carol, dan], file: backup.json}\nkeys: [{label: transit.mpk.v1}]",
}

func TestEveryKind(t *testing.T) {
	seen := map[string]bool{}
	for kind, more := range good {
		p, err := script.Read([]byte(text(kind, more)))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if seen[p.Short()] {
			t.Errorf("%s: its short hash is that of another plan", kind)
		}
		seen[p.Short()] = true
		again, _ := script.Read([]byte(text(kind, more) + "\n# a word more"))
		if again.Digest() == p.Digest() {
			t.Errorf("%s: a changed script has the same digest", kind)
		}
		for i, s := range p.Steps {
			if s.Number != i+1 || s.Says == "" || strings.Contains(s.Says, "%!") || !strings.Contains(p.String(), s.Says) {
				t.Errorf("%s: step %+v", kind, s)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	gen := good["generate"]
	for name, c := range map[string]struct{ text, says string }{
		"an unknown key":       {text("generate", gen+"\nkeyes: []"), "keyes"},
		"a repeated key":       {text("generate", gen+"\nquorum: 2"), "quorum"},
		"two documents":        {text("generate", gen+"\n---\nkind: destroy"), "one file"},
		"nothing":              {"", "carried out: nothing is in it"},
		"words of no script":   {"quorum: [2", "carried out: line 1: "},
		"an 8-bit control":     {text("retire", `keys: [{label: transit.mpk.v1, evidence: "gone\u009b8m, it says"}]`), "evidence: one line"},
		"a turned direction":   {text("retire", `keys: [{label: transit.mpk.v1, evidence: "gone\u202enow"}]`), "evidence: one line"},
		"an unknown kind":      {text("conjure", gen), "is none of"},
		"what it does not use": {text("generate", gen+"\ncustodians: [carol, dan]"), "has none"},
		"what it lacks":        {text("letters", gen), "needs it"},
		"two roles":            {strings.Replace(text("generate", gen), "name: walter", "name: alice", 1), "nobody has two roles"},
		"one key twice": {strings.NewReplacer("{name: alice, role: security-officer}", "{name: alice, role: security-officer, key: 'ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='}",
			"{name: bob, role: security-officer}", "{name: bob, role: security-officer, key: 'ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='}").Replace(text("generate", gen)), "have one key"},
		"no witness":               {strings.Replace(text("generate", gen), "witness", "auditor", 1), "witness is missing"},
		"too few officers":         {strings.Replace(text("generate", gen), "quorum: 2", "quorum: 3", 1), "3 approvals"},
		"a quorum of one":          {strings.Replace(text("generate", gen), "quorum: 2", "quorum: 1", 1), "two security officers"},
		"a custodian twice":        {text("letters", "custodians: [carol, carol]\nkeys: [{label: transit.mpk.v1}]"), "nobody holds two parts"},
		"an officer as custodian":  {text("letters", "custodians: [carol, alice]\nkeys: [{label: transit.mpk.v1}]"), "no custodian"},
		"one custodian":            {text("letters", "custodians: [carol]\nkeys: [{label: transit.mpk.v1}]"), "2 people"},
		"no label":                 {text("generate", "keys: [{label: mpk}]"), "no label"},
		"a label twice":            {text("generate", "keys: [{label: par.v1}, {label: par.v1}]"), "twice"},
		"a state of the end":       {text("generate", "keys: [{label: par.v1, state: RETIRED}]"), "ACTIVE or PENDING"},
		"components of a pair":     {text("letters", "custodians: [carol, dan]\nkeys: [{label: jwt-sign.v1}]"), "never leaves it"},
		"parity of AES":            {text("letters", "custodians: [carol, dan]\nkeys: [{label: pan-seal.v1, parity: odd}]"), "Triple DES keys only"},
		"a check in small letters": {strings.Replace(text("import-components", good["import-components"]), "DDA8BA", "dda8ba", 1), "in capitals"},
		"a field of another kind":  {text("generate", "keys: [{label: par.v1, check: AABBCC}]"), "has no check"},
		"another usage's block":    {strings.Replace(text("import-tr31", good["import-tr31"]), "imk-ac.v1", "imk-smi.v1", 1), "the block is of usage"},
		"a block under 3DES":       {strings.Replace(text("import-tr31", good["import-tr31"]), "aes, bits: 256", "tdes, bits: 128", 1), "version D"},
		"a rotation to another":    {strings.Replace(text("rotate", good["rotate"]), "replaces: transit.mpk.v1", "replaces: transit.mlk.v1", 1), "another version"},
		"a rotation on no ground":  {text("rotate", "keys: [{label: transit.mpk.v2}]"), "held_by"},
		"destroyed by no value":    {text("destroy", "keys: [{label: transit.mpk.v1, evidence: x, check: abc}]"), "check is 6 or 10"},
		"destroyed for nothing":    {text("destroy", "keys: [{label: transit.mpk.v1}]"), "evidence"},
		"a threshold of one":       {strings.Replace(text("backup", good["backup"]), "threshold: 2", "threshold: 1", 1), "2 at least"},
		"a purse key, unsaid":      {text("export-tr31", "kbpk: {algorithm: aes, bits: 256, custodians: [carol, dan]}\nkeys: [{label: transit.mpk.v1, source: birth, state: ACTIVE}]"), "usage: B3"},
		"an audit key to be":       {strings.Replace(text("init-token", good["init-token"]), "audit_key: none\n", "", 1), "holds no key yet"},
	} {
		if _, err := script.Read([]byte(c.text)); !errors.Is(err, script.ErrScript) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead: a script that is taken has steps, a quorum, and one role a person.
func FuzzRead(f *testing.F) {
	for kind, more := range good {
		f.Add([]byte(text(kind, more)))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := script.Read(in)
		if err != nil {
			return
		}
		approvals := map[string]bool{}
		for _, s := range p.Steps {
			if s.Op == script.OpApprove {
				approvals[s.Who] = true
			}
		}
		if len(approvals) < 2 || len(p.Steps) < 6 {
			t.Errorf("%d approvals, %d steps", len(approvals), len(p.Steps))
		}
	})
}
