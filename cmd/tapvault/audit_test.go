package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/audit/tree"
)

// signedRecord writes a record of objects, the first at a given time, with a
// checkpoint at its end.
func signedRecord(t *testing.T, dir string, sign *ecdsa.PrivateKey, objects ...string) (file string) {
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
	key := tree.Key{Public: &sign.PublicKey, Sign: func(_ context.Context, digest [32]byte) (out [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, sign, digest[:])
		if err == nil {
			r.FillBytes(out[:32])
			s.FillBytes(out[32:])
		}
		return out, err
	}}
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

func newSigner(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keySet writes a public key as the service gives it.
func keySet(t *testing.T, dir string, k *ecdsa.PrivateKey) (file string) {
	t.Helper()
	point, err := k.PublicKey.Bytes()
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
	sign := newSigner(t)
	mine := t.TempDir()
	file := signedRecord(t, mine, sign, "a", "b", "c", "d")
	keys := keySet(t, t.TempDir(), sign)
	other := keySet(t, t.TempDir(), newSigner(t))
	forged := signedRecord(t, t.TempDir(), sign, "a", "b", "x", "d")
	short := signedRecord(t, t.TempDir(), sign, "a", "b")
	longer := signedRecord(t, t.TempDir(), sign, "a", "b", "c", "d", "e")
	begun := signedRecord(t, t.TempDir(), sign, "z", "b", "c", "d")
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
	for _, x := range []struct {
		name, file, signed, keys string
		code                     int
		says                     string
	}{
		{"whole", file, "", keys, exitOK, "1 signed checkpoints agree; the newest covers 4 records"},
		{"grown", longer, file + ".checkpoints", keys, exitOK, "5 records"},
		{"written anew", forged, file + ".checkpoints", keys, exitFailed, "its first 4 records are not those that were signed"},
		{"cut", short, file + ".checkpoints", keys, exitFailed, "it ends after 2 records, and a checkpoint was signed over 4"},
		{"begun anew", begun, file + ".checkpoints", keys, exitFailed, "of a record that began otherwise"},
		{"of another key", file, "", other, exitFailed, "checkpoint 1"},
		{"two truths", file, both, keys, exitFailed, "somebody was shown another record"},
		{"no such checkpoints", file, "missing", keys, exitFailed, "missing"},
		{"no keys", file, "", file, exitFailed, "not the answer of /.well-known/audit.json"},
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
