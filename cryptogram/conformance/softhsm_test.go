package conformance_test

import (
	"bytes"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

var _ conformance.Ring = (*hsm.Token)(nil)

// TestSoftHSM runs the published vectors, and the same with one digit of every
// answer wrong, through a real module.
func TestSoftHSM(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	r, err := conformance.Run(t.Context(), tok, bytes.NewReader(published(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Errorf("%s: %v", f.ID, f.Err)
	}
	if r.Passed != 103 || r.Failed != 0 || r.Skipped != 96 {
		t.Errorf("passed %d, failed %d, skipped %d", r.Passed, r.Failed, r.Skipped)
	}
	for _, member := range []string{"key", "dpk", "session_key", "tac", "mac3"} {
		d, wrong := decode(t), 0
		d.tdes(func(_, out map[string]any) {
			if s, ok := out[member].(string); ok {
				out[member] = s[:len(s)-1] + flip(s[len(s)-1])
				wrong++
			}
		})
		r, err := conformance.Run(t.Context(), tok, bytes.NewReader(encode(t, d)))
		if err != nil || wrong == 0 || r.Failed != wrong {
			t.Errorf("%s: %d wrong, %d failed, %v", member, wrong, r.Failed, err)
		}
	}
	if keys, err := tok.Inventory(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("the token holds %v, %v", keys, err)
	}
}

// TestEMVOnSoftHSM runs the vectors of EMV through a real module, in which no
// key may stay.
func TestEMVOnSoftHSM(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	r, err := conformance.Run(t.Context(), tok, bytes.NewReader(emvPublished(t)))
	passes(t, r, err)
	if keys, err := tok.Inventory(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("the token holds %v, %v", keys, err)
	}
}
