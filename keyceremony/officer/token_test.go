package officer

import (
	"errors"
	"strings"
	"testing"
)

func TestCard(t *testing.T) {
	want := Card{Name: "alice", Public: newOnToken(t).Public().String(), Module: "/usr/lib/module.so", Token: "alice"}
	text, err := want.Text()
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := ParseCard(text)
	want.What = got.What
	if err != nil || !ok || got != want {
		t.Fatalf("%+v, %v, %v", got, ok, err)
	}
	for from, to := range map[string]string{`"alice",`: `"alice", "pin": "1234",`, "p256:04": "p256:05", "/usr/lib/module.so": ""} {
		if _, ok, err := ParseCard([]byte(strings.Replace(string(text), from, to, 1))); !ok || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", to, ok, err)
		}
	}
	for _, text := range []string{"", "{}", `{"what":"` + what + `"}`} {
		if _, ok, _ := ParseCard([]byte(text)); ok {
			t.Errorf("%q is taken for a card", text)
		}
	}
}
