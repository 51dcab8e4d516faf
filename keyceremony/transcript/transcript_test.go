package transcript_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

const text = `ceremony: test
kind: destroy
reason: to see
token: test
quorum: 2
people:
  - {name: alice, role: security-officer}
  - {name: bob, role: security-officer}
  - {name: walter, role: witness}
keys: [{label: transit.mpk.v1, evidence: gone}]
`

// written is a whole transcript, made without an engine; change may spoil a
// record before it is written, and so has the hashes of an honest one.
func written(t *testing.T, change func(*transcript.Record)) []byte {
	t.Helper()
	keys := map[string]officer.Key{}
	for _, who := range []string{"alice", "bob", "walter"} {
		keys[who], _ = officer.New(rand.Reader)
	}
	return writtenBy(t, transcript.Rehearsal, text, keys, change)
}

// writtenBy is written by people with the given keys.
func writtenBy(t *testing.T, mode, text string, keys map[string]officer.Key, change func(*transcript.Record)) []byte {
	t.Helper()
	p, err := script.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	tick := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "t")
	b, err := transcript.Create(file, func() time.Time { tick = tick.Add(time.Second); return tick })
	if err != nil {
		t.Fatal(err)
	}
	add := func(r transcript.Record) {
		if change != nil {
			change(&r)
		}
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	data := map[string]string{transcript.DataScript: text, transcript.DataDigest: fmt.Sprintf("%X", p.Digest()), transcript.DataMode: mode, transcript.DataNonce: "n"}
	for _, x := range p.Script.People {
		data[transcript.PersonData(x.Name)] = keys[x.Name].Public().String()
	}
	hsm, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	public, _ := transcript.AuditPublic(&hsm.PublicKey)
	add(transcript.Record{Type: transcript.Opened, Says: "opened", Data: data})
	for _, s := range p.Steps {
		r := transcript.Record{Type: transcript.Done, Step: s.Number, Who: s.Who, Says: s.Says}
		switch s.Op {
		case script.OpApprove:
			r.Type = transcript.Approved
			r.Data = map[string]string{transcript.DataSignature: sign(keys[s.Who].Sign(transcript.DomainApproval, transcript.ApprovalMessage(p.Digest(), "n")))}
		case script.OpSign:
			r.Type = transcript.Signed
			r.Data = map[string]string{transcript.DataSignature: sign(keys[s.Who].Sign(transcript.DomainTranscript, []byte(b.Head())))}
		case script.OpTokenSign:
			d := transcript.TokenDigest(b.Head())
			x, y, err := ecdsa.Sign(rand.Reader, hsm, d[:])
			if err != nil {
				t.Fatal(err)
			}
			sig := make([]byte, 64)
			x.FillBytes(sig[:32])
			y.FillBytes(sig[32:])
			r.Type, r.Data = transcript.Signed, map[string]string{transcript.DataSignature: sign(sig, nil), transcript.DataPublic: public}
		}
		add(r)
	}
	add(transcript.Record{Type: transcript.Closed, Says: transcript.ClosedSays})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sign(b []byte, err error) string {
	if err != nil {
		panic(err) // keys in memory always sign
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestWhole(t *testing.T) {
	out := written(t, nil)
	s, err := transcript.Verify(out, transcript.Expect{Script: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.Tell(), "REHEARSAL") || !strings.Contains(s.Tell(), "destroyed for good") {
		t.Error(s.Tell())
	}
	if page, err := s.Page(); err != nil || !bytes.Contains(page, []byte(s.Digest)) || bytes.Contains(page, []byte("UNFINISHED")) {
		t.Errorf("the page: %v", err)
	}
	if _, err := transcript.Verify(out, transcript.Expect{Script: []byte(text + "#")}); !errors.Is(err, transcript.ErrBroken) {
		t.Errorf("another script: %v", err)
	}
	if _, err := transcript.Verify(out, transcript.Expect{AuditKey: "p256:04"}); !errors.Is(err, transcript.ErrBroken) {
		t.Errorf("another token: %v", err)
	}
}

// TestUncovered: what is put in after a signature that should cover it, by
// somebody who can compute hashes but not sign, is found.
func TestUncovered(t *testing.T) {
	done := func(step int) transcript.Record {
		return transcript.Record{Type: transcript.Done, Step: step, Says: "done again", Data: map[string]string{transcript.DataCheck: "000000"}}
	}
	for name, x := range map[string]struct {
		put transcript.Record
	}{
		"a step done again at the end": {done(5)},
		"a resumption at the end":      {transcript.Record{Type: transcript.Resumed, Says: "on"}},
		"a refusal at the end":         {transcript.Record{Type: transcript.Refused, Says: "no"}},
	} {
		lines := bytes.SplitAfter(written(t, nil), []byte("\n"))
		lines = lines[:len(lines)-1]
		closed := lines[len(lines)-1]
		out := rechained(t, append(append([][]byte{}, lines[:len(lines)-1]...), put(t, x.put), closed))
		if _, err := transcript.Verify(out, transcript.Expect{}); !errors.Is(err, transcript.ErrBroken) || !strings.Contains(err.Error(), "does not cover") {
			t.Errorf("%s: %v", name, err)
		}
	}
	lines := bytes.SplitAfter(written(t, func(r *transcript.Record) {
		if r.Type == transcript.Closed {
			r.Says = "The ceremony is over, and the key was sent to me."
		}
	}), []byte("\n"))
	if _, err := transcript.Verify(bytes.Join(lines, nil), transcript.Expect{}); !errors.Is(err, transcript.ErrBroken) {
		t.Errorf("another end: %v", err)
	}
}

// put prints a record as a line whose hash does not matter yet.
func put(t *testing.T, r transcript.Record) []byte {
	t.Helper()
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(bytes.Repeat([]byte("0"), 64), ' '), append(body, '\n')...)
}

// rechained numbers lines and gives them the hashes that they should have.
func rechained(t *testing.T, lines [][]byte) (out []byte) {
	t.Helper()
	prev := strings.Repeat("0", 64)
	last := ""
	for i, l := range lines {
		var r transcript.Record
		if err := json.Unmarshal(l[65:], &r); err != nil {
			t.Fatal(err)
		}
		r.Number, r.Prev = i+1, prev
		if r.Time == "" {
			r.Time = last
		}
		last = r.Time
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(r); err != nil {
			t.Fatal(err)
		}
		body := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
		prev = fmt.Sprintf("%X", sha256.Sum256(body))
		out = append(out, prev+" "+string(body)+"\n"...)
	}
	return out
}

// TestEveryByte flips each bit-pattern neighbour of every byte: none passes,
// and the line is named.
func TestEveryByte(t *testing.T) {
	out := written(t, nil)
	line := 1
	for i, b := range out {
		for _, x := range []byte{0x01, 0x20} {
			spoiled := bytes.Clone(out)
			spoiled[i] = b ^ x
			_, err := transcript.Verify(spoiled, transcript.Expect{})
			if err == nil {
				t.Fatalf("byte %d of line %d may be changed", i, line)
			}
			if named := fmt.Sprintf("line %d:", line); !strings.Contains(err.Error(), named) && b != '\n' && !errors.Is(err, transcript.ErrUnfinished) {
				t.Fatalf("byte %d of line %d: %v", i, line, err)
			}
		}
		if b == '\n' {
			line++
		}
	}
}

// TestRehashed: somebody who writes the chain anew has no signature for it.
func TestRehashed(t *testing.T) {
	for name, change := range map[string]func(*transcript.Record){
		"a foreign approval": func(r *transcript.Record) {
			if r.Type == transcript.Approved {
				k, _ := officer.New(rand.Reader)
				r.Data[transcript.DataSignature] = sign(k.Sign(transcript.DomainApproval, []byte("x")))
			}
		},
		"a moved signature": func(r *transcript.Record) {
			if r.Type == transcript.Signed && r.Who == "walter" {
				r.Says += " again" // harmless
				r.Who = "bob"
			}
		},
		"a step left out": func(r *transcript.Record) {
			if r.Step == 5 {
				r.Type = transcript.Began
			}
		},
		"an approval as a note": func(r *transcript.Record) {
			if r.Type == transcript.Approved {
				r.Type = transcript.Done
			}
		},
		"another mode": func(r *transcript.Record) {
			if r.Type == transcript.Opened {
				r.Data[transcript.DataMode] = "real"
			}
		},
	} {
		if _, err := transcript.Verify(written(t, change), transcript.Expect{}); !errors.Is(err, transcript.ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnePersonForAll: whoever holds one officer's key, or none, writes no
// transcript of several people.
func TestOnePersonForAll(t *testing.T) {
	draw := func() officer.Key { k, _ := officer.New(rand.Reader); return k }
	alice, walter := draw(), draw()
	alone := map[string]officer.Key{"alice": alice, "bob": alice, "walter": walter}
	each := map[string]officer.Key{"alice": alice, "bob": draw(), "walter": walter}
	enrolled := text
	for who, k := range each {
		enrolled = strings.Replace(enrolled, "{name: "+who+",", "{name: "+who+", key: \""+k.Public().String()+"\",", 1)
	}
	for name, c := range map[string]struct {
		mode, text string
		keys       map[string]officer.Key
		says       string // why it is refused, or ""
	}{
		"a rehearsal of three":               {transcript.Rehearsal, text, each, ""},
		"a live ceremony of three":           {transcript.Live, enrolled, each, ""},
		"one key for two officers, live":     {transcript.Live, text, alone, "or the script says none"},
		"one key for two officers":           {transcript.Rehearsal, text, alone, "have one key"},
		"live, and the script names no keys": {transcript.Live, text, each, "or the script says none"},
	} {
		_, err := transcript.Verify(writtenBy(t, c.mode, c.text, c.keys, nil), transcript.Expect{})
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, transcript.ErrBroken) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnplanned: a record tells of nothing that the approved plan does not do,
// whoever signed it.
func TestUnplanned(t *testing.T) {
	const destroy = 5 // the step
	for name, c := range map[string]struct {
		step int
		says string
		data map[string]string
	}{
		"the key that the plan destroys": {destroy, "", map[string]string{transcript.DataKey: "transit.mpk.v1", transcript.DataState: "DESTROYED"}},
		"another key":                    {destroy, "is not about that key", map[string]string{transcript.DataKey: "transit.mtk.v1", transcript.DataState: "DESTROYED"}},
		"another state":                  {destroy, "does not bring", map[string]string{transcript.DataKey: "transit.mpk.v1", transcript.DataState: "ACTIVE"}},
		"a replacement":                  {destroy, "does not replace", map[string]string{transcript.DataKey: "transit.mpk.v1", transcript.DataState: "DESTROYED", transcript.DataReplaces: "transit.mpk.v2"}},
		"a key in a step about none":     {destroy - 1, "is not about that key", map[string]string{transcript.DataKey: "transit.mpk.v1", transcript.DataState: "ACTIVE"}},
		"a state alone":                  {destroy - 1, "does not bring", map[string]string{transcript.DataState: "ACTIVE"}},
	} {
		_, err := transcript.Verify(written(t, func(r *transcript.Record) {
			if r.Type == transcript.Done && r.Step == c.step {
				r.Data = c.data
			}
		}), transcript.Expect{})
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, transcript.ErrBroken) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := transcript.Verify(written(t, func(r *transcript.Record) {
		if r.Type == transcript.Done && r.Step == destroy {
			r.Says = "transit.mpk.v1 was given to walter."
		}
	}), transcript.Expect{})
	if !errors.Is(err, transcript.ErrBroken) || !strings.Contains(err.Error(), "another thing than step") {
		t.Errorf("other words than the plan's: %v", err)
	}
}

func TestCutOff(t *testing.T) {
	out := written(t, nil)
	lines := bytes.SplitAfter(out, []byte("\n"))
	for n := range len(lines) - 1 {
		part := bytes.Join(lines[:n], nil)
		if _, err := transcript.Verify(part, transcript.Expect{}); err == nil {
			t.Fatalf("%d lines are enough", n)
		}
		file := filepath.Join(t.TempDir(), "t")
		if err := os.WriteFile(file, append(part, lines[n][:len(lines[n])/2]...), 0o600); err != nil {
			t.Fatal(err)
		}
		b, torn, err := transcript.Reopen(file, time.Now)
		if err != nil || torn != len(lines[n])/2 || len(b.Records()) != n {
			t.Fatalf("line %d torn: %d bytes, %v", n+1, torn, err)
		}
		if _, _, err := transcript.Reopen(file, time.Now); !errors.Is(err, transcript.ErrExists) {
			t.Errorf("a second writer: %v", err)
		}
		if err := b.Add(transcript.Record{Type: transcript.Resumed, Says: "on"}); err != nil {
			t.Fatal(err)
		}
		b.Close()
		after, _ := os.ReadFile(file)
		if !bytes.HasPrefix(after, part) {
			t.Error("what was there was overwritten")
		}
	}
	file := filepath.Join(t.TempDir(), "t")
	os.WriteFile(file, out, 0o600)
	if _, _, err := transcript.Reopen(file, time.Now); !errors.Is(err, transcript.ErrExists) {
		t.Errorf("a closed one was opened: %v", err)
	}
	if _, err := transcript.Create(file, time.Now); !errors.Is(err, transcript.ErrExists) {
		t.Errorf("it was created anew: %v", err)
	}
}

// FuzzVerify: nothing but what was written holds.
func FuzzVerify(f *testing.F) {
	f.Add([]byte("x"), 0)
	f.Add([]byte{}, 100)
	f.Fuzz(func(t *testing.T, in []byte, at int) {
		if s, err := transcript.Verify(in, transcript.Expect{}); err == nil {
			again, err := s.Page()
			if err != nil || len(again) == 0 {
				t.Error("a transcript that holds has no page")
			}
		}
	})
}

// TestTellShowsEverything: a transcript cannot give a terminal orders, to hide what stands in
// it or to add a line.
func TestTellShowsEverything(t *testing.T) {
	s := transcript.Story{Records: []transcript.Record{{Type: transcript.Done, Step: 1, Says: "one\x1b[8mtwo\u009b8mthree\u202e",
		Data: map[string]string{"host": "a\nSigned by the token: b"}}}}
	got := s.Tell()
	if strings.ContainsAny(got, "\x1b\u009b\u202e") || !strings.Contains(got, "three") || strings.Contains(got, "\nSigned") {
		t.Errorf("%q", got)
	}
}
