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
		"a long one": {strings.Repeat("y", MaxRecord)}} {
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
