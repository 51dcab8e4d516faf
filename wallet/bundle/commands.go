package bundle

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/credential"
)

const (
	label      = "MOT_T_EP"
	keyIndex   = 1 // the only purchase key a phone has
	initLength = 11
	debitLen   = 15
)

// answer dispatches on class and instruction.
func (c *Card) answer(ctx context.Context, cmd apdu.Command) ([]byte, apdu.Status) {
	if cmd.CLA != 0x00 && cmd.CLA != 0x80 {
		return nil, apdu.UnknownCLA
	}
	switch {
	case cmd.CLA == 0x00 && cmd.INS == 0xA4:
		return c.selectAID(cmd)
	case cmd.CLA == 0x00 && cmd.INS == 0xB0:
		return c.readBinary(cmd)
	case cmd.CLA == 0x00:
		return nil, apdu.UnknownINS
	}
	switch cmd.INS {
	case 0xCA:
		return c.getData(cmd)
	case 0x50:
		return c.initialize(cmd)
	case 0xDC:
		return c.updateCache(cmd)
	case 0x54:
		return c.debit(ctx, cmd)
	case 0x5A:
		return c.repeat(cmd)
	case 0x5C:
		return c.getBalance(cmd)
	}
	return nil, apdu.UnknownINS
}

// wants reports whether the command has n bytes of data and asks for exactly
// le bytes, for as many as there are, or (in case 3) leaves that out.
func wants(cmd apdu.Command, n, le int) bool {
	return len(cmd.Data) == n && (cmd.Ne == le || cmd.Ne == 256 || n > 0 && cmd.Ne == 0)
}

// selectAID starts a tap.
func (c *Card) selectAID(cmd apdu.Command) ([]byte, apdu.Status) {
	if cmd.P1 != 4 || cmd.P2 != 0 {
		return nil, apdu.WrongP1P2
	}
	c.session = session{}
	aid := c.newest.card.AID
	if !bytes.Equal(cmd.Data, aid) {
		return nil, apdu.FileNotFound
	}
	c.session.selected = true
	return tlv(0x6F, append(tlv(0x84, aid), tlv(0xA5, tlv(0x50, []byte(label)))...)), apdu.OK
}

// tlv holds for contents under 128 bytes, which all of ours are.
func tlv(tag byte, value []byte) []byte {
	return append([]byte{tag, byte(len(value))}, value...)
}

// readBinary reads file 15, by its short identifier.
func (c *Card) readBinary(cmd apdu.Command) ([]byte, apdu.Status) {
	f := c.file15()
	switch {
	case cmd.P1 != 0x80|0x15:
		return nil, apdu.FileNotFound
	case !c.session.selected:
		return nil, apdu.Conditions
	case int(cmd.P2) > len(f):
		return nil, apdu.WrongOffset
	case len(cmd.Data) > 0 || cmd.Ne == 0:
		return nil, apdu.WrongLength
	}
	rest := f[cmd.P2:]
	if cmd.Ne == 256 {
		return rest, apdu.OK
	}
	if cmd.Ne > len(rest) {
		return nil, apdu.WrongLength
	}
	return rest[:cmd.Ne], apdu.OK
}

// file15 is what a reader finds about the issuer and this application.
func (c *Card) file15() []byte {
	card, asn := &c.newest.card, c.newest.cred.Number.ASN()
	f := append(card.Issuer[:8:8], card.AppType, card.AppVersion)
	return append(append(append(f, asn[:]...), card.From[:]...), card.To[:]...)
}

// getData shows the next live slot with the issuer's word for it.
func (c *Card) getData(cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.P1 != 0xDF || cmd.P2 != 1:
		return nil, apdu.KeyNotFound
	case !wants(cmd, 0, credential.PresentationSize):
		return nil, apdu.WrongLength
	}
	s := c.live()
	if s == nil || !c.session.selected {
		return nil, apdu.Conditions
	}
	return credential.Presentation{UD: s.UD, Credential: s.of.cred, Proof: c.prove(s)}.Bytes(), apdu.OK
}

// initialize names the slot, the balance and a fresh random number.
func (c *Card) initialize(cmd apdu.Command) ([]byte, apdu.Status) {
	typ := cryptogram.Type(0)
	switch {
	case cmd.P1 == 1 && cmd.P2 == 2:
		typ = cryptogram.PurchasePurse
	case cmd.P1 == 3 && cmd.P2 == 2:
		typ = cryptogram.PurchaseCAPP
	case cmd.P1 == 0 || cmd.P1 == 4 || cmd.P1 == 5: // load, overdraft, unload: a phone is loaded by its account
		return nil, apdu.Conditions
	default:
		return nil, apdu.WrongP1P2
	}
	c.session.pending, c.session.cache = nil, 0
	s := c.live()
	switch {
	case !wants(cmd, initLength, 15):
		return nil, apdu.WrongLength
	case cmd.Data[0] != keyIndex:
		return nil, apdu.KeyIndex
	case s == nil || !c.session.selected:
		return nil, apdu.Conditions
	}
	p := cryptogram.Purchase{Seq: s.UD.Ctr, Amount: binary.BigEndian.Uint32(cmd.Data[1:]), Type: typ, Terminal: [6]byte(cmd.Data[5:])}
	if uint64(p.Amount) > uint64(s.UD.Limit()) {
		return nil, apdu.Insufficient
	}
	if _, err := io.ReadFull(c.cfg.Rand, p.Rand[:]); err != nil {
		return nil, apdu.MemoryFailure
	}
	c.session.pending = &pending{p, s.UD, c.balance()}
	b := binary.BigEndian.AppendUint32(nil, c.session.pending.balance)
	b = binary.BigEndian.AppendUint16(b, p.Seq)
	b = append(b, 0, 0, 0, s.of.card.KeyVersion, s.of.card.Algorithm) // no overdraft
	return append(b, p.Rand[:]...), apdu.OK
}

// updateCache takes the travel data of a composite purchase. No MAC covers it;
// it lives as long as the tap.
func (c *Card) updateCache(cmd apdu.Command) ([]byte, apdu.Status) {
	p := c.session.pending
	switch {
	case len(cmd.Data) == 0 || c.session.cache+len(cmd.Data) > maxCache:
		return nil, apdu.WrongLength
	case p == nil || p.purchase.Type != cryptogram.PurchaseCAPP:
		return nil, apdu.Conditions
	}
	c.session.cache += len(cmd.Data)
	return nil, apdu.OK
}

func (c *Card) getBalance(cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.P2 != 2 || cmd.P1 != 0 && cmd.P1 != 3:
		return nil, apdu.WrongP1P2
	case !wants(cmd, 0, 4):
		return nil, apdu.WrongLength
	case !c.session.selected:
		return nil, apdu.Conditions
	}
	return binary.BigEndian.AppendUint32(nil, c.balance()), apdu.OK
}

// repeat gives the last answer again, to a reader that did not hear it.
func (c *Card) repeat(cmd apdu.Command) ([]byte, apdu.Status) {
	if cmd.P1 != 0 {
		return nil, apdu.WrongP1P2
	}
	if !wants(cmd, 2, 8) {
		return nil, apdu.WrongLength
	}
	known := binary.BigEndian.Uint16(cmd.Data) == c.last.seq && cmd.P2 == byte(c.last.typ)
	if !known || !c.cfg.Now().Before(c.last.until) {
		return nil, apdu.ProofUnavailable
	}
	return c.last.proof[:], apdu.OK
}
