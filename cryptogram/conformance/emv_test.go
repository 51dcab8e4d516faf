package conformance_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/conformance"
)

const emvFile = "../testdata/vectors/emv.json"

// emvVectors is how many vectors the file has; none is skipped.
const emvVectors = 828

func emvPublished(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(emvFile)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decodeEMV(t testing.TB) (d document) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(emvPublished(t)))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

func passes(t *testing.T, r conformance.Report, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Errorf("%s: %v", f.ID, f.Err)
	}
	if r.Passed != emvVectors || r.Failed != 0 || r.Skipped != 0 || len(r.Functions) != 48 {
		t.Errorf("passed %d, failed %d, skipped %d of %d functions", r.Passed, r.Failed, r.Skipped, len(r.Functions))
	}
}

func TestEMVVectors(t *testing.T) {
	r, err := run(t, emvPublished(t))
	passes(t, r, err)
}

// TestEMVOrder: functions, vectors and members in another order give the same.
func TestEMVOrder(t *testing.T) {
	d := decodeEMV(t)
	rnd := rand.New(rand.NewPCG(5, 5))
	rnd.Shuffle(len(d.Functions), func(i, k int) { d.Functions[i], d.Functions[k] = d.Functions[k], d.Functions[i] })
	for _, f := range d.Functions {
		rnd.Shuffle(len(f.Vectors), func(i, k int) { f.Vectors[i], f.Vectors[k] = f.Vectors[k], f.Vectors[i] })
	}
	r, err := run(t, encode(t, d))
	passes(t, r, err)
}

// wrong changes a value of any type a little; ok is false when it cannot.
func wrong(v any) (_ any, ok bool) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return "00", true
		}
		i := len(v) - 1
		c := v[i] ^ 1
		if !strings.ContainsRune("0123456789ABCDEFNES", rune(c)) {
			c = '0' + (v[i]&1 ^ 1)
		}
		return v[:i] + string(c), true
	case bool:
		return !v, true
	case json.Number:
		return json.Number("1" + v.String()), true
	case []any:
		if len(v) > 0 {
			w, ok := wrong(v[0])
			return append([]any{w}, v[1:]...), ok
		}
	case map[string]any:
		return map[string]any{"ZZ": "00"}, true
	}
	return nil, false
}

// TestEMVWrongAnswers changes every member of every function's answers, one at
// a time: by its last bit, which in a DES key is parity.
func TestEMVWrongAnswers(t *testing.T) {
	members := map[string]bool{}
	for _, f := range decodeEMV(t).Functions {
		for _, v := range f.Vectors {
			for name := range v.Out {
				members[name] = true
			}
		}
	}
	for name := range members {
		d := decodeEMV(t)
		want, kept := 0, d.Functions[:0]
		for _, f := range d.Functions {
			if f.Vectors[0].Out[name] == nil && f.Vectors[len(f.Vectors)-1].Out[name] == nil {
				continue
			}
			f.Vectors = []struct {
				ID  string         `json:"id"`
				In  map[string]any `json:"in"`
				Out map[string]any `json:"out"`
			}{f.Vectors[0], f.Vectors[len(f.Vectors)-1]}
			for _, v := range f.Vectors {
				if w, ok := wrong(v.Out[name]); ok {
					v.Out[name] = w
					want++
				}
			}
			kept = append(kept, f)
		}
		d.Functions = kept
		r, err := run(t, encode(t, d))
		if err != nil || want == 0 || r.Failed != want {
			t.Errorf("%s: %d wrong, %d failed, %v", name, want, r.Failed, err)
			for _, f := range r.Failures {
				t.Logf("%s: %v", f.ID, f.Err)
			}
		}
	}
}

// TestEMVMembers takes each member of "in" away, and adds one that nobody
// knows: either is a failure, or an absent sequence number, which counts as 00.
func TestEMVMembers(t *testing.T) {
	for _, f := range decodeEMV(t).Functions {
		if strings.HasPrefix(f.Function, "arqc_") {
			continue // an arqc vector has members that stand for each other
		}
		for name := range f.Vectors[0].In {
			one := one(f.Function, f.Vectors[0].In, f.Vectors[0].Out, name)
			r, err := run(t, encode(t, one))
			optional := name == "psn" || name == "proprietary_auth_data" || name == "current_pin"
			if err != nil || r.Failed != 1 && !optional {
				t.Errorf("%s without %s: %+v, %v", f.Function, name, r, err)
			}
		}
		more := one(f.Function, f.Vectors[0].In, f.Vectors[0].Out, "")
		more.Functions[0].Vectors[0].In["colour"] = "blue"
		if r, err := run(t, encode(t, more)); err != nil || r.Failed != 1 {
			t.Errorf("%s with an unknown member: %+v, %v", f.Function, r, err)
		}
	}
}

// one is a document of one vector without a member.
func one(function string, in, out map[string]any, without string) (d document) {
	b, _ := json.Marshal(map[string]any{"functions": []any{map[string]any{"function": function,
		"vectors": []any{map[string]any{"id": "x", "in": in, "out": out}}}}})
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		panic(err)
	}
	delete(d.Functions[0].Vectors[0].In, without)
	return d
}

func TestUnknownFunctions(t *testing.T) {
	d := decodeEMV(t)
	d.Functions = d.Functions[:1]
	d.Functions = append(d.Functions, d.Functions[0])
	d.Functions[1].Function = "icc_mk_option_z"
	r, err := run(t, encode(t, d))
	f := r.Functions["icc_mk_option_z"]
	if err != nil || f.Skipped != 28 || f.Passed+f.Failed != 0 || !strings.Contains(f.Reason, "not known") {
		t.Errorf("%+v, %v", f, err)
	}
}
