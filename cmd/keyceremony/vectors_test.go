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

// TestPublishedComponents types every vector that is a key of ours, and finds
// the check values: those of the components in the letters, that of the key in
// the transcript.
func TestPublishedComponents(t *testing.T) {
	r, held := blank(t), 0
	for i, v := range readVectors(t).Components {
		label, more, a := fmt.Sprintf("transit.mpk.v%d", i+1), "", keyblock.TDES
		if v.Algorithm == "AES" {
			label, more, a = fmt.Sprintf("transit.imk-ac-aes.v%d", i+1), fmt.Sprintf(", bits: %d", 4*len(v.Parts[0])), keyblock.AES
		} else if len(v.Parts[0]) != 32 {
			continue // triple-length keys are none of ours
		}
		custodians := []string{"carol", "dan", "erin"}
		if len(v.Parts) > len(custodians) {
			continue
		}
		custodians = custodians[:len(v.Parts)]
		for k, who := range custodians {
			r.component(a, label, who, v.Parts[k])
			if !strings.HasPrefix(r.checks[label+"/"+who], v.Checks[k]) {
				t.Errorf("%s: component %d has another check value", v.ID, k+1)
			}
		}
		name := fmt.Sprintf("vector-%d", i+1)
		file, plan := r.write(name, "import-components", "site-a", "none",
			fmt.Sprintf("custodians: [%s]\nkeys: [{label: %s, check: %s%s}]", strings.Join(custodians, ", "), label, v.Check, more))
		if err := r.hold(file, plan); err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		held++
		if got := check(r.story(name), label); !strings.HasPrefix(got, v.Check) {
			t.Errorf("%s: the key's check value is %s", v.ID, got)
		}
	}
	if held < 8 {
		t.Errorf("%d vectors were held", held)
	}
	r.secretsStayed()
}

// TestPublishedBlocks imports every block that is a key of ours.
func TestPublishedBlocks(t *testing.T) {
	r, held := blank(t), 0
	usages := map[string]string{"C0T": "cvk", "E0T": "imk-ac", "E0A": "imk-ac-aes", "E1T": "imk-smc", "E2T": "imk-smi", "E4T": "imk-idn"}
	for i, v := range readVectors(t).Blocks {
		usage := usages[v.Usage+v.Algorithm]
		if usage == "" || v.Algorithm == "T" && len(v.Key) != 32 {
			continue
		}
		label, more := fmt.Sprintf("transit.%s.v%d", usage, i+1), ""
		if v.Algorithm == "A" {
			more = fmt.Sprintf(", bits: %d", 4*len(v.Key))
		}
		algorithm, a := "tdes", keyblock.TDES
		if v.Block[0] == 'D' {
			algorithm, a = "aes", keyblock.AES
		}
		r.split(a, v.KBPK)
		name := fmt.Sprintf("block-%d", i+1)
		file, plan := r.write(name, "import-tr31", "site-a", "none", fmt.Sprintf("kbpk: {algorithm: %s, bits: %d, custodians: [carol, dan]}\nkeys: [{label: %s, block: %q%s}]",
			algorithm, 4*len(v.KBPK), label, v.Block, more))
		if err := r.hold(file, plan); err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		held++
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
	if held < 5 {
		t.Errorf("%d blocks were imported", held)
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
