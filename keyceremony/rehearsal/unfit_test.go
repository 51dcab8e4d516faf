//go:build linux && cgo

package rehearsal_test

import (
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// TestUnfitModule: a module that gets unfit stops a ceremony with what it answered, never with the
// claim that somebody's key is in the way; what a call made that said it had failed is
// owned up to, and the ceremony goes on when the module is well.
func TestUnfitModule(t *testing.T) {
	p := newPulled(t)
	const made = "something was made all the same"
	for _, x := range []struct {
		name, kind string
		op         script.Op
		call       shim.Call
		fault      shim.Fault
		says       string
	}{
		{"it finds nothing any more", "generate", script.OpOpen, shim.Find, shim.Fault{Code: 0x54}, "CKR_FUNCTION_NOT_SUPPORTED"},
		{"it begins no search", "letters", script.OpOpen, shim.FindInit, shim.Fault{Code: 0x13, Skip: 1}, "CKR_ATTRIBUTE_VALUE_INVALID"},
		{"it has no sessions", "generate", script.OpOpen, shim.GetSessionInfo, shim.Fault{Code: 0x30, Times: 6}, ""},
		{"it refuses the second login", "generate", script.OpGenerate, shim.Find, shim.Fault{Code: 0x101}, "CKR_USER_NOT_LOGGED_IN"},
		{"it lacks the mechanism", "generate", script.OpGenerate, shim.GenerateKey, shim.Fault{Code: 0x70}, "CKR_MECHANISM_INVALID"},
		{"it refuses an attribute", "letters", script.OpImport, shim.CreateObject, shim.Fault{Code: 0x12}, "CKR_ATTRIBUTE_TYPE_INVALID"},
		{"it tells no attribute", "generate", script.OpGenerate, shim.GetAttribute, shim.Fault{Code: 0x06}, "CKR_FUNCTION_FAILED"},
		{"a copy is made, and denied", "generate", script.OpGenerate, shim.CopyObject, shim.Fault{Code: 0x30, Done: true, Times: 1}, made},
		{"a copy is made, and the login denied", "letters", script.OpImport, shim.CopyObject, shim.Fault{Code: 0x101, Done: true}, made},
		{"a pair is made, and denied", "generate", script.OpGenerate, shim.GenerateKeyPair, shim.Fault{Code: 0x32, Done: true, Times: 1}, made},
		{"a pair is made, and denied for good", "generate", script.OpGenerate, shim.GenerateKeyPair, shim.Fault{Code: 0x06, Done: true}, made},
	} {
		err := p.unfit(x.kind, x.op, func() { p.shim.Fail(x.call, x.fault) })
		if x.says == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), "never overwritten") {
			t.Errorf("%s: %v", x.name, err)
		}
		if t.Failed() {
			return
		}
	}
}

// unfit holds a ceremony whose module breaks when steps of an op have begun, and resumes it
// with one that is well. It returns what stopped it.
func (p *pulled) unfit(kind string, op script.Op, harm func()) (stopped error) {
	p.Helper()
	plan, c, labels := p.ceremony(kind)
	c.At = func(step int, what string) {
		if stopped == nil && what == "began" && plan.Steps[min(step, len(plan.Steps))-1].Op == op {
			harm()
		}
	}
	stopped = p.run(c)
	p.halves(labels)
	c.At = nil
	if c.Resume = stopped != nil; c.Resume {
		if err := p.run(c); err != nil {
			p.Fatalf("not resumed after %v: %v", stopped, err)
		}
	}
	p.whole(c.Dir, labels)
	return stopped
}
