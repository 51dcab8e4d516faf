package terminal

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/credential"
)

// present reads what a phone shows and judges it, in the order the scheme
// fixes: nothing is believed before the issuer's signature holds.
func (r *Reader) present(ctx context.Context, card apdu.Transmitter, t *Tap, now time.Time) error {
	raw, err := apdu.Send(ctx, card, apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0xDF, P2: 1, Ne: 256})
	if err != nil {
		return refuseCard(err)
	}
	p, err := credential.ParsePresentation(raw.Data)
	if err != nil {
		return because(Unreadable, err)
	}
	t.UD = p.UD
	return r.judge(p, t, now)
}

func (r *Reader) judge(p credential.Presentation, t *Tap, now time.Time) error {
	c, u, policy := p.Credential, p.UD, r.cfg.Policy
	if err := c.Verify(policy.Issuers); err != nil {
		return because(Untrusted, err)
	}
	early := now.Before(c.NotBefore.Add(-policy.Skew))
	late := !now.Before(c.NotAfter.Add(policy.Skew)) || !now.Before(u.Expires().Add(policy.Skew))
	switch {
	case early || late:
		return Window
	case r.cfg.Deny.Denied(c.Number, u.Ctr):
		return Denied
	case r.cfg.Queue.Seen(t.ASN, u.Ctr):
		return Seen
	case c.Number.ASN() != t.ASN || c.IssuerID != [4]byte(t.Issuer[:4]) || !c.Covers(u):
		return Mismatch
	case t.Amount > u.Limit():
		return OverCap
	case p.Proof.IsZero() && !policy.RequireProof:
		return nil
	}
	return r.prove(p, t, now)
}

// prove checks a device proof. One that is shown must hold, demanded or not.
func (r *Reader) prove(p credential.Presentation, t *Tap, now time.Time) error {
	if err := p.Proof.Verify(p.Credential, p.UD); err != nil {
		return because(NoProof, err)
	}
	age, skew := now.Sub(p.Proof.Made), r.cfg.Policy.Skew
	if age < -skew || age > p.Proof.Valid+skew {
		return NoProof
	}
	t.Proof = true
	return nil
}
