package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
)

// hinted is an error with advice for whoever reads the terminal.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

func withHint(err error, hint string) error { return hinted{err, hint} }

// hints are the advice that goes with a kind of failure, where none was given.
var hints = map[fault.Kind]string{
	fault.HSMUnavailable: "`tapvault doctor` looks at module, token, PIN and keys, and says what to mend",
	fault.HSMKey:         "`tapvault keys list` shows every key that the token holds and what is wrong with it",
	fault.StoreDown:      "see store.dsn; `tapvault doctor` looks at the database and says what to mend",
	fault.StoreReadOnly:  "the user who runs tapvault has to own the database, or its file and folder",
	fault.StoreFull:      "make room on the disk of the database; nothing was written in part",
	fault.AuditDown:      "see audit.file: nothing is done that cannot be recorded",
}

func hintFor(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.hint
	}
	if _, lacks := hsm.LacksMechanism(err); lacks {
		return "`tapvault doctor` says all that this module lacks, what that costs, and what to do"
	}
	if errors.Is(err, store.ErrSchema) {
		return "a newer program brought the database so far: run that one, or the database's back-up (docs/operations.md, Upgrading)"
	}
	if errors.Is(err, auditor.ErrForked) {
		return "keep the record and its .checkpoints as they are. One that came with another HSM, or whose newest lines are not here, is not gone on with: " +
			"move audit.file and what begins with its name to another folder, and start a new one (docs/operations.md, Audit record)"
	}
	if h, ok := hints[fault.KindOf(err)]; ok {
		return h
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there; change listen in the configuration, or stop it"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the service started (`tapvault serve`), and listening there? --url names another place"
	case errors.Is(err, fs.ErrPermission):
		return "run tapvault as the user who owns the files"
	}
	return ""
}
