package main

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/terminal"
)

const (
	programHint = "--bin names the program tapvault, as `make build` makes it"
	folderHint  = "--dir is the folder of a rehearsal, as `tapvault init DIR` makes it"
	anotherHint = "--dir and --url have to be of one service: its folder, and where it listens (`listen` in tapvault.yaml)"
)

// advice says what to do about a failure, by what it is.
var advice = []struct {
	is   error
	hint string
}{
	{syscall.ECONNREFUSED, "is the service started (`tapvault serve` in the folder of --dir)? --url names where it listens, as `listen` in tapvault.yaml says"},
	{terminal.OverCap, "a slot pays up to its cap, `slots.cap_fen` in tapvault.yaml: lower --amount"},
	{terminal.Denied, "the token is on the deny list; `tapvault denylist show` in the folder of --dir says for how long"},
	{fs.ErrExist, "it is never overwritten: name another file"},
	{fs.ErrPermission, "run tapsim as the user who made the folder"},
	{hsm.ErrPIN, "the reader's token is that of --dir, with the PIN in its secrets/psam-user.pin: where one of them was changed, make a new folder with `tapvault init`"},
	{hsm.ErrKeyMissing, "the reader's token is that of --dir: where its keys are gone, make a new folder with `tapvault init`"},
}

const doctorHint = "`tapvault doctor` in the folder of --dir looks at all parts of the service, and says what to mend"

// problems are what the service answers, and what to do then.
var problems = map[string]string{
	"unauthenticated":   "`tapvault client list` in the folder of --dir says who is registered and not disabled; a clock that is wrong does it too. " + anotherHint,
	"denied":            "`tapvault client list` in the folder of --dir says what each caller may do",
	"hsm-unavailable":   doctorHint,
	"hsm-key":           doctorHint,
	"store-unavailable": doctorHint,
	"store-read-only":   doctorHint,
	"store-full":        doctorHint,
	"audit-unavailable": doctorHint,
	"card-is-token":     "the simulator's card begins with 6212: `vault.ranges` in tapvault.yaml must not, and `vault.card_ranges` has to",
	"no-range":          "`vault.ranges` in tapvault.yaml needs one whose numbers have 16 digits",
	"range-exhausted":   "`vault.ranges` in tapvault.yaml needs another range",
	"too-fast":          "wait a minute, and try again",
	"overloaded":        "wait a moment, and try again",
	"internal":          "the service's log says why, beside the request id",
}

func hintFor(err error) string {
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return anotherHint
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) && errors.Is(err, fs.ErrNotExist) {
		return missingHint(p.Path)
	}
	for _, a := range advice {
		if errors.Is(err, a.is) {
			return a.hint
		}
	}
	for kind, hint := range problems {
		if client.IsProblem(err, kind) {
			return hint
		}
	}
	if fault.KindOf(err) == fault.HSMUnavailable {
		return "SoftHSM has to be installed: `bash scripts/setup.sh` does that on Debian and Ubuntu"
	}
	return ""
}

// missingHint is for a file of --dir that is not there, or the program of --bin.
func missingHint(path string) string {
	if filepath.Base(path) == "tapvault" {
		return programHint
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tapvault.yaml")); err == nil {
			return "the folder is a rehearsal's, and not whole: make a new one with `tapvault init`"
		}
		if dir == filepath.Dir(dir) {
			return folderHint
		}
	}
}
