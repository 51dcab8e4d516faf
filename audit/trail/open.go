package trail

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/internal/aside"
	"github.com/tapvault/tapvault/internal/durable"
)

// Open checks the end of the trail and goes on from there. A last line that a
// crash cut short was never answered for; it is moved to a file beside the
// trail, which [Trail.Torn] names. The whole trail is checked by [Verify].
func Open(cfg Config) (*Trail, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f, err := os.OpenFile(cfg.Path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: opening the audit trail: %w", ErrDown, err)
	}
	t := &Trail{file: synced{f}, now: cfg.Now, tree: cfg.Tree, wake: make(chan struct{}, 1),
		news: make(chan struct{}, 1), done: make(chan struct{})}
	if err := t.resume(cfg, f); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the audit trail: %w", err), f.Close())
	}
	go t.write()
	return t, nil
}

// synced is a file whose sync leaves the processor to others.
type synced struct{ *os.File }

func (s synced) Sync() error { return aside.Sync(s.File) }

// resume finds where the chain stands.
func (t *Trail) resume(cfg Config, f *os.File) error {
	path := cfg.Path
	if err := lock(f, cfg.Wait); err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	line, end, err := lastLine(f, st.Size())
	if err != nil {
		return err
	}
	if end < st.Size() {
		if t.torn, err = moveAside(path, f, end, st.Size()); err != nil {
			return fmt.Errorf("%w: moving a torn line aside: %w", ErrDown, err)
		}
	}
	if len(line) > 0 {
		l, err := parse(line)
		if err != nil {
			return fmt.Errorf("%w: its last line: %w", ErrBroken, err)
		}
		t.seq, t.last = l.Seq, sha256.Sum256(line)
	}
	t.size, t.here = end, func() error { return samePlace(path, st) }
	if t.tree != nil {
		if err := t.tree.Resume(int64(t.seq), line, io.NewSectionReader(f, 0, end)); err != nil {
			return err
		}
	}
	return durable.Folder(filepath.Dir(path))
}

// samePlace fails when what stands at path is not the file that was opened. A
// trail that was removed or moved away still takes lines, where nobody looks.
func samePlace(path string, opened fs.FileInfo) error {
	now, err := os.Stat(path)
	if err != nil || !os.SameFile(now, opened) {
		return fmt.Errorf("%w: the audit trail was removed or replaced while it was open", ErrDown)
	}
	return nil
}

// lastLine returns the last complete line, without its end, and where it ends.
func lastLine(f io.ReaderAt, size int64) (line []byte, end int64, err error) {
	const most = 2 * maxLine // a complete line and a torn one
	from := max(0, size-most)
	b := make([]byte, size-from)
	if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("%w: %w", ErrDown, err)
	}
	i := bytes.LastIndexByte(b, '\n')
	if i < 0 && from > 0 {
		return nil, 0, fmt.Errorf("%w: it does not end in lines", ErrBroken)
	}
	if i < 0 {
		return nil, 0, nil
	}
	start := bytes.LastIndexByte(b[:i], '\n') + 1
	if start == 0 && from > 0 {
		return nil, 0, fmt.Errorf("%w: its last line is too long", ErrBroken)
	}
	return b[start:i], from + int64(i) + 1, nil
}

// moveAside copies what follows end to a file of its own and cuts it off.
func moveAside(path string, f *os.File, end, size int64) (beside string, err error) {
	b := make([]byte, size-end)
	if _, err := f.ReadAt(b, end); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		beside = fmt.Sprintf("%s.torn-%d", path, n)
		if err = durable.Write(beside, b); err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return beside, errors.Join(f.Truncate(end), f.Sync())
}
