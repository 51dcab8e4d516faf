package conformance_test

import (
	"bytes"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/hsm/softring"
)

var _ conformance.Ring = (*hsm.Token)(nil)

// TestSoftHSM runs the published vectors, and the same with one digit of every
// answer wrong, through a real module; those of SM4, which it has not, in memory.
func TestSoftHSM(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	sm4, err := softring.New()
	if err != nil {
		t.Fatal(err)
	}
	defer sm4.Close()
	ring := conformance.WithSM4(tok, sm4)
	r, err := conformance.Run(t.Context(), ring, bytes.NewReader(published(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Errorf("%s: %v", f.ID, f.Err)
	}
	if r.Passed != 199 || r.Failed != 0 || r.Skipped != 0 {
		t.Errorf("passed %d, failed %d, skipped %d", r.Passed, r.Failed, r.Skipped)
	}
	for _, member := range []string{"key", "dpk", "session_key", "tac", "mac3"} {
		d, wrong := decode(t), 0
		d.each(func(_, out map[string]any) {
			if s, ok := out[member].(string); ok {
				out[member] = s[:len(s)-1] + flip(s[len(s)-1])
				wrong++
			}
		})
		r, err := conformance.Run(t.Context(), ring, bytes.NewReader(encode(t, d)))
		if err != nil || wrong == 0 || r.Failed != wrong {
			t.Errorf("%s: %d wrong, %d failed, %v", member, wrong, r.Failed, err)
		}
	}
	if keys, err := tok.Inventory(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("the token holds %v, %v", keys, err)
	}
}

// TestSM4Nowhere: a module without SM4, and no memory to take its place, fails
// every vector of SM4 and no other.
func TestSM4Nowhere(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	r, err := conformance.Run(t.Context(), tok, bytes.NewReader(published(t)))
	if err != nil || r.Passed != 103 || r.Failed != 96 || r.Skipped != 0 {
		t.Errorf("passed %d, failed %d, skipped %d, %v", r.Passed, r.Failed, r.Skipped, err)
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
