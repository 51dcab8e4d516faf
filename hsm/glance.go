//go:build cgo

package hsm

import (
	"errors"
	"slices"
	"time"

	"github.com/miekg/pkcs11"
)

// SoftHSM keeps a token in files, and writes one of them anew at every login, in
// any process. A process that reads it at that moment finds no token, or one without
// a PIN, and may not look again until it initialises the module anew.

// softHSMProject is who makes SoftHSM's slots and tokens, by their own words.
const softHSMProject = "SoftHSM project"

// glances is how often a token is looked for again that does not seem to be
// there, and glance how long after the first time; each wait is twice as long.
const (
	glances = 7
	glance  = 4 * time.Millisecond
)

// misread reports whether err may come of a token that another process wrote at
// the moment in which the module read it.
func (m *module) misread(err error) bool {
	if errors.As(err, new(odd)) {
		return false
	}
	if !errors.Is(err, errNoToken) && !errors.Is(err, errNoPIN) && code(err) != pkcs11.CKR_GENERAL_ERROR {
		return false
	}
	return m.softHSM()
}

// softHSM reports whether m is SoftHSM, or has a slot of one behind it, as p11-kit's
// proxy may.
func (m *module) softHSM() bool {
	about, err := m.ctx.GetInfo()
	if err == nil && about.ManufacturerID == "SoftHSM" {
		return true
	}
	slots, err := m.ctx.GetSlotList(false)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(slots, func(s uint) bool {
		info, err := m.ctx.GetSlotInfo(s)
		return err == nil && info.ManufacturerID == softHSMProject
	})
}

// glance does what needs the files of tokens to be read whole, until they are. The
// module is initialised anew for each look: m.turn must be held, and nobody may use
// a token of it.
func (m *module) glance(look func() error) error {
	for try := 0; ; try++ {
		err := look()
		if try == glances || !m.misread(err) {
			return err
		}
		time.Sleep(glance << try)
		if err := m.restart(); err != nil {
			return err
		}
	}
}

// see reads every token that is open.
func (m *module) see() error {
	for _, t := range m.tokens {
		if _, _, err := m.slot(t.cfg.Token); err != nil {
			return err
		}
	}
	return nil
}
