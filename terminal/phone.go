package terminal

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// visit is one tap on its way, with the list that it is judged by.
type visit struct {
	Tap
	now    time.Time
	list   *deny.List // nil: the scheme has none
	limits deny.Limits
	shown  credential.Presentation // of a phone
}

// present reads what a phone shows and judges it before anything is asked of
// it. The order is the scheme's: form, issuer, time, deny list, slots that paid
// here, and then whether card, credential and slot belong together. Nothing is
// believed before the issuer's signature holds.
func (r *Reader) present(ctx context.Context, card apdu.Transmitter, v *visit) error {
	raw, err := apdu.Send(ctx, card, apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0xDF, P2: 1, Ne: 256})
	if err != nil {
		return refuseCard(err)
	}
	if v.shown, err = credential.ParsePresentation(raw.Data); err != nil {
		return because(Unreadable, err)
	}
	v.UD = v.shown.UD
	return r.judge(v)
}

func (r *Reader) judge(v *visit) error {
	c, u, skew := v.shown.Credential, v.UD, r.cfg.Policy.Skew
	if v.list != nil && v.list.KeyDenied(c.KeyID, v.now) {
		return Denied // before its signature is worth a check
	}
	if err := c.Verify(r.cfg.Policy.Issuers); err != nil {
		return because(Untrusted, err)
	}
	early := v.now.Before(c.NotBefore.Add(-skew))
	late := !v.now.Before(c.NotAfter.Add(skew)) || !v.now.Before(u.Expires().Add(skew))
	switch {
	case early || late:
		return Window
	case v.list != nil && (v.list.Denied(c.Number, u.Ctr, v.now) || v.list.Switches().Off(deny.ProfileP, u)):
		return Denied
	case r.cfg.Queue.Seen(v.ASN, u.Ctr):
		return Seen
	case c.Number.ASN() != v.ASN || c.IssuerID != [4]byte(v.Issuer[:4]) || !c.Covers(u):
		return Mismatch
	}
	return nil
}

// afford is what is judged once the phone has named its slot in 8050: the slot
// it showed, what that pays, and whether the phone is there itself.
func (r *Reader) afford(v *visit) error {
	limit := v.UD.Limit()
	if v.limits.Cap != 0 {
		limit = min(limit, v.limits.Cap)
	}
	switch {
	case v.Seq != v.UD.Ctr || v.KeyVer&0x0F != v.UD.KeyVer:
		return Mismatch // counter and version go into the keys
	case v.Amount > limit:
		return OverCap
	}
	return r.prove(v)
}

// prove checks a device proof. One that is shown must hold, demanded or not.
// Secure elements need none: they cannot be copied. Where the list is not heard,
// the issuer has to have allowed the device as well.
func (r *Reader) prove(v *visit) error {
	p, c := v.shown.Proof, v.shown.Credential
	if r.cfg.Class == deny.Vehicle && !c.OfflineOK() {
		return NoProof
	}
	if p.IsZero() {
		if (r.cfg.Policy.RequireProof || v.limits.Proof) && c.Tier() != credential.TierElement {
			return NoProof
		}
		return nil
	}
	if err := p.Verify(v.shown.Credential, v.UD); err != nil {
		return because(NoProof, err)
	}
	age, skew := v.now.Sub(p.Made), r.cfg.Policy.Skew
	if age < -skew || age > p.Valid+skew {
		return NoProof
	}
	v.Proof = true
	return nil
}

// open begins a visit with the newest list there is.
func (r *Reader) open(amount token.Amount) *visit {
	v := &visit{now: r.cfg.Now(), limits: deny.Limits{Proof: r.cfg.Class == deny.Vehicle}}
	if r.cfg.Deny != nil {
		v.list = r.cfg.Deny.Current()
		v.limits = v.list.Limits(r.cfg.Class, v.now)
		v.ListVersion = v.list.Version()
	}
	v.Terminal, v.Amount, v.Type = r.terminal, amount, r.cfg.Type
	return v
}
