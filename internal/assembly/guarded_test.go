package assembly

import (
	"bytes"
	"testing"
)

// TestServedIsGuarded: whose issuers a realm serves is among the settings that change with
// approval only, also when everybody is served again; what names nobody changes none.
func TestServedIsGuarded(t *testing.T) {
	of := func(realm, emv []string) []byte {
		c := Config{Realms: []Realm{{Name: "a", Requestors: realm}}}
		c.EMV.Issuers = []EMVIssuer{{Realm: "e", Requestors: emv}}
		b, err := c.Guarded()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, two := []string{"50110000001"}, []string{"50110000001", "50110000002"}
	all := [][]byte{of(nil, nil), of(one, nil), of(two, nil), of(nil, one), of(nil, two), of(one, two)}
	for i, a := range all {
		for _, b := range all[:i] {
			if bytes.Equal(a, b) {
				t.Errorf("two configurations are one to approvers: %s", a)
			}
		}
	}
	if bytes.Contains(all[0], []byte("served")) {
		t.Errorf("nobody is named: %s", all[0])
	}
}
