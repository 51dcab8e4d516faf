package terminal

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/credential"
)

func FuzzQueue(f *testing.F) {
	var b bytes.Buffer
	b.WriteString(`{"tap":{"term_id":"000000000001","issuer":"0000000000000001","asn":"00000000000000000001","ud":"00D5F70001006431",` +
		`"rand":"00000000","offline_seq":1,"amount":1,"txn_type":9,"term_seq":1,"at":"20260302040000","key_version":1,"algorithm_id":0,` +
		`"balance":1,"mac1":"00000000","mac2":"00000000","tac":"00000000","list_version":0,"proof":false}}` + "\n" + `{"done":1}` + "\n")
	one := b.Bytes()[:bytes.IndexByte(b.Bytes(), '\n')+1]
	f.Add(append(bytes.Repeat(one, 3), `{"done":3,"but":[0,1]}`+"\n"...))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		done, left, err := parseQueue(in)
		if err != nil {
			return
		}
		if n := bytes.Count(in, []byte{'\n'}); len(done)+len(left) > n {
			t.Fatalf("%d taps are uploaded and %d wait, of %d", len(done), len(left), n)
		}
		for _, x := range append(done, left...) {
			if back, err := toRow(x).tap(); err != nil || back != x {
				t.Fatalf("%+v prints as %+v (%v)", x, back, err)
			}
		}
	})
}

// babble answers each command with the next piece of the input.
type babble struct{ in []byte }

func (b *babble) Transmit(context.Context, []byte) ([]byte, error) {
	n := 0
	if len(b.in) > 0 {
		n = min(int(b.in[0]), len(b.in)-1)
		b.in = b.in[1:]
	}
	out := b.in[:n]
	b.in = b.in[n:]
	return out, nil
}

// FuzzReader: whatever a card says, a reader without a genuine card accepts
// nothing and keeps nothing.
func FuzzReader(f *testing.F) {
	f.Add([]byte{2, 0x90, 0, 30})
	module := &fixed{answers: map[byte][]byte{
		0xB0: {0, 0, 0, 0, 0, 1, 0x90, 0}, 0x70: {0, 0, 0, 1, 1, 2, 3, 4, 0x90, 0}, 0x72: {0x93, 0x02},
	}}
	q, err := OpenQueue(filepath.Join(f.TempDir(), "taps"), time.Unix(0, 0))
	if err != nil {
		f.Fatal(err)
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	policy := Policy{Tokens: []Range{{Prefix: "1", Length: 13}}, Issuers: credential.Keys{1: &k.PublicKey}}
	r, err := NewReader(f.Context(), Config{Module: module, Queue: q, Policy: policy})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := r.Tap(t.Context(), &babble{in}, 300); err == nil || q.Pending() != 0 {
			t.Fatal("accepted")
		}
	})
}

// fixed is a module that knows one answer to each instruction.
type fixed struct{ answers map[byte][]byte }

func (m *fixed) Transmit(_ context.Context, command []byte) ([]byte, error) {
	c, err := apdu.ParseCommand(command)
	return m.answers[c.INS], err
}
