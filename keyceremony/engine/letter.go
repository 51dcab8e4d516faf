package engine

import (
	"bytes"
	"fmt"
	"path/filepath"

	"github.com/tapvault/tapvault/keyceremony/script"
)

// hexDigits writes upper-case hex in groups of four, without a copy that stays.
func hexDigits(b []byte) []byte {
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(b)*5/2+1)
	for i, x := range b {
		if i > 0 && i%2 == 0 {
			out = append(out, ' ')
		}
		out = append(out, digits[x>>4], digits[x&15])
	}
	return out
}

// WriteLetter writes a letter into a folder of its one custodian, in a file
// that no other letter is ever in, and returns its name below dir.
func WriteLetter(dir string, l Letter, rehearsal bool) (string, error) {
	s := l.Step
	name := filepath.Join(s.Who, fmt.Sprintf("%s-%s-%s.txt", l.Plan.Script.Ceremony, s.Key, l.Serial))
	if s.Key == script.BackupName {
		name = filepath.Join(s.Who, fmt.Sprintf("%s-backup-share-%s.txt", l.Plan.Script.Ceremony, l.Serial))
	}
	var b bytes.Buffer
	if rehearsal {
		b.WriteString("REHEARSAL: this is for nothing else\n\n")
	}
	what := fmt.Sprintf("component %d of %d of the key %s", s.Part, s.Parts, s.Key)
	if s.Key == script.BackupName {
		what = fmt.Sprintf("share %d of %d of the key that opens a backup", s.Part, s.Parts)
	}
	fmt.Fprintf(&b, "For %s alone\n\n%s\nceremony     %s, attempt %d (letters of earlier attempts are void)\nserial       %s\ncheck value  %s\n\n",
		s.Who, what, l.Plan.Script.Ceremony, l.Attempt, l.Serial, l.Check)
	digits := hexDigits(l.Value)
	defer clear(digits)
	b.Write(digits)
	b.WriteString("\n\nPrint it, seal it, delete this file, and tell nobody. Type the digits only into\na ceremony that names this key, and read the check value back.\n")
	text := b.Bytes()
	defer clear(text)
	return name, writeNew(filepath.Join(dir, name), text)
}
