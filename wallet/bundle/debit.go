package bundle

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
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
	tap, sw := c.pay(ctx, s, p, pend.balance, [4]byte(cmd.Data[11:]))
	if sw != apdu.OK {
		return nil, sw
	}
	rec := Record{Ctr: p.Seq, Amount: p.Amount, Type: p.Type, Terminal: p.Terminal, TermSeq: p.TermSeq, At: p.At}
	var err error
	if c.cfg.Seal != nil {
		rec.Sealed, err = c.cfg.Seal(tap)
	}
	if err == nil {
		err = c.cfg.Journal.Commit(rec)
	}
	c.erase(p.Seq)
	if err != nil { // kept or not, nobody can tell: the slot is gone and nothing is answered
		return nil, apdu.MemoryFailure
	}
	c.last = answer{seq: p.Seq, typ: p.Type, until: c.cfg.Now().Add(proveFor)}
	copy(c.last.proof[:4], tap.MAC2[:])
	copy(c.last.proof[4:], tap.TAC[:])
	return append(append([]byte(nil), tap.TAC[:]...), tap.MAC2[:]...), apdu.OK
}

// pay computes the answer to a debit, and with it all that is known of the tap.
func (c *Card) pay(ctx context.Context, s *slot, p cryptogram.Purchase, balance uint32, mac1 [4]byte) (payload.Tap, apdu.Status) {
	mac2, tac, sw := macs(ctx, s, p, mac1, c.unmask)
	switch {
	case sw == apdu.BadMAC:
		if c.window.bad++; c.window.bad >= maxBad {
			c.window.close()
		}
		return payload.Tap{}, sw
	case sw != apdu.OK:
		return payload.Tap{}, sw
	}
	if s.guarded() {
		if c.window.taps--; c.window.taps <= 0 {
			c.window.close()
		}
	}
	card := &s.of.card
	return payload.Tap{Terminal: p.Terminal, Issuer: card.Issuer, Number: s.of.cred.Number, UD: s.UD, Rand: p.Rand, Seq: p.Seq,
		Amount: token.Amount(p.Amount), Type: byte(p.Type), TermSeq: p.TermSeq, At: p.At, KeyVersion: card.KeyVersion,
		Algorithm: card.Algorithm, Balance: balance, MAC1: mac1, MAC2: mac2, TAC: tac}, apdu.OK
}

// unmask copies the TAC key of one slot and takes its mask off. It cannot tell
// whether what comes out is the key.
func (c *Card) unmask(s *slot) (key [payload.KeySize]byte, err error) {
	key = s.TAC
	if s.guarded() {
		err = mask.Apply(&key, &c.window.secret, s.of.hw, mask.Slot{Bundle: s.of.id, Ctr: s.UD.Ctr})
	}
	return key, err
}

// erase zeroes a live slot and drops it.
func (c *Card) erase(ctr uint16) {
	i := slices.IndexFunc(c.slots, func(s slot) bool { return s.UD.Ctr == ctr })
	if i < 0 {
		return
	}
	c.slots[i].Slot = payload.Slot{}
	c.slots = slices.Delete(c.slots, i, i+1)
	c.spent[ctr] = true
}

// macs checks MAC1 and computes the card's answer. The mask comes off after
// MAC1 has held: a reader that makes it up costs nothing.
func macs(ctx context.Context, s *slot, p cryptogram.Purchase, got [4]byte, unmask func(*slot) ([payload.KeySize]byte, error)) (mac2, tac [4]byte, sw apdu.Status) {
	var ring softkey.Ring
	defer ring.Close()
	if ring.ImportScratch(ctx, dpk.Key, s.Purchase[:]) != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	mac1, mac2, err := cryptogram.PurchaseMACs(ctx, &ring, dpk, p)
	if err != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	if !cryptogram.Match(mac1, got) {
		return mac2, tac, apdu.BadMAC
	}
	key, err := unmask(s)
	defer clear(key[:])
	if err != nil || ring.ImportScratch(ctx, dtk.Key, key[:]) != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	tac, err = cryptogram.TAC(ctx, &ring, dtk, cryptogram.TACFold, p)
	if err != nil {
		return mac2, tac, apdu.MemoryFailure
	}
	return mac2, tac, apdu.OK
}
