package conformance_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
)

// vectorOf returns the first vector of a function that has all these members of
// "in".
func vectorOf(t *testing.T, function string, members ...string) (in, out map[string]any) {
	t.Helper()
	for _, f := range decodeEMV(t).Functions {
		if f.Function != function {
			continue
		}
	next:
		for _, v := range f.Vectors {
			for _, m := range members {
				if v.In[m] == nil {
					continue next
				}
			}
			return v.In, v.Out
		}
	}
	t.Fatalf("%s has no vector with %v", function, members)
	return nil, nil
}

// TestNothingIsPassedOver changes what was once not looked at, or taken for
// something else. Each change makes the vector wrong.
func TestNothingIsPassedOver(t *testing.T) {
	for name, tc := range map[string]struct {
		function, member string
		change           func(in, out map[string]any)
	}{
		"header cut":           {"tr31_wrap_fixed_padding", "header", func(in, _ map[string]any) { in["header"] = in["header"].(string)[:8] }},
		"header empty":         {"tr31_wrap_fixed_padding", "header", func(in, _ map[string]any) { in["header"] = "" }},
		"header over":          {"tr31_wrap_fixed_padding", "header", func(in, out map[string]any) { in["header"] = out["key_block"].(string)[:17] }},
		"no code":              {"arqc_visa_cvn10", "arpc_rc", func(in, _ map[string]any) { delete(in, "arpc_rc") }},
		"no status":            {"arqc_visa_cvn18", "csu", func(in, _ map[string]any) { delete(in, "csu") }},
		"code for status":      {"arqc_visa_cvn18", "csu", func(in, _ map[string]any) { in["arpc_rc"] = "3030" }},
		"status for code":      {"arqc_visa_cvn10", "arpc_rc", func(in, _ map[string]any) { in["csu"] = "00000000" }},
		"field of no profile":  {"arqc_visa_cvn10", "arpc_rc", func(in, _ map[string]any) { in["tag_9f99"] = "00" }},
		"fields behind a text": {"arqc_visa_cvn10", "mac_input_already_padded", func(in, _ map[string]any) { in["tag_9f02"] = "000000000100" }},
		"chain without code":   {"arqc_arpc_chain", "arpc_rc", func(in, _ map[string]any) { delete(in, "arpc_rc") }},
		"empty number":         {"icc_mk_option_a", "psn", func(in, _ map[string]any) { in["psn"] = "" }},
		"nothing of a MAC":     {"ac_tdes", "length", func(in, out map[string]any) { in["length"], out["ac"] = 0, "" }},
		"three bytes":          {"sm_command_mac", "length", func(in, out map[string]any) { in["length"], out["mac"] = 3, out["mac"].(string)[:6] }},
	} {
		t.Run(name, func(t *testing.T) {
			in, out := vectorOf(t, tc.function, tc.member)
			if r, err := run(t, encode(t, one(tc.function, in, out, ""))); err != nil || r.Passed != 1 {
				t.Fatalf("unchanged: %+v, %v", r, err)
			}
			tc.change(in, out)
			if r, err := run(t, encode(t, one(tc.function, in, out, ""))); err != nil || r.Failed != 1 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestPaddingOfAnyLength: key blocks hide the length of a key by as much padding
// as their maker likes.
func TestPaddingOfAnyLength(t *testing.T) {
	kbpk, key := bytes.Repeat([]byte{0x1F, 0x2A}, 8), bytes.Repeat([]byte{0x3B, 0x4C}, 8)
	for version, shortest := range map[keyblock.Version]int{keyblock.VersionB: 6, keyblock.VersionD: 14} {
		for more := 0; more <= 64; more += 16 {
			padding := bytes.Repeat([]byte{0x5D}, shortest+more)
			h := keyblock.Header{Version: version, Usage: "E0", Algorithm: keyblock.TDES, Mode: 'X', KeyVersion: "00", Export: keyblock.Never, Context: '0'}
			text, err := keyblock.WrapPadded(kbpk, h, key, padding)
			if err != nil {
				t.Fatal(err)
			}
			in := map[string]any{"version_id": string(version), "kbpk": hex.EncodeToString(kbpk), "header": text[:16],
				"key": hex.EncodeToString(key), "padding": hex.EncodeToString(padding)}
			out := map[string]any{"key_block": text}
			if r, err := run(t, encode(t, one("tr31_wrap_fixed_padding", in, out, ""))); err != nil || r.Passed != 1 {
				t.Errorf("version %c, %d bytes: %+v, %v", version, len(padding), r, err)
			}
			in["padding"] = hex.EncodeToString(append(padding[:len(padding)-1:len(padding)-1], 0x5E))
			if r, err := run(t, encode(t, one("tr31_wrap_fixed_padding", in, out, ""))); err != nil || r.Failed != 1 {
				t.Errorf("version %c, other padding: %+v, %v", version, r, err)
			}
		}
	}
}

// TestChains: a chain needs the numbers that its session key is made of, and
// takes the data that goes with card status updates.
func TestChains(t *testing.T) {
	in, out := vectorOf(t, "arqc_arpc_chain", "csu")
	in["proprietary_auth_data"] = ""
	delete(in, "un") // for M/Chip's session key only
	if r, err := run(t, encode(t, one("arqc_arpc_chain", in, out, ""))); err != nil || r.Passed != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	in["proprietary_auth_data"] = "00"
	if r, err := run(t, encode(t, one("arqc_arpc_chain", in, out, ""))); err != nil || r.Failed != 1 {
		t.Errorf("other data: %+v, %v", r, err)
	}
}

// TestLongData: a MAC may be over two thousand bytes.
func TestLongData(t *testing.T) {
	in, out := vectorOf(t, "aes_cmac")
	in["data"] = strings.Repeat("00", 2040)
	if r, err := run(t, encode(t, one("aes_cmac", in, out, ""))); err != nil || r.Failed != 1 || r.Failures[0].Err.Error() != "out.cmac: differs" {
		t.Errorf("%+v, %v", r, err)
	}
	in["data"] = strings.Repeat("00", 2041)
	if r, err := run(t, encode(t, one("aes_cmac", in, out, ""))); err != nil || !strings.Contains(fmt.Sprint(r.Failures), "has 2041 bytes, not 0 to 2040") {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestMarksOfEditors: a file that an editor marked as UTF-8 is read, and one in
// UTF-16 is refused in words that say what to do.
func TestMarksOfEditors(t *testing.T) {
	in, out := vectorOf(t, "kcv_tdes")
	file := encode(t, one("kcv_tdes", in, out, ""))
	if r, err := run(t, append([]byte("\xEF\xBB\xBF"), bytes.ReplaceAll(file, []byte(","), []byte(",\r\n"))...)); err != nil || r.Passed != 1 {
		t.Errorf("marked: %+v, %v", r, err)
	}
	wide := []byte("\xFF\xFE")
	for _, c := range utf16.Encode([]rune(string(file))) {
		wide = append(wide, byte(c), byte(c>>8))
	}
	if _, err := run(t, wide); !errors.Is(err, conformance.ErrFile) || !strings.Contains(err.Error(), "save it as UTF-8") {
		t.Errorf("UTF-16: %v", err)
	}
}

// TestOneBadVector: what is wrong with one vector fails that vector, by its
// name, and no other.
func TestOneBadVector(t *testing.T) {
	in, out := vectorOf(t, "kcv_tdes")
	good := one("kcv_tdes", in, out, "")
	good.Functions[0].Vectors[0].ID = "good"
	text := string(encode(t, good))
	list := text[strings.Index(text, `[{"id"`)+1 : strings.LastIndex(text, "]}")-2]
	for _, bad := range []string{
		`{"id":"bad","in":[],"out":{}}`, `{"id":"bad","in":{},"out":"x"}`, `{"id":"bad"}`, `{"id":"bad","in":null,"out":null}`,
		`{"id":"bad","in":{"key":"00","key":"00"},"out":{}}`, `{"id":"bad","in":{},"in":{},"out":{}}`,
	} {
		file := strings.Replace(text, list, bad+","+list, 1)
		r, err := run(t, []byte(file))
		if err != nil || r.Passed != 1 || r.Failed != 1 || r.Failures[0].ID != "bad" {
			t.Errorf("%s: %+v, %v", bad, r, err)
		}
	}
}

// TestFormInWords: what is wrong with a file is told in words of the form, and
// not of the program.
func TestFormInWords(t *testing.T) {
	for file, want := range map[string]string{
		" \n":                              "it is empty",
		"[]":                               "no JSON object with the list functions",
		`{"functions":{}}`:                 "functions is of another type, not object",
		`{"functions":[{"function":3}]}`:   "functions.function is of another type, not number",
		`{"functions":[{"vectors":{}}]}`:   "functions.vectors is of another type, not object",
		`{"functions":[]} x`:               "it is no JSON: invalid character 'x' after top-level value at byte 18",
		`{"functions":[],"functions":[1]}`: "functions is of another type, not number",
		`{"functions":[],"functions":[]}`:  "an object has the member functions twice",
	} {
		_, err := run(t, []byte(file))
		if !errors.Is(err, conformance.ErrFile) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
