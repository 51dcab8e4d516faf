package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/hsm/softring"
)

const vectorFile = "../testdata/vectors/epurse.json"

func published(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a file on a ring that must be empty afterwards.
func run(t testing.TB, file []byte) (conformance.Report, error) {
	t.Helper()
	ring := &counting{Ring: rings(t)}
	r, err := conformance.Run(context.Background(), ring, bytes.NewReader(file))
	if ring.held != 0 {
		t.Errorf("%d keys were left behind", ring.held)
	}
	return r, err
}

// rings returns keys in memory, of all algorithms.
func rings(t testing.TB) conformance.Ring {
	t.Helper()
	sm4, err := softring.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sm4.Close() })
	return conformance.WithSM4(&softkey.Ring{}, sm4)
}

// counting is a ring that counts the keys in it.
type counting struct {
	conformance.Ring
	held int
}

func (c *counting) ImportScratch(ctx context.Context, ref keyref.Ref, key []byte) error {
	err := c.Ring.ImportScratch(ctx, ref, key)
	if err == nil {
		c.held++
	}
	return err
}

func (c *counting) Forget(ctx context.Context, ref keyref.Ref) error {
	c.held--
	return c.Ring.Forget(ctx, ref)
}

func TestPublishedVectors(t *testing.T) {
	r, err := run(t, published(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Errorf("%s: %v", f.ID, f.Err)
	}
	if r.Passed != 199 || r.Failed != 0 || r.Skipped != 0 {
		t.Errorf("passed %d, failed %d, skipped %d", r.Passed, r.Failed, r.Skipped)
	}
	for name, f := range r.Functions {
		if strings.HasSuffix(name, "_sm4") != (f.Note != "") || f.Passed == 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// document is a vector file that tests change.
type document struct {
	Functions []function `json:"functions"`
}

type function struct {
	Function string `json:"function"`
	Vectors  []struct {
		ID  string         `json:"id"`
		In  map[string]any `json:"in"`
		Out map[string]any `json:"out"`
	} `json:"vectors"`
}

func decode(t testing.TB) (d document) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(published(t)))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

func encode(t testing.TB, d document) []byte {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// each calls change for every vector that is run.
func (d document) each(change func(in, out map[string]any)) (n int) {
	for _, f := range d.Functions {
		for _, v := range f.Vectors {
			change(v.In, v.Out)
			n++
		}
	}
	return n
}

// TestWrongAnswers changes one digit of each expected value, the last one by
// its lowest bit: in a key that is a parity bit, which DES does not see.
func TestWrongAnswers(t *testing.T) {
	for _, member := range []string{"key", "dpk", "session_key", "mac1", "mac2", "mac3", "tac", "response", "new_balance"} {
		for _, where := range []string{"first", "last"} {
			t.Run(member+" "+where, func(t *testing.T) {
				d, wrong := decode(t), 0
				n := d.each(func(_, out map[string]any) {
					s, ok := out[member].(string)
					if !ok {
						return
					}
					i := 0
					if where == "last" {
						i = len(s) - 1
					}
					out[member] = s[:i] + flip(s[i]) + s[i+1:]
					wrong++
				})
				r, err := run(t, encode(t, d))
				if err != nil || wrong == 0 {
					t.Fatal(wrong, err)
				}
				if r.Failed != wrong || r.Passed != n-wrong {
					t.Errorf("%d of %d are wrong; %d failed and %d passed", wrong, n, r.Failed, r.Passed)
				}
			})
		}
	}
}

func flip(c byte) string {
	const digits = "0123456789ABCDEF"
	return string(digits[strings.IndexByte(digits, c)^1])
}

func TestSwappedFields(t *testing.T) {
	d := decode(t)
	swapped := 0
	n := d.each(func(in, out map[string]any) {
		if out["mac1"] != nil {
			out["mac1"], out["mac2"] = out["mac2"], out["mac1"]
			swapped++
		}
	})
	r, err := run(t, encode(t, d))
	if err != nil || r.Failed != swapped || r.Passed != n-swapped {
		t.Errorf("%d of %d swapped: %+v, %v", swapped, n, r, err)
	}
}

// TestOptionalMembers leaves members away one at a time. Without a key nothing
// that needs it can be computed, so that is a failure; with the answers left
// away, too, the rest still passes.
func TestOptionalMembers(t *testing.T) {
	d := decode(t)
	n := d.each(func(in, out map[string]any) {
		if out["mac1"] != nil && in["dtk"] != nil {
			delete(in, "dtk")
			delete(out, "tac")
		}
		delete(out, "session_key")
		out["padded"] = "00" // an intermediate value
		out["mac9"] = nil
	})
	r, err := run(t, encode(t, d))
	if err != nil || r.Passed != n {
		t.Errorf("%+v, %v", r, err)
	}
	d = decode(t)
	needed := 0
	n = d.each(func(in, out map[string]any) {
		delete(in, "dtk")
		if out["tac"] != nil {
			needed++
		}
	})
	if r, err = run(t, encode(t, d)); err != nil || r.Failed != needed || r.Passed != n-needed {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTACModes uses that the direct TAC under a key of equal halves is the
// folded TAC under one half and zeros.
func TestTACModes(t *testing.T) {
	ring := rings(t)
	d := decode(t)
	d.Functions = slices.DeleteFunc(d.Functions, func(f function) bool { return strings.HasSuffix(f.Function, "_sm4") })
	direct := 0
	d.each(func(in, out map[string]any) {
		if out["tac"] == nil {
			return
		}
		in["tac_mode"] = []string{"fold", "direct"}[direct%2]
		direct++
	})
	r, err := conformance.Run(t.Context(), ring, bytes.NewReader(encode(t, d)))
	if err != nil || r.Failed != direct/2 {
		t.Errorf("%d vectors have the wrong mode: %+v, %v", direct/2, r, err)
	}
	one := `{"functions":[{"function":"epurse_purchase_tdes","vectors":[{"in":{"dtk":"%s","tac_mode":"%s","amount":1,"term_id":"001122334455",
		"term_seq":0,"date":"20161216","time":"134600","rand":"00000000","offline_seq":0},"out":{"tac":"%s"}}]}]}`
	fill := func(key, mode, tac string) []byte {
		return []byte(strings.Replace(strings.Replace(strings.Replace(one, "%s", key, 1), "%s", mode, 1), "%s", tac, 1))
	}
	half := "8888888888888888" // the fold of the published log's key
	for _, tc := range []struct {
		key, mode, tac string
		pass           int
	}{
		{"00112233445566778899AABBCCDDEEFF", "fold", "8AF270DC", 1},
		{half + half, "direct", "8AF270DC", 1},
		{"0000000000000000" + half, "fold", "8AF270DC", 1},
		{half + half, "fold", "8AF270DC", 0},
		{half + half, "sideways", "8AF270DC", 0},
	} {
		r, err := run(t, fill(tc.key, tc.mode, tc.tac))
		if err != nil || r.Passed != tc.pass {
			t.Errorf("%s under %s: %+v, %v", tc.mode, tc.key, r, err)
		}
	}
}

func TestMalformedVectors(t *testing.T) {
	for name, change := range map[string]func(in, out map[string]any){
		"odd hex":        func(in, _ map[string]any) { in["rand"] = "123" },
		"short":          func(in, _ map[string]any) { in["rand"] = "1234" },
		"not hex":        func(in, _ map[string]any) { in["rand"] = "GGGGGGGG" },
		"number for hex": func(in, _ map[string]any) { in["rand"] = 12 },
		"fraction":       func(in, _ map[string]any) { in["amount"] = json.Number("1.5") },
		"negative":       func(in, _ map[string]any) { in["amount"] = -1 },
		"too large":      func(in, _ map[string]any) { in["offline_seq"] = 65536 },
		"missing":        func(in, _ map[string]any) { delete(in, "amount") },
		"letters in a date": func(in, _ map[string]any) {
			in["date"] = "2026AB01"
		},
		"unknown member":  func(in, _ map[string]any) { in["algorithm"] = "sm4" },
		"short key":       func(in, _ map[string]any) { in["dpk"] = "0011223344556677" },
		"auth code":       func(in, _ map[string]any) { in["auth_code"] = "00" },
		"mode":            func(in, _ map[string]any) { in["tac_mode"] = 1 },
		"no answer":       func(_, out map[string]any) { clear(out) },
		"odd answer":      func(_, out map[string]any) { out["mac1"] = "D45737C" },
		"long answer":     func(_, out map[string]any) { out["mac1"] = "D45737C500" },
		"number answer":   func(_, out map[string]any) { out["mac1"] = 1 },
		"foreign answer":  func(_, out map[string]any) { out["mac3"] = "00000000" },
		"short sess. key": func(_, out map[string]any) { out["session_key"] = "C0" },
	} {
		t.Run(name, func(t *testing.T) {
			d := decode(t)
			for i := range d.Functions {
				f := &d.Functions[i]
				f.Vectors = f.Vectors[:1]
				if f.Function == "epurse_purchase_tdes" {
					change(f.Vectors[0].In, f.Vectors[0].Out)
				}
			}
			r, err := run(t, encode(t, d))
			if err != nil || r.Failed != 1 || r.Functions["epurse_purchase_tdes"].Failed != 1 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestMalformedFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		want error
	}{
		"empty":             {"", conformance.ErrFile},
		"not JSON":          {"functions", conformance.ErrFile},
		"cut off":           {`{"functions":[{"function":"epurse_load_tdes"`, conformance.ErrFile},
		"list":              {`[]`, conformance.ErrFile},
		"null":              {`null`, conformance.ErrFile},
		"no functions":      {`{"functions":[]}`, conformance.ErrFile},
		"no name":           {`{"functions":[{"vectors":[]}]}`, conformance.ErrFile},
		"wrong type":        {`{"functions":[{"function":1}]}`, conformance.ErrFile},
		"vectors no list":   {`{"functions":[{"function":"x","vectors":{}}]}`, conformance.ErrFile},
		"no vectors":        {`{"functions":[{"function":"epurse_load_tdes","vectors":[]}]}`, conformance.ErrNothing},
		"none that is run":  {`{"functions":[{"function":"ff9","vectors":[{}]}]}`, conformance.ErrNothing},
		"vector is null":    {`{"functions":[{"function":"epurse_load_tdes","vectors":[null]}]}`, nil},
		"vector is a list":  {`{"functions":[{"function":"epurse_load_tdes","vectors":[[]]}]}`, nil},
		"in is a list":      {`{"functions":[{"function":"epurse_load_tdes","vectors":[{"in":[],"out":{}}]}]}`, nil},
		"factors no list":   {`{"functions":[{"function":"epurse_diversify_tdes","vectors":[{"in":{"factors":1}}]}]}`, nil},
		"too many factors":  {`{"functions":[{"function":"epurse_diversify_tdes","vectors":[{"in":{"key":"00112233445566778899AABBCCDDEEFF","factors":["1122334455667788","1122334455667788","1122334455667788","1122334455667788"]},"out":{"key":"00"}}]}]}`, nil},
		"a member twice":    {`{"functions":[{"function":"epurse_load_tdes","vectors":[{"out":{"mac1":"00","mac1":"01"}}]}]}`, nil},
		"in another case":   {`{"functions":[{"function":"epurse_load_tdes","vectors":[{"out":{"mac1":"00"},"OUT":{}}]}]}`, nil},
		"functions twice":   {`{"functions":[{"function":"x"}],"functions":[{"function":"epurse_load_tdes","vectors":[{}]}]}`, conformance.ErrFile},
		"more behind it":    {`{"functions":[{"function":"epurse_load_tdes","vectors":[{}]}]}{}`, conformance.ErrFile},
		"odd PSAM data":     {`{"functions":[{"function":"epurse_psam_8070_tdes","vectors":[{"in":{"data":"0"}}]}]}`, nil},
		"PSAM data missing": {`{"functions":[{"function":"epurse_psam_8070_tdes","vectors":[{"in":{}}]}]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := run(t, []byte(tc.file))
			if !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if r.Passed != 0 || tc.want == nil && r.Failed != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestOddFiles: what does not change what a file says is taken, and what does is
// told: a vector that stands twice counts twice, and names move no cursor.
func TestOddFiles(t *testing.T) {
	d := decode(t)
	i := slices.IndexFunc(d.Functions, func(f function) bool { return f.Function == "epurse_purchase_tdes" })
	good := d.Functions[i : i+1]
	good[0].Vectors = append(good[0].Vectors[:1], good[0].Vectors[0])
	unknown := function{Function: "tele\nport\x1b[31m", Vectors: good[0].Vectors}
	file := encode(t, document{Functions: append([]function{unknown}, append(good, good...)...)})
	r, err := run(t, file)
	if err != nil || r.Passed != 4 || r.Failed != 0 || r.Skipped != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = run(t, bytes.ToLower(file)); err != nil || r.Passed != 4 || r.Failed != 0 {
		t.Errorf("in lower case: %+v, %v", r, err)
	}
	good[0].Vectors[1].ID, good[0].Vectors[1].Out = "x\n\x1b[31m"+strings.Repeat("y", 1000), map[string]any{"mac1": "00"}
	r, err = run(t, encode(t, document{Functions: append([]function{unknown}, good...)}))
	if err != nil || r.Passed != 1 || len(r.Failures) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if told := r.Failures[0].ID + table.String(); strings.Contains(told, "\x1b") || strings.Contains(r.Failures[0].ID, "\n") || len(r.Failures[0].ID) > 100 {
		t.Errorf("told to a terminal: %q", told)
	}
	large := bytes.Repeat([]byte(" "), 64<<20+1)
	if _, err := run(t, large); !errors.Is(err, conformance.ErrFile) {
		t.Errorf("a file that is too large: %v", err)
	}
}

func TestReport(t *testing.T) {
	d := decode(t)
	d.Functions = d.Functions[:2]
	d.Functions[1].Vectors[0].Out["mac1"] = "00000000"
	r, err := run(t, encode(t, d))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"passed":47,"failed":1,"skipped":0,"functions":{` +
		`"epurse_capp_purchase_sm4":{"passed":24,"failed":0,"skipped":0,"note":"its numbers come from formulas, not from cards"},` +
		`"epurse_capp_purchase_tdes":{"passed":23,"failed":1,"skipped":0}}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var text strings.Builder
	if err := r.WriteTable(&text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if len(line) > 81 {
			t.Errorf("more than 80 columns: %s", line)
		}
	}
	for _, want := range []string{"total", "sm4   24      0       0        1\n", "note 1: its numbers come from formulas, not from cards\n", "failed: epurse_capp_purchase_tdes-01: out.mac1: differs"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, text.String())
		}
	}
}

// broken fails from the n-th call on.
type broken struct {
	conformance.Ring
	left int
}

var errBroken = errors.New("module gone")

func (b *broken) ImportScratch(ctx context.Context, ref keyref.Ref, key []byte) error {
	if b.left--; b.left < 0 {
		return errBroken
	}
	return b.Ring.ImportScratch(ctx, ref, key)
}

func TestBrokenRing(t *testing.T) {
	for left := range 5 {
		r, err := conformance.Run(t.Context(), &broken{Ring: rings(t), left: left}, bytes.NewReader(published(t)))
		if err != nil || r.Failed == 0 || r.Passed > 1 {
			t.Errorf("after %d imports: %d passed, %d failed, %v", left, r.Passed, r.Failed, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conformance.Run(ctx, &softkey.Ring{}, bytes.NewReader(published(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzRun(f *testing.F) {
	for _, fn := range append(decode(f).Functions, decodeEMV(f).Functions...) {
		fn.Vectors = fn.Vectors[:1]
		b, err := json.Marshal(map[string]any{"functions": []any{fn}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ring := &counting{Ring: rings(t)}
		r, err := conformance.Run(context.Background(), ring, bytes.NewReader(b))
		if ring.held != 0 {
			t.Error("keys were left behind")
		}
		if err == nil && r.Passed+r.Failed == 0 || r.Failed != len(r.Failures) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
