package softring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/durable"
)

// Sealer is what the ring needs of an HSM; *hsm.Token is one.
type Sealer interface {
	Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) ([]byte, error)
	// UnsealSecret lends 32 bytes in locked memory.
	UnsealSecret(ctx context.Context, ref keyref.Ref, sealed, aad []byte, use func(secret []byte) error) error
}

// Folder keeps sealed keys, each in a file that is named after it.
type Folder struct {
	Dir    string
	Sealer Sealer
	Key    keyref.Ref // of usage [keyref.SM4Seal], ready in the sealer
}

const (
	suffix    = ".sealed"
	maxSealed = 256 // bytes of a file; it has 60
)

func (f Folder) file(ref keyref.Ref) string { return filepath.Join(f.Dir, ref.Label()+suffix) }

// aad binds a sealed key to its label, so that files cannot change places.
func aad(ref keyref.Ref) []byte { return []byte("sm4 key " + ref.Label()) }

// Import seals a key and stores it. It never overwrites one. The caller wipes
// the value.
func (f Folder) Import(ctx context.Context, ref keyref.Ref, key []byte) error {
	if spec, _ := ref.Usage.Spec(); spec.Type != keyref.SM4 || !ref.Valid() || len(key) != block {
		return fmt.Errorf("importing %v: %w: it is no SM4 key of 16 bytes", ref, ErrKeyUnfit)
	}
	var plain [2 * block]byte // as many bytes as the sealer lends
	defer clear(plain[:])
	copy(plain[:], key)
	sealed, err := f.Sealer.Seal(ctx, f.Key, plain[:], aad(ref))
	if err != nil {
		return fmt.Errorf("importing %v: %w", ref, err)
	}
	if err := f.write(ref, sealed); err != nil {
		return fmt.Errorf("importing %v: %w", ref, err)
	}
	return nil
}

// write stores a sealed key under its own name.
func (f Folder) write(ref keyref.Ref, sealed []byte) error {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	err := durable.Write(f.file(ref), sealed)
	if errors.Is(err, fs.ErrExist) {
		return ErrKeyExists
	}
	return err
}

// Load makes keys ready in a ring.
func (f Folder) Load(ctx context.Context, r *Ring, refs ...keyref.Ref) error {
	for _, ref := range refs {
		info, err := os.Stat(f.file(ref))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("loading %v: %w: no file %s in the folder of SM4 keys", ref, ErrKeyMissing, filepath.Base(f.file(ref)))
		}
		if err != nil || info.Size() > maxSealed {
			return fmt.Errorf("loading %v: %w: its file cannot be read", ref, ErrKeyUnfit)
		}
		sealed, err := os.ReadFile(f.file(ref))
		if err != nil {
			return fmt.Errorf("loading %v: %w", ref, err)
		}
		err = f.Sealer.UnsealSecret(ctx, f.Key, sealed, aad(ref), func(key []byte) error {
			return r.ImportScratch(ctx, ref, key[:block])
		})
		if err != nil {
			return fmt.Errorf("loading %v: %w", ref, err)
		}
	}
	return nil
}

// Stored lists the keys of the folder. Files that no key reference explains are
// none of ours.
func (f Folder) Stored() (refs []keyref.Ref, err error) {
	entries, err := os.ReadDir(f.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing SM4 keys: %w", err)
	}
	for _, e := range entries {
		label, ok := strings.CutSuffix(e.Name(), suffix)
		ref, err := keyref.Parse(label)
		if spec, _ := ref.Usage.Spec(); ok && err == nil && spec.Type == keyref.SM4 {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// Inventory lists the keys of the folder with their check values. Each says that
// it is a key of software.
func (f Folder) Inventory(ctx context.Context) (list []keyref.Info, err error) {
	refs, err := f.Stored()
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	r, err := New()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for _, ref := range refs {
		if err := f.Load(ctx, r, ref); err != nil {
			return nil, err
		}
		v, err := r.CheckValue(ref)
		if err != nil {
			return nil, err
		}
		spec, _ := ref.Usage.Spec()
		list = append(list, keyref.Info{Ref: ref, Spec: spec, Check: &v, State: "ACTIVE", Software: true})
	}
	return list, nil
}
