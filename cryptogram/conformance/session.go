package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// session imports the keys of one vector at a time.
type session struct {
	ring     Ring
	imported []keyref.Ref
	count    int
	sm4      bool // the function is one of SM4
}

// use imports a key for one use, under a name that was never used before.
func (s *session) use(ctx context.Context, u keyref.Usage, key []byte) (keyref.Path, error) {
	if sm4, ok := u.SM4(); ok && s.sm4 {
		u = sm4
	}
	s.count++
	ref := keyref.Ref{Realm: "vector-" + strconv.Itoa(s.count), Usage: u, Version: 1}
	if err := s.ring.ImportScratch(ctx, ref, key); err != nil {
		return keyref.Path{}, fmt.Errorf("importing a key as %s: %w", u, err)
	}
	s.imported = append(s.imported, ref)
	return keyref.Path{Key: ref}, nil
}

// forget drops what was imported.
func (s *session) forget(ctx context.Context) error {
	var errs []error
	for _, ref := range s.imported {
		errs = append(errs, s.ring.Forget(ctx, ref))
	}
	s.imported = nil
	return errors.Join(errs...)
}

// probes are messages that keys are compared by. Two MACs of four bytes leave
// one chance in 2^64 that different keys agree.
var probes = [][]byte{[]byte("conformance probe"), []byte("another")}

// probeInput is the block that derived keys encipher to make a process key.
var probeInput = [8]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF}

// sameKey checks a diversified key against the expected 16 bytes: the process
// keys that both make of one block must give the same MACs. root is the key
// that the path starts from, imported anew for enciphering.
func (s *session) sameKey(path keyref.Path, root []byte) check {
	return hexed(func(ctx context.Context, want []byte) error {
		if len(want) != 16 {
			return fmt.Errorf("has %d bytes, not 16", len(want))
		}
		expected, err := s.use(ctx, keyref.PurchaseMaster, want)
		if err != nil {
			return err
		}
		a, err := s.ring.ProcessMAC(ctx, path, probeInput, probes...)
		if err != nil {
			return fmt.Errorf("using the derived key: %w", err)
		}
		b, err := s.ring.ProcessMAC(ctx, expected, probeInput, probes...)
		if err != nil {
			return fmt.Errorf("using the expected key: %w", err)
		}
		if !sameMACs(a, b) {
			return errDiffers
		}
		if s.sm4 { // every bit of such a key counts, and no block has to show it
			return nil
		}
		return s.sameBytes(ctx, path, root, [16]byte(want))
	})
}

// sameBytes compares the cipher text that the last level of path consists of:
// the last factor and its complement, enciphered under the level before.
func (s *session) sameBytes(ctx context.Context, path keyref.Path, root []byte, want [16]byte) error {
	if path.Levels == 0 {
		if !bytes.Equal(root, want[:]) {
			return errDiffers
		}
		return nil
	}
	factor := path.Factors[path.Levels-1]
	path.Levels--
	path.Factors[path.Levels] = keyref.Factor{}
	for i, half := range [][8]byte{[8]byte(want[:8]), [8]byte(want[8:])} {
		got, err := s.encipher(ctx, path, root, complement(factor, i == 1))
		if err != nil {
			return err
		}
		if got != half {
			return errDiffers
		}
	}
	return nil
}

// sameProcessKey checks a process key, made of input under the key at path,
// against the expected 8 bytes K. K‖K in two-key 3DES is K in single DES. In SM4
// it has 16 bytes and makes MACs as a whole TAC key does.
func (s *session) sameProcessKey(path keyref.Path, root []byte, input [8]byte) check {
	return hexed(func(ctx context.Context, want []byte) error {
		n, key := 8, append(append([]byte{}, want...), want...)
		if s.sm4 {
			n, key = 16, want
		}
		if len(want) != n {
			return fmt.Errorf("has %d bytes, not %d", len(want), n)
		}
		expected, err := s.use(ctx, keyref.RetailTAC, key)
		if err != nil {
			return err
		}
		a, err := s.ring.ProcessMAC(ctx, path, input, probes...)
		if err != nil {
			return fmt.Errorf("using the process key: %w", err)
		}
		b := make([][4]byte, len(probes))
		for i, p := range probes {
			if b[i], err = s.ring.RetailMAC(ctx, expected, p); err != nil {
				return fmt.Errorf("using the expected key: %w", err)
			}
		}
		if !sameMACs(a, b) {
			return errDiffers
		}
		if s.sm4 {
			return nil
		}
		got, err := s.encipher(ctx, path, root, input)
		if err == nil && got != [8]byte(want) {
			err = errDiffers
		}
		return err
	})
}

// encipher enciphers under the key at path. A master only derives, so the key
// itself is used through an import that enciphers.
func (s *session) encipher(ctx context.Context, path keyref.Path, root []byte, block [8]byte) (out [8]byte, err error) {
	if path.Levels == 0 {
		if path, err = s.use(ctx, keyref.RetailTAC, root); err != nil {
			return out, err
		}
	}
	out, err = s.ring.Encipher(ctx, path, block)
	if err != nil {
		return out, fmt.Errorf("enciphering a block: %w", err)
	}
	return out, nil
}

func complement(f keyref.Factor, yes bool) [8]byte {
	for i := range f {
		if yes {
			f[i] = ^f[i]
		}
	}
	return f
}

func sameMACs(a, b [][4]byte) bool {
	if len(a) != len(probes) || len(b) != len(probes) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
