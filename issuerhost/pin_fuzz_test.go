package issuerhost

import (
	"encoding/json"
	"testing"
)

// FuzzPIN: what is taken names its sender, and reads the same when it is written
// again.
func FuzzPIN(f *testing.F) {
	for _, s := range []string{`{"new_pin":"1234","client_id":"bank"}`, `{"new_pin":"1234","current_pin":"1","client_id":"bank"}`, `{"client_id":"bank"}{}`, `{}`, ``, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		p, ok := readPIN(plain, "bank")
		if !ok {
			if p != (newPIN{}) {
				t.Error("something was read of what is refused")
			}
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if q, ok := readPIN(again, "bank"); !ok || q != p {
			t.Error("it does not read the same again")
		}
		if _, ok := readPIN(plain, "other"); ok {
			t.Error("it is taken from another")
		}
	})
}
