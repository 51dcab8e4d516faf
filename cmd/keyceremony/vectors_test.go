package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// vectors are published or computed by others; each has its source.
type vectors struct {
	Components []struct {
		ID, Algorithm string
		Parts, Checks []string
		Check, Source string
	}
	Blocks []struct{ ID, KBPK, Block, Key, Usage, Algorithm, Source string }
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// blank is a room with an initialised token.
func blank(t *testing.T) *room {
	t.Helper()
	r := newRoom(t)
	file, plan := r.write("init", "init-token", "site-a", "none", "pins: {so: [alice, carol], user: [dan, erin]}")
	r.must(r.hold(file, plan))
	return r
}

// TestPublishedComponents types every vector, and finds the check values: those
// of the components in the letters, that of the key in the transcript. A
// triple-length key is none of the token's: it protects key blocks.
func TestPublishedComponents(t *testing.T) {
	r := blank(t)
	for i, v := range readVectors(t).Components {
		name, key, kind, a := fmt.Sprintf("vector-%d", i+1), fmt.Sprintf("transit.mpk.v%d", i+1), "import-components", keyblock.TDES
		bits := 4 * len(v.Parts[0])
		custodians := []string{"carol", "dan", "erin", "frank", "grace"}[:len(v.Parts)]
		list := strings.Join(custodians, ", ")
		body := fmt.Sprintf("custodians: [%s]\nkeys: [{label: %s, check: %s}]", list, key, v.Check)
		switch {
		case v.Algorithm == "AES":
			key, a = fmt.Sprintf("transit.imk-ac-aes.v%d", i+1), keyblock.AES
			body = fmt.Sprintf("custodians: [%s]\nkeys: [{label: %s, check: %s, bits: %d}]", list, key, v.Check, bits)
		case bits == 192:
			kind, key = "export-tr31", script.KBPKName
			body = fmt.Sprintf("kbpk: {algorithm: tdes, bits: 192, check: %s, custodians: [%s]}\nkeys: [{label: transit.imk-ac.v%d, source: birth, state: PENDING}]", v.Check, list, i+1)
		}
		for k, who := range custodians {
			r.component(a, key, who, v.Parts[k])
			if !strings.HasPrefix(r.checks[key+"/"+who], v.Checks[k]) {
				t.Errorf("%s: component %d has another check value", v.ID, k+1)
			}
		}
		file, plan := r.write(name, kind, "site-a", "none", body)
		if err := r.hold(file, plan); err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		got := check(r.story(name), key)
		if key == script.KBPKName {
			got = wrapped(r.story(name))
		}
		if got == "" || !strings.HasPrefix(got, v.Check) {
			t.Errorf("%s: the key's check value is %s", v.ID, got)
		}
	}
	r.secretsStayed()
}

// wrapped is the check value of the key under which a block was made.
func wrapped(s transcript.Story) string {
	for _, x := range s.Records {
		if c := x.Data["kbpk_check"]; c != "" {
			return c
		}
	}
	return ""
}

// TestPublishedBlocks imports every block that is a key of ours, and sees that
// each other one is refused: triple-length keys, and usages of AES keys that no
// usage of ours has.
func TestPublishedBlocks(t *testing.T) {
	r := blank(t)
	usages := map[string]string{"C0T": "cvk", "E0T": "imk-ac", "E0A": "imk-ac-aes", "E1T": "imk-smc", "E2T": "imk-smi", "E4T": "imk-idn"}
	for i, v := range readVectors(t).Blocks {
		algorithm, a := "tdes", keyblock.TDES
		if v.Block[0] == 'D' {
			algorithm, a = "aes", keyblock.AES
		}
		usage, why := usages[v.Usage+v.Algorithm], ""
		if usage == "" {
			usage, why = usages[v.Usage+"T"], "the block is of usage"
		} else if v.Algorithm == "T" && len(v.Key) != 32 {
			why = "the block holds a key of 24 bytes, and transit." + usage
		}
		label, more := fmt.Sprintf("transit.%s.v%d", usage, i+1), ""
		if usage == "imk-ac-aes" {
			more = fmt.Sprintf(", bits: %d", 4*len(v.Key))
		}
		r.split(a, v.KBPK)
		name := fmt.Sprintf("block-%d", i+1)
		text := r.text(name, "import-tr31", "site-a", "none", fmt.Sprintf("kbpk: {algorithm: %s, bits: %d, custodians: [carol, dan]}\nkeys: [{label: %s, block: %q%s}]",
			algorithm, 4*len(v.KBPK), label, v.Block, more))
		if _, err := script.Read([]byte(text)); err != nil {
			if why == "" || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v", v.ID, err)
			}
			continue
		}
		file, plan := r.save(name, text)
		if err := r.hold(file, plan); err != nil || why != "" {
			if why == "" || err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), why) {
				t.Errorf("%s: %v; want %q", v.ID, err, why)
			}
			continue
		}
		raw, err := hex.DecodeString(v.Key)
		r.must(err)
		alg := keyblock.TDES
		if v.Algorithm == "A" {
			alg = keyblock.AES
		}
		want, err := keyblock.Check(alg, raw)
		r.must(err)
		if got := check(r.story(name), label); got != want.String() {
			t.Errorf("%s: the key's check value is %s, want %s", v.ID, got, want)
		}
	}
}

// split gives carol and dan a component each of a protection key.
func (r *room) split(a keyblock.Algorithm, key string) {
	r.t.Helper()
	raw, err := hex.DecodeString(key)
	r.must(err)
	one := make([]byte, len(raw))
	for i := range one {
		one[i] = byte(7*i + 29)
		raw[i] ^= one[i]
	}
	r.component(a, script.KBPKName, "carol", strings.ToUpper(hex.EncodeToString(one)))
	r.component(a, script.KBPKName, "dan", strings.ToUpper(hex.EncodeToString(raw)))
}
