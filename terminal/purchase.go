package terminal

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
)

// purchase runs the purchase between module and card: the module's MAC1, the
// card's MAC2 and TAC, the module's word on MAC2. Once the card has answered
// there is evidence, and it is kept whatever the module says: of a tap that
// failed, the issuer learns from it who lied.
func (r *Reader) purchase(ctx context.Context, card apdu.Transmitter, t *Tap) error {
	sam := apdu.Command{CLA: 0x80, INS: 0x70, Data: r.samInit(t).Bytes(), Ne: 8}
	b, err := apdu.Exchange(ctx, r.cfg.Module, sam, 8)
	if err != nil {
		return because(Module, err)
	}
	t.TermSeq, t.MAC1 = binary.BigEndian.Uint32(b), [4]byte(b[4:])
	if err := r.debit(ctx, card, t); err != nil {
		return err
	}
	_, err = apdu.Exchange(ctx, r.cfg.Module, apdu.Command{CLA: 0x80, INS: 0x72, Data: t.MAC2[:]}, 0)
	if err == nil {
		return nil
	}
	why := Module
	var status apdu.StatusError
	if errors.As(err, &status) && status.SW == apdu.BadMAC {
		why = BadMAC2
	}
	return because(why, errors.Join(err, r.fail(*t, why)))
}

// fail keeps the record of a tap that the card debited and the reader refused.
// A plain card has no slot that it could be held against.
func (r *Reader) fail(t Tap, why Refusal) error {
	if !t.Phone {
		return nil
	}
	t.Fail = why
	return r.cfg.Queue.Add(t)
}

// initialize is 8050.
func (r *Reader) initialize(ctx context.Context, card apdu.Transmitter, t *Tap) error {
	c := apdu.Command{CLA: 0x80, INS: 0x50, P1: 1, P2: 2, Ne: 15}
	if t.Type == cryptogram.PurchaseCAPP {
		c.P1 = 3
	}
	c.Data = binary.BigEndian.AppendUint32([]byte{1}, uint32(t.Amount))
	c.Data = append(c.Data, t.Terminal[:]...)
	b, err := apdu.Exchange(ctx, card, c, 15)
	var status apdu.StatusError
	switch {
	case t.Phone && errors.As(err, &status) && status.SW == apdu.Insufficient:
		return OverCap // the phone knows what its slot pays
	case err != nil:
		return refuseCard(err)
	}
	t.Balance = binary.BigEndian.Uint32(b)
	t.Seq = binary.BigEndian.Uint16(b[4:])
	t.KeyVer, t.AlgID, t.Rand = b[9], b[10], [4]byte(b[11:])
	return nil
}

// samInit is what the module is told. The factors stand nearest to the card
// first: two for a card, the slot's descriptor before them for a phone.
func (r *Reader) samInit(t *Tap) cryptogram.SAMInit {
	s := cryptogram.SAMInit{Rand: t.Rand, Seq: t.Seq, Amount: uint32(t.Amount), Type: t.Type, At: t.At,
		KeyVersion: t.KeyVer, Algorithm: t.AlgID}
	s.Factors = []keyref.Factor{keyref.Factor(t.ASN[2:]), t.Issuer}
	if t.Phone {
		s.Factors = append([]keyref.Factor{t.UD.Bytes()}, s.Factors...)
	}
	return s
}

// debit is 8054. A card that left the field before its answer came is selected
// and asked once more with 805A, so a torn tap does not cost the rider a slot.
func (r *Reader) debit(ctx context.Context, card apdu.Transmitter, t *Tap) error {
	data := append(binary.BigEndian.AppendUint32(nil, t.TermSeq), t.At[:]...)
	data = append(data, t.MAC1[:]...)
	b, err := apdu.Exchange(ctx, card, apdu.Command{CLA: 0x80, INS: 0x54, P1: 1, Data: data, Ne: 8}, 8)
	var status apdu.StatusError
	switch {
	case err == nil:
		t.TAC, t.MAC2 = [4]byte(b), [4]byte(b[4:])
		return nil
	case errors.As(err, &status):
		return because(Card, err)
	}
	if _, serr := apdu.Send(ctx, card, r.selection()); serr != nil {
		return because(Unreadable, errors.Join(err, serr))
	}
	seq := binary.BigEndian.AppendUint16(nil, t.Seq)
	b, perr := apdu.Exchange(ctx, card, apdu.Command{CLA: 0x80, INS: 0x5A, P2: byte(t.Type), Data: seq, Ne: 8}, 8)
	if perr != nil {
		return because(Unreadable, errors.Join(err, perr))
	}
	t.MAC2, t.TAC = [4]byte(b), [4]byte(b[4:])
	return nil
}
