package engine

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// unlock takes a person's key, and sees that it is the one they are known by.
func (r *run) unlock(ctx context.Context, who string) (officer.Signer, error) {
	p, _ := r.Plan.Script.Person(who)
	k, err := r.Desk.Officer(ctx, p)
	if err != nil {
		return k, err
	}
	known := p.Key
	if !r.Live {
		known = r.People[who].String()
	}
	if k.Public().String() != known {
		k.Wipe()
		return k, fmt.Errorf("%w: this is not the key of %s that the plan names: bring that key, or let the script be approved anew", ErrApproval, who)
	}
	return k, nil
}

// sign records a signature; without a message it is over the transcript so far.
func (r *run) sign(ctx context.Context, s script.Step, t transcript.Type, domain string, msg []byte) (rec transcript.Record, err error) {
	k, err := r.unlock(ctx, s.Who)
	if err != nil {
		return rec, err
	}
	defer k.Wipe()
	if msg == nil {
		msg = []byte(r.book.Head())
	}
	sig, err := k.Sign(domain, msg)
	if err != nil {
		return rec, err
	}
	return transcript.Record{Type: t, Data: map[string]string{transcript.DataSignature: base64.StdEncoding.EncodeToString(sig)}}, nil
}

func (r *run) tokenSign(ctx context.Context, s script.Step) (rec transcript.Record, err error) {
	ref, err := keyref.Parse(s.Key)
	if err != nil {
		return rec, err
	}
	if err := r.token.Require(ctx, ref); err != nil {
		return rec, fmt.Errorf("%w: generate %s in this ceremony or an earlier one, or write audit_key: none", err, s.Key)
	}
	pub, err := r.token.PublicKey(ctx, ref)
	if err != nil {
		return rec, err
	}
	text, err := transcript.AuditPublic(pub)
	if err != nil {
		return rec, err
	}
	sig, err := r.token.Sign(ctx, ref, transcript.TokenDigest(r.book.Head()))
	return transcript.Record{Type: transcript.Signed, Data: map[string]string{transcript.DataPublic: text,
		transcript.DataSignature: base64.StdEncoding.EncodeToString(sig[:])}}, err
}
