package attack

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"github.com/tapvault/tapvault/internal/sim"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/internal/sim/rig"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// forger is a card made from what a phone showed and the purchase master of a
// PSAM: its MAC2 is right. What it cannot make are TAC, credential and proof.
type forger struct {
	fci, file15 []byte
	shown       credential.Presentation
	keys        *softkey.Ring
	pending     cryptogram.Purchase
}

// skim reads a phone as a reader would, up to its presentation.
func skim(ctx context.Context, phone apdu.Transmitter, keys *softkey.Ring) (*forger, error) {
	f := &forger{keys: keys}
	selected, err := apdu.Send(ctx, phone, apdu.Command{INS: 0xA4, P1: 4, Data: []byte{0xA0, 0, 0, 6, 0x32, 1, 1, 5}, Ne: 256})
	if err != nil {
		return nil, err
	}
	if f.file15, err = apdu.Exchange(ctx, phone, apdu.Command{INS: 0xB0, P1: 0x95, Ne: 28}, 28); err != nil {
		return nil, err
	}
	raw, err := apdu.Send(ctx, phone, apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0xDF, P2: 1, Ne: 256})
	if err != nil {
		return nil, err
	}
	f.fci = selected.Data
	f.shown, err = credential.ParsePresentation(raw.Data)
	return f, err
}

// Ready goes on to the next slot that the credential speaks of.
func (f *forger) Ready() error {
	c := f.shown.Credential
	if f.shown.UD.Ctr++; f.shown.UD.Ctr >= c.CtrFirst+uint16(c.CtrCount) {
		f.shown.UD.Ctr = c.CtrFirst
	}
	return nil
}

// Transmit implements [apdu.Transmitter].
func (f *forger) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	cmd, err := apdu.ParseCommand(command)
	if err != nil {
		return nil, err
	}
	switch cmd.INS {
	case 0xA4:
		return apdu.Response{Data: f.fci, SW: apdu.OK}.Bytes(), nil
	case 0xB0:
		return apdu.Response{Data: f.file15, SW: apdu.OK}.Bytes(), nil
	case 0xCA:
		return apdu.Response{Data: f.shown.Bytes(), SW: apdu.OK}.Bytes(), nil
	case 0x50:
		return f.initialize(cmd), nil
	case 0x54:
		return f.debit(ctx, cmd)
	}
	return apdu.Response{SW: apdu.UnknownINS}.Bytes(), nil
}

func (f *forger) initialize(cmd apdu.Command) []byte {
	p := cryptogram.Purchase{Seq: f.shown.UD.Ctr, Amount: binary.BigEndian.Uint32(cmd.Data[1:]), Type: cryptogram.PurchaseCAPP,
		Terminal: [6]byte(cmd.Data[5:])}
	_, _ = rand.Read(p.Rand[:])
	f.pending = p
	b := binary.BigEndian.AppendUint32(nil, uint32(limit))
	b = binary.BigEndian.AppendUint16(b, p.Seq)
	b = append(b, 0, 0, 0, f.shown.UD.KeyVer, 0)
	return apdu.Response{Data: append(b, p.Rand[:]...), SW: apdu.OK}.Bytes()
}

func (f *forger) debit(ctx context.Context, cmd apdu.Command) ([]byte, error) {
	p := f.pending
	p.TermSeq, p.At = binary.BigEndian.Uint32(cmd.Data), cryptogram.DateTime(cmd.Data[4:11])
	master := keyref.Ref{Realm: rig.Realm, Usage: keyref.SlotPurchaseMaster, Version: 1}
	path, err := master.Path(keyref.Factor(f.file15[:8]), keyref.Factor(f.file15[12:20]), f.shown.UD.Bytes())
	if err != nil {
		return nil, err
	}
	_, mac2, err := cryptogram.PurchaseMACs(ctx, f.keys, path, p)
	if err != nil {
		return nil, err
	}
	var tac [4]byte
	_, _ = rand.Read(tac[:])
	return apdu.Response{Data: append(tac[:], mac2[:]...), SW: apdu.OK}.Bytes(), nil
}

// stolenMaster plays what a phone showed, with its device proof, at readers that
// demand one, when that proof is old; and without it.
func stolenMaster(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	buses, err := s.readers(ctx, 'V', 2)
	if err != nil {
		return 0, 0, err
	}
	f, err := s.skimmed(ctx, victim)
	if err != nil {
		return 0, 0, err
	}
	if f.shown.Proof.IsZero() {
		return 0, 0, errors.New("attack: the victim showed no proof")
	}
	if _, err := buses[0].Tap(ctx, victim, fare); err != nil {
		return 0, 0, errors.Join(errors.New("attack: the victim's own tap"), err)
	}
	s.Clock.Advance(10 * time.Minute)
	for range slots {
		if _, err := buses[1].Tap(ctx, f, cap1); err == nil {
			loss += cap1
		}
		_ = f.Ready()
		s.Clock.Advance(every)
	}
	f.shown.Proof = credential.Proof{}
	for range slots {
		if _, err := buses[1].Tap(ctx, f, cap1); err == nil {
			loss += cap1
		}
		_ = f.Ready()
	}
	return 0, loss, nil
}

// stolenMasterSkimmed does that where a credential is enough: every ride is a
// wrong PIN, and the fifth of those ends it.
func stolenMasterSkimmed(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	victim, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	gates, err := s.gates(ctx, 3)
	if err != nil {
		return 0, 0, err
	}
	f, err := s.skimmed(ctx, victim)
	if err != nil {
		return 0, 0, err
	}
	f.shown.Proof = credential.Proof{}
	h, err := s.ride(ctx, raid{riders: []rider{f}, readers: gates, fare: cap1, every: every, until: 3 * hour, first: begin(1)})
	if err == nil && h.taps == 0 {
		err = errors.New("attack: not one forged tap was taken: the forger does not work")
	}
	return guesses(), h.taken, err
}

// skimmed opens a victim's window and skims what his phone shows.
func (s *stage) skimmed(ctx context.Context, victim *sim.Phone) (*forger, error) {
	keys, err := s.Rig.PSAM()
	if err != nil {
		return nil, err
	}
	if err := victim.EnterPIN(victim.PIN); err != nil {
		return nil, err
	}
	victim.Reset()
	return skim(ctx, victim, keys)
}
