package engine

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
	"github.com/tapvault/tapvault/keyceremony/shamir"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// A backup is a folder with a file for each key, sealed by HPKE (RFC 9180) to
// an X25519 key whose private half exists in shares only. So a ceremony that is
// cut off does not need the shares to go on.
const (
	backupFolder  = "backup"
	backupKeyLen  = 32
	backupPublic  = "backup_public"
	backupPrivate = "backup private"
	backupWhat    = "tapvault key backup 1"
	maxBackup     = 8 << 10
)

// blob is one key of a backup.
type blob struct {
	What   string `json:"what"`
	Label  string `json:"label"`
	Check  string `json:"check"`
	Public string `json:"public"`
	Sealed []byte `json:"sealed"`
}

func (b blob) info() []byte { return []byte(backupWhat + "\x00" + b.Label + "\x00" + b.Check) }

// drawBackup makes the key that opens the backup and splits it.
func (r *run) drawBackup(s script.Step) (map[string]string, error) {
	r.forget(s.Key)
	private, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	if err != nil {
		return nil, err
	}
	raw, err := private.Bytes()
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	b := r.Plan.Script.Backup
	shares, err := shamir.Split(r.Rand, raw, b.Threshold, len(b.Custodians))
	if err != nil {
		return nil, err
	}
	for _, x := range shares {
		p, err := secret.Of(append([]byte{x.Number}, x.Value...))
		clear(x.Value)
		if err != nil {
			return nil, err
		}
		r.parts[s.Key] = append(r.parts[s.Key], p)
	}
	return map[string]string{backupPublic: base64.StdEncoding.EncodeToString(private.PublicKey().Bytes())}, nil
}

// sealTo is the public key of this ceremony's backup, as it was recorded.
func (r *run) sealTo() (string, hpke.PublicKey, error) {
	for _, s := range r.Plan.Steps {
		if s.Op == script.OpSealKey {
			text := r.done[s.Number].Data[backupPublic]
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return "", nil, err
			}
			k, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(raw)
			return text, k, err
		}
	}
	return "", nil, fmt.Errorf("%w: no key of the backup was drawn", ErrStep)
}

func (r *run) seal(s script.Step) (map[string]string, error) {
	v, err := r.combined(s.Key)
	if err != nil {
		return nil, err
	}
	defer v.Wipe()
	check, err := keyCheck(r.keyOf(s.Key).Ref(), v.Bytes())
	if err != nil {
		return nil, err
	}
	text, public, err := r.sealTo()
	if err != nil {
		return nil, err
	}
	b := blob{What: backupWhat, Label: s.Key, Check: check, Public: text}
	if b.Sealed, err = hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), v.Bytes()); err != nil {
		return nil, fmt.Errorf("sealing %s: %w", s.Key, err)
	}
	out, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return nil, err
	}
	name := filepath.Join(backupFolder, s.Key+".json")
	return map[string]string{transcript.DataKey: s.Key, transcript.DataCheck: check, "file": name}, r.write(name, append(out, '\n'))
}

// openBackup puts the shares together, and proves them by the public key.
func (r *run) openBackup(s script.Step) (map[string]string, error) {
	var shares []shamir.Share
	for _, p := range r.parts[s.Key] {
		shares = append(shares, shamir.Share{Number: p.Bytes()[0], Value: p.Bytes()[1:]})
	}
	raw, err := shamir.Combine(shares...)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	k, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: the shares give no key: %w", ErrStep, err)
	}
	public := base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())
	for _, key := range r.Plan.Script.Keys {
		b, err := r.blob(key.Label)
		if err != nil {
			return nil, err
		}
		if b.Public != public {
			return nil, fmt.Errorf("%w: these shares do not open the backup of %s: compare the letters' serial numbers with the transcript of the backup", ErrStep, key.Label)
		}
	}
	p, err := secret.Of(append([]byte{}, raw...))
	if err != nil {
		return nil, err
	}
	r.forget(backupPrivate)
	r.parts[backupPrivate] = []*secret.Buffer{p}
	r.forget(s.Key)
	return map[string]string{backupPublic: public}, nil
}

// backupDir is the folder of the backup to restore.
func (r *run) backupDir() string {
	if r.Played && r.Backup != "" {
		return r.Backup
	}
	return r.Plan.Script.Backup.File
}

// blob reads one key of the backup that the script names.
func (r *run) blob(label string) (b blob, err error) {
	text, err := os.ReadFile(filepath.Join(r.backupDir(), label+".json"))
	if err != nil {
		return b, fmt.Errorf("reading the backup: %w", err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if len(text) > maxBackup || d.Decode(&b) != nil || b.What != backupWhat || b.Label != label {
		return b, fmt.Errorf("%w: this is no backup of %s", ErrStep, label)
	}
	return b, nil
}

func (r *run) restored(s script.Step) (*secret.Buffer, error) {
	b, err := r.blob(s.Key)
	if err != nil {
		return nil, err
	}
	private := r.parts[backupPrivate]
	if len(private) == 0 {
		return nil, fmt.Errorf("%w: the backup was not opened", ErrStep)
	}
	k, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(private[0].Bytes())
	if err != nil {
		return nil, err
	}
	raw, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), b.Sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: the backup of %s was changed, or is another's", ErrStep, s.Key)
	}
	defer clear(raw)
	key := r.keyOf(s.Key)
	if len(raw) != key.Length() {
		return nil, fmt.Errorf("%w: the backup holds %d bytes, and %s has %d", ErrStep, len(raw), s.Key, key.Length())
	}
	kcv, err := keyCheck(key.Ref(), raw)
	if err == nil && kcv != b.Check {
		err = errors.New("the key in the backup does not have its check value")
	}
	if err != nil {
		return nil, err
	}
	return secret.Of(raw)
}
