package client

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestReadStream(t *testing.T) {
	text := "retry: 3000\n: from p0\n\nid: p1\nevent: token.issued\ndata: {\"a\":1}\n\n: alive\n\nid: p2\nevent: end\ndata: {\n\n"
	var got []string
	err := readStream(strings.NewReader(text), func(m message) error {
		got = append(got, m.id+"|"+m.event+"|"+string(m.data))
		return nil
	})
	want := []string{"||", `p1|token.issued|{"a":1}`, "||", "p2|end|{"}
	if !errors.Is(err, errEnded) || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	stop := errors.New("stop")
	if err := readStream(strings.NewReader(text), func(message) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := readStream(strings.NewReader("data: "+strings.Repeat("x", 2*maxMessage)+"\n\n"), nil); err == nil || errors.Is(err, errEnded) {
		t.Errorf("an endless line: %v", err)
	}
	many := strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", 100)
	if err := readStream(strings.NewReader(many), nil); err == nil || errors.Is(err, errEnded) {
		t.Errorf("an endless message: %v", err)
	}
}

// FuzzReadStream: whatever is sent, messages stay within their bound, and what
// was read reads the same when it is written again.
func FuzzReadStream(f *testing.F) {
	f.Add([]byte("id: p1\nevent: token.issued\ndata: {}\n\n: alive\n\n"))
	f.Add([]byte("data\n\n\n"))
	f.Add([]byte("id:\r\nevent::\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) (all []message, size int) {
			err := readStream(bytes.NewReader(b), func(m message) error {
				if len(m.data) > maxMessage {
					t.Fatal("a message is larger than its bound")
				}
				all, size = append(all, m), size+len(m.data)
				return nil
			})
			if err == nil {
				t.Fatal("a stream ended with nothing")
			}
			return all, size
		}
		first, _ := read(b)
		var again bytes.Buffer
		for _, m := range first {
			again.WriteString("id: " + m.id + "\nevent: " + m.event + "\ndata: " + string(m.data) + "\n\n")
		}
		second, _ := read(again.Bytes())
		same := func(a, b message) bool { return a.id == b.id && a.event == b.event && bytes.Equal(a.data, b.data) }
		if !slices.EqualFunc(first, second, same) && !bytes.Contains(b, []byte("\r")) && again.Len() < maxMessage {
			t.Errorf("%q reads %q, then %q", b, first, second)
		}
	})
}
