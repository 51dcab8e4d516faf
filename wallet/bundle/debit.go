package bundle

import (
	"context"
	"encoding/binary"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Names of a slot's two keys in the ring that one debit lives with.
var (
	dpk = keyref.Path{Key: keyref.Ref{Realm: "slot", Usage: keyref.PurchaseMaster, Version: 1}}
	dtk = keyref.Path{Key: keyref.Ref{Realm: "slot", Usage: keyref.FoldedTAC, Version: 1}}
)

// debit spends the slot of the pending purchase when MAC1 is right. Its order
// is the guarantee of this package: check, compute, commit, erase, answer.
func (c *Card) debit(ctx context.Context, cmd apdu.Command) ([]byte, apdu.Status) {
	switch {
	case cmd.P1 != 1 || cmd.P2 != 0:
		return nil, apdu.WrongP1P2
	case !wants(cmd, debitLen, 8):
		return nil, apdu.WrongLength
	}
	pend := c.session.pending
	c.session.pending = nil // one debit for one initialisation, whatever comes of it
	if pend == nil {
		return nil, apdu.OutOfOrder
	}
	s := c.live()
	if s == nil || s.UD != pend.ud {
		return nil, apdu.Conditions
	}
	p := pend.purchase
	p.TermSeq = binary.BigEndian.Uint32(cmd.Data)
	p.At = cryptogram.DateTime(cmd.Data[4:11])
	if p.Validate() != nil {
		return nil, apdu.WrongData
	}
	mac2, tac, sw := macs(ctx, s, p, [4]byte(cmd.Data[11:]))
	if sw != apdu.OK {
		return nil, sw
	}
	rec := Record{Ctr: p.Seq, Amount: p.Amount, Type: p.Type, Terminal: p.Terminal, TermSeq: p.TermSeq, At: p.At}
	err := c.cfg.Journal.Commit(rec)
	c.erase()
	if err != nil { // kept or not, nobody can tell: the slot is gone and nothing is answered
		return nil, apdu.MemoryFailure
	}
	c.last = answer{seq: p.Seq, typ: p.Type, until: c.cfg.Now().Add(proveFor)}
	copy(c.last.proof[:4], mac2[:])
	copy(c.last.proof[4:], tac[:])
	return append(append([]byte(nil), tac[:]...), mac2[:]...), apdu.OK
}

// erase zeroes the first live slot and drops it.
func (c *Card) erase() {
	c.slots[0] = payload.Slot{}
	c.slots = c.slots[1:]
}

// macs checks MAC1 and computes the card's answer.
func macs(ctx context.Context, s *payload.Slot, p cryptogram.Purchase, got [4]byte) (mac2, tac [4]byte, sw apdu.Status) {
	var ring softkey.Ring
	defer ring.Close()
	if ring.ImportScratch(ctx, dpk.Key, s.Purchase[:]) != nil || ring.ImportScratch(ctx, dtk.Key, s.TAC[:]) != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	mac1, mac2, err := cryptogram.PurchaseMACs(ctx, &ring, dpk, p)
	if err != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	if !cryptogram.Match(mac1, got) {
		return mac2, tac, apdu.BadMAC
	}
	tac, err = cryptogram.TAC(ctx, &ring, dtk, cryptogram.TACFold, p)
	if err != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	return mac2, tac, apdu.OK
}
