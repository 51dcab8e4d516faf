//go:build linux

package chaos

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit/tree"
)

// proven is how many records of a process are asked about one by one.
const proven = 64

// proofs counts what a process recorded, and has it prove over HTTP that some of
// the lines in its file are in its tree.
func (f *fleet) proofs(ctx context.Context, i int, recorded map[access.Action]int64, rep *Report) error {
	c := f.nodes[i].auditor
	at, err := c.AuditCheckpoint(ctx)
	if err != nil {
		return err
	}
	head := tree.Head{Size: at.Size, Root: tree.Hash(at.Root)}
	file, err := os.Open(filepath.Join(f.home, fmt.Sprintf("audit-%d.log", i)))
	if err != nil {
		return err
	}
	defer file.Close()
	every := max(at.Size/proven, 1)
	lines := bufio.NewScanner(file)
	for n := int64(1); lines.Scan(); n++ {
		for _, a := range []access.Action{access.TokenRequest, access.AccountPost, access.DetokenizeDirect} {
			if bytes.Contains(lines.Bytes(), fmt.Appendf(nil, `"action":%q,`, a)) {
				recorded[a]++
			}
		}
		if n%every != 0 || n > at.Size {
			continue
		}
		got, err := c.AuditInclusion(ctx, n, at.Size)
		if err != nil {
			return err
		}
		path := make([]tree.Hash, len(got.Hashes))
		for k, h := range got.Hashes {
			path[k] = tree.Hash(h)
		}
		leaf := tree.LeafHash(lines.Bytes())
		if err := tree.CheckInclusion(head, n, leaf, path); err != nil || leaf != tree.Hash(got.Leaf) {
			rep.blame("process %d does not prove record %d: %v", i, n, err)
		}
		rep.Proofs++
	}
	return lines.Err()
}
