package issuerhost

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Script is what an issuer sends to a card or token in one transaction.
type Script struct {
	Payer    Payer
	Profile  string
	Version  uint8
	ATC      [2]byte
	AC       [8]byte // the transaction's cryptogram
	First    uint16  // number of the first command in the transaction, from 0
	Commands []Command
}

// Command is one command. Its data is enciphered if a rule for that is named,
// and then covered by the MAC.
type Command struct {
	Header   [5]byte
	Data     []byte
	Encipher emv.Confidentiality // empty: in clear
}

// Signed is a command as it is sent, but for the cut of its MAC: cards take the
// left 4 to 8 bytes.
type Signed struct {
	Header [5]byte
	Data   []byte
	MAC    [8]byte
}

// maxCommands is how many commands one script has.
const maxCommands = 16

// Sign enciphers and signs the commands of a script with common session keys of
// the transaction's cryptogram, counted up by one for each command. Visa's older
// rules, which need a card's key outside the HSM, are not served.
func (s *Service) Sign(ctx context.Context, c access.Caller, q Script) ([]Signed, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVScript, "emv"); err != nil {
		return nil, err
	}
	if len(q.Commands) == 0 || len(q.Commands) > maxCommands || q.First > math.MaxUint16-maxCommands {
		return nil, fmt.Errorf("%w: a script has 1 to %d commands", emv.ErrMalformed, maxCommands)
	}
	f, err := s.find(ctx, c, access.EMVScript, Transaction{Payer: q.Payer, Profile: q.Profile, Version: q.Version})
	if err != nil {
		return nil, err
	}
	for _, u := range q.needs() {
		if f.profile.Master.AES() || !slices.Contains(f.issuer.Extra, u) {
			return nil, f.refuse(ctx, "key", ErrIssuer)
		}
	}
	if err := s.cfg.Gate.Check(ctx, c, access.EMVScript, f.object); err != nil {
		return nil, err
	}
	out := make([]Signed, len(q.Commands))
	for i, cmd := range q.Commands {
		if out[i], err = f.sign(ctx, q, cmd, q.First+uint16(i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (q Script) needs() []keyref.Usage {
	if slices.ContainsFunc(q.Commands, func(c Command) bool { return c.Encipher != "" }) {
		return []keyref.Usage{keyref.IntegrityMaster, keyref.ConfidentialityMaster}
	}
	return []keyref.Usage{keyref.IntegrityMaster}
}

func (f subject) sign(ctx context.Context, q Script, cmd Command, n uint16) (out Signed, err error) {
	out = Signed{Header: cmd.Header, Data: cmd.Data}
	if cmd.Encipher != "" {
		key, err := f.scriptKey(keyref.ConfidentialityMaster, q.AC, n)
		if err != nil {
			return out, err
		}
		if out.Data, err = cmd.Encipher.Encipher(ctx, f.cfg.Keys, key, cmd.Data); err != nil {
			return out, err
		}
	}
	key, err := f.scriptKey(keyref.IntegrityMaster, q.AC, n)
	if err != nil {
		return out, err
	}
	out.MAC, err = emv.Script{Header: cmd.Header, ATC: q.ATC, AC: q.AC, Data: out.Data}.MAC(ctx, f.cfg.Keys, key)
	return out, err
}

func (f subject) scriptKey(u keyref.Usage, ac [8]byte, n uint16) (keyref.Chain, error) {
	master := f.master
	master.Usage = u
	card, err := f.profile.Card(master, f.card)
	if err != nil {
		return card, err
	}
	return card.Then(emv.ScriptStep(ac, n)), nil
}
