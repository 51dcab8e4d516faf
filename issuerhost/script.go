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
	Rule     Rule
	First    uint16 // number of the first command in the transaction, from 0
	Commands []Command
}

// Rule says which session keys a script has.
type Rule string

// Rules.
const (
	RuleCommon Rule = ""     // of the transaction's cryptogram, counted up for each command
	RuleVisa   Rule = "visa" // CVN 10 and 18: the card's key xor the counter, in memory
)

// Command is one command. Its data is enciphered if a rule for that is named,
// and then covered by the MAC.
type Command struct {
	Header   [5]byte
	Data     []byte
	PIN      string              // sealed, in the place of data, for a card's new PIN; enciphered
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

// Sign enciphers and signs the commands of a script. Visa's older rules need a
// card's key in memory and are refused unless [Config.Reveal] is there. A token
// has no PIN and no keys that leave: both are for cards.
func (s *Service) Sign(ctx context.Context, c access.Caller, q Script) ([]Signed, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVScript, "emv"); err != nil {
		return nil, err
	}
	return s.script(ctx, c, q)
}

// SignedItem is what became of one script of a batch.
type SignedItem struct {
	Commands []Signed
	Err      error
}

// SignBatch signs up to [MaxBatch] scripts, each by itself.
func (s *Service) SignBatch(ctx context.Context, c access.Caller, qs []Script) ([]SignedItem, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVScript, "batch"); err != nil {
		return nil, err
	}
	if len(qs) == 0 || len(qs) > MaxBatch {
		return nil, fmt.Errorf("%w: a batch holds 1 to %d scripts", emv.ErrMalformed, MaxBatch)
	}
	items := make([]SignedItem, len(qs))
	inLanes(len(qs), func(i int) { items[i].Commands, items[i].Err = s.script(ctx, c, qs[i]) })
	return items, nil
}

func (s *Service) script(ctx context.Context, c access.Caller, q Script) ([]Signed, error) {
	switch n := len(q.Commands); {
	case n == 0 || n > maxCommands:
		return nil, fmt.Errorf("%w: a script has 1 to %d commands", emv.ErrMalformed, maxCommands)
	case int(q.First)+n-1 > math.MaxUint16:
		return nil, &emv.FieldError{Field: "first", Wants: "leave a number up to 65535 to each command"}
	}
	f, err := s.find(ctx, c, access.EMVScript, Transaction{Payer: q.Payer, Profile: q.Profile, Version: q.Version})
	if err != nil {
		return nil, err
	}
	if err := f.fitsScript(ctx, q); err != nil {
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

// fitsScript refuses what only cards have to tokens, and what needs a card's key
// in memory where none may be.
func (f subject) fitsScript(ctx context.Context, q Script) error {
	pin := false
	for _, c := range q.Commands {
		if c.PIN != "" && (len(c.Data) > 0 || c.Encipher == "") {
			return fmt.Errorf("%w: a PIN is enciphered, and stands without data", emv.ErrMalformed)
		}
		pin = pin || c.PIN != ""
	}
	switch {
	case f.token != nil && (pin || q.Rule != RuleCommon):
		return f.refuse(ctx, "slot-token", ErrSlotToken)
	case q.Rule == RuleVisa && (f.cfg.Reveal == nil || f.master.Usage != keyref.ACMaster):
		return f.refuse(ctx, "card-keys-stay", ErrIssuer)
	case q.Rule != RuleVisa && q.Rule != RuleCommon:
		return fmt.Errorf("%w: no such rule of scripts", emv.ErrMalformed)
	}
	return nil
}

func (q Script) needs() []keyref.Usage {
	if slices.ContainsFunc(q.Commands, func(c Command) bool { return c.Encipher != "" }) {
		return []keyref.Usage{keyref.IntegrityMaster, keyref.ConfidentialityMaster}
	}
	return []keyref.Usage{keyref.IntegrityMaster}
}

func (f subject) sign(ctx context.Context, q Script, cmd Command, n uint16) (out Signed, err error) {
	out = Signed{Header: cmd.Header, Data: cmd.Data}
	if cmd.PIN != "" {
		b, err := f.pinBlock(ctx, q, cmd.PIN)
		defer clear(b[:])
		if err != nil {
			return out, err
		}
		cmd.Data = b[:]
	}
	if cmd.Encipher != "" {
		err = f.underScriptKey(ctx, keyref.ConfidentialityMaster, q, n, func(k emv.Keys, key keyref.Chain) (err error) {
			out.Data, err = cmd.Encipher.Encipher(ctx, k, key, cmd.Data)
			return err
		})
		if err != nil {
			return out, err
		}
	}
	err = f.underScriptKey(ctx, keyref.IntegrityMaster, q, n, func(k emv.Keys, key keyref.Chain) (err error) {
		out.MAC, err = emv.Script{Header: cmd.Header, ATC: q.ATC, AC: q.AC, Data: out.Data}.MAC(ctx, k, key)
		return err
	})
	return out, err
}

// underScriptKey lends use the session key of the n-th command: inside the HSM
// by the common rule, in memory by Visa's.
func (f subject) underScriptKey(ctx context.Context, u keyref.Usage, q Script, n uint16, use func(emv.Keys, keyref.Chain) error) error {
	master := f.master
	master.Usage = u
	card, err := f.profile.Card(master, f.card)
	switch {
	case err != nil:
		return err
	case q.Rule == RuleVisa:
		return emv.VisaScript(ctx, f.cfg.Reveal, card, q.ATC, func(k emv.Keys) error { return use(k, card) })
	}
	return use(f.cfg.Keys, card.Then(emv.ScriptStep(q.AC, n)))
}
