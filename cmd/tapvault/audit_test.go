package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/audit/tree"
	"github.com/tapvault/tapvault/audit/tree/treetest"
	"github.com/tapvault/tapvault/internal/cli"
)

// signedRecord writes a record of objects, the first at a given time, with a
// checkpoint at its end.
func signedRecord(t *testing.T, dir string, key tree.Key, objects ...string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "audit.log")
	at := time.Unix(1e9, 0)
	now := func() time.Time { at = at.Add(time.Second); return at }
	leaves, err := tree.Open(file + ".tree")
	if err != nil {
		t.Fatal(err)
	}
	record, err := trail.Open(trail.Config{Path: file, Tree: leaves, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	desk, err := auditor.New(auditor.Config{Record: file, Kept: file + ".checkpoints", Keeper: "https://v", Tree: leaves, Key: key,
		Gate: audit.Gate{Recorder: record}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		e := audit.Entry{Caller: access.Caller{ID: "c"}, Action: access.TokenRead, Object: o, Outcome: audit.Allowed}
		if err := record.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := desk.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []func() error{desk.Close, record.Close, leaves.Close} {
		if err := c(); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// keySet writes a public key as the service gives it.
func keySet(t *testing.T, dir string, k tree.Key) (file string) {
	t.Helper()
	point, err := k.Public.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	file = filepath.Join(dir, "audit.json")
	text := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}]}`, enc(point[1:33]), enc(point[33:]))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestAuditVerifyAgainstCheckpoints: an auditor with the keys and a checkpoint
// finds a record that was written anew, cut or exchanged, chain and all.
func TestAuditVerifyAgainstCheckpoints(t *testing.T) {
	sign := treetest.NewKey(t)
	mine := t.TempDir()
	file := signedRecord(t, mine, sign, "a", "b", "c", "d")
	keys := keySet(t, t.TempDir(), sign)
	other := keySet(t, t.TempDir(), treetest.NewKey(t))
	forged := signedRecord(t, t.TempDir(), sign, "a", "b", "x", "d")
	short := signedRecord(t, t.TempDir(), sign, "a", "b")
	longer := signedRecord(t, t.TempDir(), sign, "a", "b", "c", "d", "e")
	begun := signedRecord(t, t.TempDir(), sign, "z", "b", "c", "d")
	bare, empty := signedRecord(t, t.TempDir(), sign, "a", "b"), filepath.Join(t.TempDir(), "empty")
	if err := errors.Join(os.Remove(bare+".checkpoints"), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(t.TempDir(), "both")
	var text []byte
	for _, f := range []string{file, forged} {
		b, err := os.ReadFile(f + ".checkpoints")
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	if err := os.WriteFile(both, text, 0o600); err != nil {
		t.Fatal(err)
	}
	early, err := os.ReadFile(short + ".checkpoints")
	if err != nil {
		t.Fatal(err)
	}
	late, err := os.ReadFile(file + ".checkpoints")
	if err != nil {
		t.Fatal(err)
	}
	unended, half := filepath.Join(t.TempDir(), "unended"), filepath.Join(t.TempDir(), "half")
	for name, newest := range map[string][]byte{unended: bytes.TrimSuffix(late, []byte("\n")), half: late[:len(late)/2]} {
		if err := os.WriteFile(name, slices.Concat(early, newest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name, file, signed, keys string
		code                     int
		says                     string
	}{
		{"whole", file, "", keys, cli.OK, "1 signed checkpoints agree; the newest covers 4 records"},
		{"grown", longer, file + ".checkpoints", keys, cli.OK, "5 records"},
		{"written anew", forged, file + ".checkpoints", keys, cli.Failed, "its first 4 records are not those that were signed"},
		{"cut", short, file + ".checkpoints", keys, cli.Failed, "it ends after 2 records, and a checkpoint was signed over 4"},
		{"begun anew", begun, file + ".checkpoints", keys, cli.Failed, "of a record that began otherwise"},
		{"of another key", file, "", other, cli.Failed, "checkpoint 1"},
		{"two truths", file, both, keys, cli.Failed, "somebody was shown another record"},
		{"checkpoints taken away", bare, "", keys, cli.OK, "no checkpoint was there to compare it with"},
		{"checkpoints emptied", file, empty, keys, cli.Failed, "holds no checkpoint"},
		{"cut, and the newest checkpoint ends no line", short, unended, keys, cli.Failed, "it ends after 2 records, and a checkpoint was signed over 4"},
		{"half a checkpoint", short, half, keys, cli.Failed, "line 2 is none"},
		{"half a checkpoint, what to do", short, half, keys, cli.Failed, "answers of /v1/audit/checkpoint, one a line"},
		{"no such checkpoints", file, "missing", keys, cli.Failed, "missing"},
		{"no keys", file, "", file, cli.Failed, "not the answer of /.well-known/audit.json"},
	} {
		args := []string{"audit", "verify", x.file, "--keys", x.keys}
		if x.signed != "" {
			args = append(args, "--checkpoints", x.signed)
		}
		var out bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &out); code != x.code || !strings.Contains(out.String(), x.says) {
			t.Errorf("%s: exit %d, %s", x.name, code, out.String())
		}
	}
}

// TestAuditExport: what is asked for comes as it was hashed, of a record that
// verifies and of no other, and no file is written over or left half.
func TestAuditExport(t *testing.T) {
	sign := treetest.NewKey(t)
	dir := t.TempDir()
	file := signedRecord(t, dir, sign, "a", "b", "a", "c")
	keys := keySet(t, t.TempDir(), sign)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	broken := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(text), `"object":"b"`, `"object":"x"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stamp := func(i int) string { return time.Unix(1e9+int64(i), 0).UTC().Format(time.RFC3339) }
	for _, x := range []struct {
		name string
		args []string
		code int
		out  string // standard output
		says string
	}{
		{"all", nil, cli.OK, string(text), "4 of 4 entries"},
		{"of one object", []string{"--object", "a"}, cli.OK, lines[0] + lines[2], "2 of 4 entries"},
		{"of a time", []string{"--from", stamp(2), "--until", stamp(4)}, cli.OK, lines[1] + lines[2], "2 of 4 entries"},
		{"of a day", []string{"--from", "2001-09-09", "--until", "2001-09-10", "--caller", "c", "--outcome", "allowed", "--object", "c"}, cli.OK, lines[3], "1 of 4"},
		{"of nobody", []string{"--caller", "d"}, cli.OK, "", "0 of 4 entries"},
		{"of another action", []string{"--action", "detokenize"}, cli.OK, "", "0 of 4 entries"},
		{"of a request", []string{"--request", "r"}, cli.OK, "", "0 of 4 entries"},
		{"no time", []string{"--from", "yesterday"}, cli.Misused, "", "--from is neither a day nor a time"},
		{"over a file", []string{"--out", there}, cli.Failed, "", "exists"},
		{"into a file", []string{"--out", filepath.Join(dir, "new")}, cli.OK, "", ""},
	} {
		var out, said bytes.Buffer
		code := run(t.Context(), append([]string{"audit", "export", file, "--keys", keys}, x.args...), nil, &out, &said)
		if x.name == "into a file" {
			out.Reset()
		}
		if code != x.code || out.String() != x.out || !strings.Contains(said.String(), x.says) {
			t.Errorf("%s: exit %d, %q, %s", x.name, code, out.String(), said.String())
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || string(b) != string(text) {
		t.Errorf("the file holds %q, %v", b, err)
	}
	var out, said bytes.Buffer
	to := filepath.Join(dir, "never")
	if code := run(t.Context(), []string{"audit", "export", broken, "--out", to}, nil, &out, &said); code != cli.Failed || !strings.Contains(said.String(), "line 3 does not follow") ||
		!strings.Contains(said.String(), "hint: change nothing: keep the file") {
		t.Errorf("of a record that was changed: exit %d, %s", code, said.String())
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("an export of a broken record is left")
	}
}

// TestAuditVerifyOfNothing: an empty record has no last line, and so no hash.
func TestAuditVerifyOfNothing(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"audit", "verify", empty}, nil, &out, &out); code != cli.OK || out.String() != empty+": no records\n" {
		t.Errorf("%d: %q", code, out.String())
	}
}
