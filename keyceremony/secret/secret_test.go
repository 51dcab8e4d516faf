package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestBuffer(t *testing.T) {
	given := []byte("sixteen letters!")
	b, err := Of(given)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(given, make([]byte, 16)) {
		t.Error("what was moved stayed where it was")
	}
	if string(b.Bytes()) != "sixteen letters!" {
		t.Error("the buffer holds something else")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		if s := fmt.Sprintf(verb, struct{ b *Buffer }{b}); strings.Contains(s, "sixteen") || strings.Contains(s, "73697874") || strings.Contains(s, "115 105") {
			t.Errorf("%s shows it: %s", verb, s)
		}
		if s := fmt.Sprintf(verb, b); s != "(secret)" {
			t.Errorf("%s prints %s", verb, s)
		}
	}
	if _, err := json.Marshal(b); err == nil {
		t.Error("it was written as JSON")
	}
	inside := b.Bytes()
	b.Wipe()
	b.Wipe()
	if !bytes.Equal(inside, make([]byte, 16)) || len(b.Bytes()) != 0 {
		t.Error("wiping left something")
	}
	var none *Buffer
	none.Wipe()
	if none.Bytes() != nil {
		t.Error("no buffer holds something")
	}
	if big, err := New(100_000); err != nil || len(big.Bytes()) != 100_000 {
		t.Errorf("a large one: %v", err)
	}
}
