package applet

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"io"
	"slices"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/payload"
)

const (
	label    = "MOT_T_EP"
	maxCache = 4 << 10
	maxBad   = 10 // MAC1 that may fail before a PIN is needed anew
)

// answer dispatches on class and instruction.
func (e *Element) answer(ctx context.Context, cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.CLA == 0x00 && cmd.INS == 0xA4:
		return e.selectAID(cmd)
	case cmd.CLA != 0x00 && cmd.CLA != 0x80 && cmd.CLA != 0x84:
		return nil, apdu.UnknownCLA
	case !e.session.selected:
		return nil, apdu.Conditions
	case cmd.CLA == 0x84 && cmd.INS == 0xE2:
		return e.script(cmd)
	case cmd.CLA == 0x80 && cmd.INS == 0xE4:
		return e.receipt(cmd)
	case cmd.CLA == 0x84:
		return nil, apdu.UnknownINS
	case e.now.State != message.Issued:
		return nil, apdu.Conditions
	case cmd.CLA == 0x00 && cmd.INS == 0xB0:
		return e.readBinary(cmd)
	case cmd.CLA == 0x00 && cmd.INS == 0x20:
		return e.verify(cmd)
	}
	if cmd.CLA != 0x80 {
		return nil, apdu.UnknownINS
	}
	switch cmd.INS {
	case 0xCA:
		return e.getData(cmd)
	case 0x50:
		return e.initialize(cmd)
	case 0xDC:
		return e.updateCache(cmd)
	case 0x54:
		return e.debit(ctx, cmd)
	case 0x5A:
		return e.repeat(cmd)
	case 0x5C:
		return e.getBalance(cmd)
	}
	return nil, apdu.UnknownINS
}

func wants(cmd apdu.Command, n, le int) bool {
	return len(cmd.Data) == n && (cmd.Ne == le || cmd.Ne == 256 || n > 0 && cmd.Ne == 0)
}

// selectAID starts a tap. What a right PIN opened stays: it was entered before.
func (e *Element) selectAID(cmd apdu.Command) ([]byte, apdu.Status) {
	if cmd.P1 != 4 || cmd.P2 != 0 {
		return nil, apdu.WrongP1P2
	}
	aid := e.now.App.AID
	if len(aid) == 0 {
		aid = e.cfg.AID
	}
	e.session = session{taps: e.session.taps, last: e.session.last}
	if !bytes.Equal(cmd.Data, aid) {
		return nil, apdu.FileNotFound
	}
	e.session.selected = true
	return tlv(0x6F, append(tlv(0x84, aid), tlv(0xA5, tlv(0x50, []byte(label)))...)), apdu.OK
}

// tlv holds for contents under 128 bytes, which all of ours are.
func tlv(tag byte, value []byte) []byte { return append([]byte{tag, byte(len(value))}, value...) }

// readBinary reads file 15, by its short identifier.
func (e *Element) readBinary(cmd apdu.Command) ([]byte, apdu.Status) {
	a := &e.now.App
	f := append(a.Issuer[:8:8], a.AppType, a.AppVersion)
	f = append(append(append(f, a.ASN[:]...), a.From[:]...), a.To[:]...)
	switch {
	case cmd.P1 != 0x80|0x15:
		return nil, apdu.FileNotFound
	case int(cmd.P2) > len(f):
		return nil, apdu.WrongOffset
	case len(cmd.Data) > 0 || cmd.Ne == 0 || cmd.Ne != 256 && cmd.Ne > len(f)-int(cmd.P2):
		return nil, apdu.WrongLength
	case cmd.Ne == 256:
		return f[cmd.P2:], apdu.OK
	}
	return f[cmd.P2:][:cmd.Ne], apdu.OK
}

// verify judges a PIN. The try is gone before the PIN is looked at, so that no
// cut of power gives one back.
func (e *Element) verify(cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.P1 != 0 || cmd.P2 != 0:
		return nil, apdu.WrongP1P2
	case e.now.Tries == 0 || len(e.now.PIN) == 0:
		return nil, apdu.Blocked
	case len(cmd.Data) != len(e.now.PIN):
		return nil, apdu.WrongLength
	}
	e.session.taps = 0
	next := e.now
	next.Tries--
	if !e.keep(next) {
		return nil, apdu.MemoryFailure
	}
	if subtle.ConstantTimeCompare(cmd.Data, e.now.PIN) != 1 {
		if e.now.Tries == 0 {
			return nil, apdu.Blocked
		}
		return nil, apdu.Status(0x63C0) | apdu.Status(e.now.Tries)
	}
	next.Tries, next.BadMAC = pinTries, 0
	if !e.keep(next) {
		return nil, apdu.MemoryFailure
	}
	e.session.taps = windowTaps
	return nil, apdu.OK
}

// getData shows the next live slot with the issuer's word for it.
func (e *Element) getData(cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.P1 != 0xDF || cmd.P2 != 1:
		return nil, apdu.KeyNotFound
	case !wants(cmd, 0, credential.PresentationSize):
		return nil, apdu.WrongLength
	}
	s := e.live()
	if s == nil {
		return nil, apdu.Conditions
	}
	c, err := credential.Parse(e.now.Credits[s.Grant])
	if err != nil {
		return nil, apdu.MemoryFailure
	}
	return credential.Presentation{UD: s.UD, Credential: c}.Bytes(), apdu.OK
}

// initialize names the slot, the balance and a fresh random number.
func (e *Element) initialize(cmd apdu.Command) ([]byte, apdu.Status) {
	typ := cryptogram.PurchasePurse
	switch {
	case cmd.P1 == 1 && cmd.P2 == 2:
	case cmd.P1 == 3 && cmd.P2 == 2:
		typ = cryptogram.PurchaseCAPP
	case cmd.P1 == 0 || cmd.P1 == 4 || cmd.P1 == 5: // it is loaded by scripts
		return nil, apdu.Conditions
	default:
		return nil, apdu.WrongP1P2
	}
	e.session.pending, e.session.cache = nil, 0
	s := e.live()
	switch {
	case !wants(cmd, 11, 15):
		return nil, apdu.WrongLength
	case cmd.Data[0] != 1:
		return nil, apdu.KeyIndex
	case s == nil:
		return nil, apdu.Conditions
	}
	p := cryptogram.Purchase{Seq: s.UD.Ctr, Amount: binary.BigEndian.Uint32(cmd.Data[1:]), Type: typ, Terminal: [6]byte(cmd.Data[5:])}
	if uint64(p.Amount) > uint64(s.UD.Limit()) {
		return nil, apdu.Insufficient
	}
	if _, err := io.ReadFull(e.cfg.Rand, p.Rand[:]); err != nil {
		return nil, apdu.MemoryFailure
	}
	e.session.pending = &pending{p, s.UD, e.balance()}
	b := binary.BigEndian.AppendUint32(nil, e.session.pending.balance)
	b = append(binary.BigEndian.AppendUint16(b, p.Seq), 0, 0, 0, e.now.App.KeyVersion, e.now.App.Algorithm)
	return append(b, p.Rand[:]...), apdu.OK
}

func (e *Element) updateCache(cmd apdu.Command) ([]byte, apdu.Status) {
	p := e.session.pending
	switch {
	case len(cmd.Data) == 0 || e.session.cache+len(cmd.Data) > maxCache:
		return nil, apdu.WrongLength
	case p == nil || p.purchase.Type != cryptogram.PurchaseCAPP:
		return nil, apdu.Conditions
	}
	e.session.cache += len(cmd.Data)
	return nil, apdu.OK
}

// debit spends the slot of the pending purchase when MAC1 is right: check,
// compute, remember, answer.
func (e *Element) debit(ctx context.Context, cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.P1 != 1 || cmd.P2 != 0:
		return nil, apdu.WrongP1P2
	case !wants(cmd, 15, 8):
		return nil, apdu.WrongLength
	}
	pend, s := e.session.pending, e.live()
	e.session.pending = nil
	switch {
	case pend == nil:
		return nil, apdu.OutOfOrder
	case s == nil || s.UD != pend.ud:
		return nil, apdu.Conditions
	}
	p := pend.purchase
	p.TermSeq, p.At = binary.BigEndian.Uint32(cmd.Data), cryptogram.DateTime(cmd.Data[4:11])
	if p.Validate() != nil {
		return nil, apdu.WrongData
	}
	mac1 := [4]byte(cmd.Data[11:])
	mac2, tac, sw := e.macs(ctx, s.UD, p, mac1)
	if sw != apdu.OK {
		return nil, sw
	}
	guarded := s.UD.Class != credential.Express
	if !e.keep(e.paid(s.UD, p, pend.balance, mac1, mac2, tac)) {
		return nil, apdu.MemoryFailure
	}
	if guarded {
		e.session.taps--
	}
	e.session.last = answer{known: true, seq: p.Seq, typ: p.Type}
	copy(e.session.last.proof[:4], mac2[:])
	copy(e.session.last.proof[4:], tac[:])
	return append(append([]byte(nil), tac[:]...), mac2[:]...), apdu.OK
}

// paid is the state after a purchase.
func (e *Element) paid(u credential.UD, p cryptogram.Purchase, balance uint32, mac1, mac2, tac [4]byte) state {
	c, _ := credential.Parse(e.now.Credits[0]) // the number is one in all of them
	a := &e.now.App
	tap := payload.Tap{Terminal: p.Terminal, Issuer: a.Issuer, Number: c.Number, UD: u, Rand: p.Rand, Seq: p.Seq, Amount: token.Amount(p.Amount),
		Type: byte(p.Type), TermSeq: p.TermSeq, At: p.At, KeyVersion: a.KeyVersion, Algorithm: a.Algorithm, Balance: balance,
		MAC1: mac1, MAC2: mac2, TAC: tac}
	next := e.now.without(u.Ctr)
	next.BadMAC = 0
	next.Taps = append(slices.Clone(next.Taps), tap.Bytes())
	next.Taps = next.Taps[max(0, len(next.Taps)-message.MaxSlots):]
	return next
}

// macs checks MAC1 and computes the answer, with keys that it makes for the one
// slot.
func (e *Element) macs(ctx context.Context, u credential.UD, p cryptogram.Purchase, got [4]byte) (mac2, tac [4]byte, sw apdu.Status) {
	var ring softkey.Ring
	defer ring.Close()
	key := func(usage keyref.Usage, k [16]byte) (keyref.Path, error) {
		ref := keyref.Ref{Realm: "element", Usage: usage, Version: 1}
		if err := ring.ImportScratch(ctx, ref, k[:]); err != nil {
			return keyref.Path{}, err
		}
		return ref.Path(u.Bytes())
	}
	dpk, err := key(keyref.PurchaseMaster, e.now.Purchase)
	if err != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	mac1, mac2, err := cryptogram.PurchaseMACs(ctx, &ring, dpk, p)
	if err != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	if !cryptogram.Match(mac1, got) {
		return mac2, tac, e.badMAC()
	}
	dtk, err := key(keyref.TACMaster, e.now.TAC)
	if err == nil {
		tac, err = cryptogram.TAC(ctx, &ring, dtk, cryptogram.TACFold, p)
	}
	if err != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	return mac2, tac, apdu.OK
}

// badMAC counts MAC1 that did not hold; too many end what a PIN opened.
func (e *Element) badMAC() apdu.Status {
	next := e.now
	next.BadMAC = min(next.BadMAC+1, maxBad)
	if !e.keep(next) {
		return apdu.MemoryFailure
	}
	if next.BadMAC >= maxBad {
		e.session.taps = 0
	}
	return apdu.BadMAC
}

// repeat gives the last answer again, to a reader that did not hear it, until
// power is lost.
func (e *Element) repeat(cmd apdu.Command) ([]byte, apdu.Status) {
	switch l := e.session.last; {
	case cmd.P1 != 0:
		return nil, apdu.WrongP1P2
	case !wants(cmd, 2, 8):
		return nil, apdu.WrongLength
	case !l.known || binary.BigEndian.Uint16(cmd.Data) != l.seq || cmd.P2 != byte(l.typ):
		return nil, apdu.ProofUnavailable
	default:
		return l.proof[:], apdu.OK
	}
}

func (e *Element) getBalance(cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.P2 != 2 || cmd.P1 != 0 && cmd.P1 != 3:
		return nil, apdu.WrongP1P2
	case !wants(cmd, 0, 4):
		return nil, apdu.WrongLength
	}
	return binary.BigEndian.AppendUint32(nil, e.balance()), apdu.OK
}
