package archive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

var (
	pass = []byte("correct horse battery staple")
	noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)
)

func write(t testing.TB, records ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := create(&b, pass, header{CreatedAt: noon, Time: 1, MemoryKiB: 8 << 10, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Write([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(file, passphrase []byte) (records []string, err error) {
	r, err := Open(bytes.NewReader(file), passphrase)
	for err == nil {
		var b []byte
		if b, err = r.Next(); err == nil {
			records = append(records, string(b))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return records, err
}

func many() (records []string) {
	for i := range 40 {
		records = append(records, fmt.Sprint(i, strings.Repeat("x", 5000)))
	}
	return records
}

func TestRoundTrip(t *testing.T) {
	for name, records := range map[string][]string{"nothing": nil, "an empty one": {""}, "a few": {"a", "", "b"}, "several frames": many(),
		"a long one": {strings.Repeat("y", MaxRecord)}, "one behind a frame that is all but full": {strings.Repeat("x", chunkSize-5), strings.Repeat("y", MaxRecord), "z"}} {
		got, err := read(write(t, records...), pass)
		if err != nil || strings.Join(got, "|") != strings.Join(records, "|") || len(got) != len(records) {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
	if bytes.Contains(write(t, "6228480000000017"), []byte("6228480000000017")) {
		t.Error("a record can be read in the file")
	}
}

// TestChangedFiles: nothing of a file can be changed unseen.
func TestChangedFiles(t *testing.T) {
	file := write(t, many()...)
	head := bytes.IndexByte(file, '\n') + 1
	first := head + 4 + int(file[head])<<24 + int(file[head+1])<<16 + int(file[head+2])<<8 + int(file[head+3])
	change := func(at int) []byte { b := bytes.Clone(file); b[at] ^= 1; return b }
	for name, x := range map[string]struct {
		file, pass []byte
		want       error
	}{
		"another passphrase":   {file, []byte("another passphrase"), ErrSealed},
		"a short one":          {file, []byte("short"), ErrPassphrase},
		"a bit of a frame":     {change(head + 100), pass, ErrSealed},
		"a bit of the end":     {change(len(file) - 1), pass, ErrSealed},
		"a digit of the date":  {bytes.Replace(file, []byte("2026"), []byte("2027"), 1), pass, ErrSealed},
		"the first frame gone": {append(bytes.Clone(file[:head]), file[first:]...), pass, ErrSealed},
		"the end cut off":      {file[:len(file)-10], pass, ErrCut},
		"only the first frame": {file[:first], pass, ErrCut},
		"more after it":        {append(bytes.Clone(file), 0), pass, ErrCut},
		"a length of 4 GiB":    {append(bytes.Clone(file[:head]), 255, 255, 255, 255), pass, ErrFormat},
		"no file":              {nil, pass, ErrFormat},
		"another file":         {[]byte("SQLite format 3\n"), pass, ErrFormat},
		"a costly key":         {bytes.Replace(file, []byte(`"time":1`), []byte(`"time":1000000`), 1), pass, ErrFormat},
	} {
		if _, err := read(x.file, x.pass); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var b bytes.Buffer
	if _, err := Create(&b, []byte("short"), noon, rand.Reader); !errors.Is(err, ErrPassphrase) || b.Len() > 0 {
		t.Errorf("a short passphrase: %v", err)
	}
}

// TestBounds: what can be sealed is what can be opened, to the byte.
func TestBounds(t *testing.T) {
	var b bytes.Buffer
	cost := header{CreatedAt: noon, Time: 1, MemoryKiB: 8 << 10, Threads: 1}
	for length, want := range map[int]error{15: ErrPassphrase, 16: nil, 1024: nil, 1025: ErrPassphrase} {
		secret := bytes.Repeat([]byte("p"), length)
		if err := CheckPassphrase(secret); !errors.Is(err, want) {
			t.Errorf("a passphrase of %d bytes: %v", length, err)
		}
		if _, err := create(&b, secret, cost, rand.Reader); !errors.Is(err, want) {
			t.Errorf("sealing under one of %d bytes: %v", length, err)
		}
	}
	w, err := create(&b, pass, cost, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(make([]byte, MaxRecord+1)); err == nil {
		t.Error("a record is sealed that is longer than any may be")
	}
	for name, edit := range map[string]func(*header){
		"no time": func(h *header) { h.Time = 0 }, "too much time": func(h *header) { h.Time = 17 },
		"little memory": func(h *header) { h.MemoryKiB = 8<<10 - 1 }, "too much memory": func(h *header) { h.MemoryKiB = 1<<20 + 1 },
		"no thread": func(h *header) { h.Threads = 0 }, "too many threads": func(h *header) { h.Threads = 17 },
		"little salt": func(h *header) { h.Salt = h.Salt[1:] }, "too much salt": func(h *header) { h.Salt = make([]byte, 65) },
		"another format": func(h *header) { h.Format += "1" }, "another derivation": func(h *header) { h.KDF = "argon2i" },
	} {
		h := cost
		h.Format, h.KDF, h.Salt = format, "argon2id", make([]byte, 16)
		edit(&h)
		if _, err := h.key(pass); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// full is a disk that takes nothing from one write to another.
type full struct {
	bytes.Buffer
	writes, from, to int
}

func (f *full) Write(b []byte) (int, error) {
	if f.writes++; f.writes > f.from && f.writes <= f.to {
		return 0, io.ErrShortWrite
	}
	return f.Buffer.Write(b)
}

// TestFullDisk: of an export whose disk was full for a while nothing opens behind what is
// missing, though its writer went on.
func TestFullDisk(t *testing.T) {
	for name, disk := range map[string]*full{"a frame": {from: 3, to: 4}, "the body of one": {from: 4, to: 5}} {
		w, err := create(disk, pass, header{CreatedAt: noon, Time: 1, MemoryKiB: 8 << 10, Threads: 1}, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, r := range many() {
			if err := w.Write([]byte(r)); errors.Is(err, io.ErrShortWrite) {
				failed++
			}
		}
		if err := w.Close(); err != nil || failed != 1 {
			t.Fatalf("%s: %d writes failed, %v", name, failed, err)
		}
		if got, err := read(disk.Bytes(), pass); err == nil || len(got) > 14 {
			t.Errorf("%s is missing: %d records, %v", name, len(got), err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(write(f, "a", "b"))
	f.Add([]byte(`{"format":"tapvault-export-1","kdf":"argon2id"}` + "\n"))
	cheap := []byte(`{"format":"tapvault-export-1","kdf":"argon2id","time":1,"memory_kib":8192,"threads":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}` + "\n")
	f.Add(append(cheap, 0, 0, 0, 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte("memory_kib")) && !bytes.HasPrefix(b, cheap) {
			return // keys that cost seconds
		}
		if records, err := read(b, pass); err == nil && len(records) > 0 && !bytes.HasPrefix(b, []byte("{")) {
			t.Error("a file without a header was opened")
		}
	})
}
