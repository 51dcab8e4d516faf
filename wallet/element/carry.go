package element

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Carried is what a courier takes back.
type Carried struct {
	Script []byte // with its MAC or signature; nil: the element has obeyed all
	Seq    uint32 // number of the script
}

// Carry takes the receipt that a courier brings, if it brings one, and gives it the
// next script. Couriers may come twice, late and in any order. A receipt that is not
// this element's is [wallet.ErrRefused].
func (s *Service) Carry(ctx context.Context, c access.Caller, id token.DeviceID, receipt []byte) (Carried, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.ElementCarry, string(id)); err != nil {
		return Carried{}, err
	}
	e, err := s.cfg.Store.Element(ctx, id)
	if err != nil {
		return Carried{}, s.hideCarry(ctx, c, id, "element", err)
	}
	if len(e.Receipt) > 0 { // somebody was interrupted
		if e, err = s.settle(ctx, e); err != nil {
			return Carried{}, err
		}
	}
	from := e.Acked
	if len(receipt) > 0 {
		var r message.Receipt
		if e, r, err = s.hear(ctx, c, e, receipt); err != nil {
			return Carried{}, err
		}
		from = r.Seq
	}
	next, found, err := s.cfg.Store.Script(ctx, id, from+1)
	if err != nil || !found {
		return Carried{}, err
	}
	return Carried{next.Bytes, next.Seq}, nil
}

func (s *Service) hideCarry(ctx context.Context, c access.Caller, id token.DeviceID, reason string, err error) error {
	if err != nil && err != wallet.ErrRefused {
		return err
	}
	return s.cfg.Gate.Refuse(ctx, c, access.ElementCarry, string(id), reason, wallet.ErrRefused)
}

// hear judges a receipt, keeps it when it is new, and settles it when it tells of
// the element as all scripts have made it.
func (s *Service) hear(ctx context.Context, c access.Caller, e Element, raw []byte) (Element, message.Receipt, error) {
	r, err := s.read(ctx, e, raw)
	if err != nil && fault.KindOf(err) != fault.Malformed {
		return e, r, fmt.Errorf("reading a receipt: %w", err)
	}
	lost := false
	if err == nil && r.Seq > e.Seq {
		if lost, err = s.cfg.Store.Lost(ctx, e.ID, r.Seq); err != nil {
			return e, r, err
		}
		if !lost { // another courier may have said the same meanwhile, or taken a script along that was made since
			if e, err = s.cfg.Store.Element(ctx, e.ID); err != nil {
				return e, r, err
			}
		}
	}
	if err != nil || r.Seq > e.Seq && !lost {
		return e, r, s.hideCarry(ctx, c, e.ID, "receipt", nil)
	}
	if r.Number <= e.Number {
		return e, r, nil
	}
	_, made, err := s.cfg.Store.Script(ctx, e.ID, r.Seq)
	if err != nil {
		return e, r, err
	}
	e.Acked, e.Number, e.Tries, e.Balance, e.State = max(e.Acked, r.Seq), r.Number, r.Tries, r.Balance, Issued
	if r.State == message.Erased {
		e.State = Erased
	}
	if e.Receipt = nil; r.Seq == e.Seq && made { // of what a script brought that was lost, the account knows nothing
		e.Receipt = raw
	}
	if err := s.cfg.Store.Hear(ctx, e); err != nil {
		return e, r, err
	}
	if e, err = s.cfg.Store.Element(ctx, e.ID); err != nil || len(e.Receipt) == 0 {
		return e, r, err
	}
	e, err = s.settle(ctx, e)
	return e, r, err
}

func (s *Service) read(ctx context.Context, e Element, raw []byte) (message.Receipt, error) {
	k, err := s.key(ctx, e)
	if err != nil {
		return message.Receipt{}, err
	}
	defer clear(k[:])
	return message.ParseReceipt(raw, e.Serial, k)
}

// settle brings the account in step with the receipt that was kept. It may be
// done twice: the sync is named by the receipt, the script by its grant.
func (s *Service) settle(ctx context.Context, e Element) (Element, error) {
	r, err := s.read(ctx, e, e.Receipt)
	if err != nil {
		return e, fmt.Errorf("reading a kept receipt: %w", err)
	}
	t, err := s.cfg.Tokens.Token(ctx, e.Ref)
	if err != nil {
		return e, err
	}
	if r.ASN == t.Number.ASN() {
		if err := s.sync(ctx, e, r, t); err != nil {
			return e, err
		}
	}
	if err := s.cfg.Store.Settled(ctx, e.ID, r.Number); err != nil {
		return e, err
	}
	return s.cfg.Store.Element(ctx, e.ID)
}

// sync takes the element's word. It made it after it had obeyed the last script,
// so it holds for the time when that was made; of what lies between nobody but
// the element knows.
func (s *Service) sync(ctx context.Context, e Element, r message.Receipt, t token.Token) error {
	last, found, err := s.cfg.Store.Script(ctx, e.ID, r.Seq)
	if err != nil || !found {
		return err
	}
	if err := s.active(ctx, e, t); err != nil {
		return err
	}
	q := account.SyncRequest{Wallet: e.Wallet, Ref: e.Ref, ID: fmt.Sprintf("%s-%d", e.ID, r.Number), Digest: sha256.Sum256(e.Receipt),
		Clock: last.At, Reports: reports(r),
		Terms: account.Terms{Limit: s.cfg.Terms.Limit, Ceiling: s.cfg.Terms.Ceiling, Layout: s.cfg.Terms.Layout, KeyVersion: e.KeyVersion}}
	erased, err := s.erased(ctx, e) // or told to be, since it said this
	if err != nil {
		return err
	}
	if erased = erased || r.State == message.Erased; erased {
		q.Terms.Limit, q.Terms.Layout = 0, nil
	}
	done, err := s.cfg.Accounts.Sync(ctx, s.self(e), q)
	if err != nil {
		return err
	}
	switch {
	case erased:
		return nil
	case done.State == account.WalletSuspended || done.State == account.WalletClosed:
		err = s.put(ctx, e.ID, "erase|"+string(e.Ref), func(e Element, m message.Script) (Script, error) { return s.mac(ctx, e, m) }, message.Erase, false)
	case done.Grant != nil && len(done.Grant.Slots) > 0:
		err = s.raise(ctx, e, t, *done.Grant)
	}
	if errors.Is(err, errErased) {
		return nil
	}
	return err
}

// self is whoever enrolled the element: a courier acts for nobody.
func (s *Service) self(e Element) access.Caller {
	return access.Caller{ID: e.Client, Role: access.Wallet, Scopes: []access.Action{access.WalletSync}}
}

// raise makes the script of a grant. Its money is reserved.
//
// The element makes its slots to the credential's end. Where the token's end was changed
// since the grant, that of the granted slots stands: with others it would pay like a
// forger. A token that ends before they do brings none.
func (s *Service) raise(ctx context.Context, e Element, t token.Token, g account.Grant) error {
	if u := g.Slots[0]; u.HourExp != credential.Hours(t.NotAfter) {
		if u.Expires().After(t.NotAfter) {
			return nil
		}
		t.NotAfter = u.Expires()
	}
	cred, err := s.cfg.Credentials.Certify(ctx, t, g.Slots, credential.Risk(credential.TierElement, s.cfg.Terms.Offline))
	if err != nil {
		return err
	}
	l, err := message.NewLimit(g.Slots, cred)
	if err != nil {
		return err
	}
	return s.put(ctx, e.ID, "grant|"+g.BundleID, func(e Element, m message.Script) (Script, error) {
		if e.Ref != t.Ref { // it was given its next token, which takes the slots of this one away
			return Script{}, errErased
		}
		m.Body = l.Bytes()
		return s.mac(ctx, e, m)
	}, message.SetLimit, false)
}

// itself is who the record names for what no caller asked for: a courier brings a
// receipt and does not know what it says.
const itself = "service:element"

// active takes a token to ACTIVE: its element has said that it holds it. Each step is
// recorded under the token before it is made. One that waits for its issuer stays as it
// is, and is given no slots: the element may have to be told to forget it.
func (s *Service) active(ctx context.Context, e Element, t token.Token) (err error) {
	if !t.Decision.Allows() {
		return nil
	}
	for _, v := range []token.Verb{token.Deliver, token.Activate} {
		if v == token.Deliver && t.State != token.Requested || v == token.Activate && t.State != token.Delivered {
			continue
		}
		what := audit.Entry{Caller: access.Caller{ID: itself}, Action: access.TokenManage, Object: string(t.Ref), Outcome: audit.Allowed,
			Reason: string(v) + " by the receipt of " + string(e.ID), Request: audit.RequestID(ctx)}
		if err := s.cfg.Gate.Recorder.Record(ctx, what); err != nil {
			return err
		}
		if t, err = s.cfg.Tokens.Move(ctx, t.Ref, t.State, v, s.cfg.Now()); err != nil {
			return fmt.Errorf("activating a token: %w", err)
		}
	}
	return nil
}

// reports are an element's words on its slots as the account takes them.
func reports(r message.Receipt) (out []account.Report) {
	for _, ctr := range r.Live {
		out = append(out, account.Report{Ctr: ctr, Status: account.ReportLive})
	}
	for _, t := range r.Taps {
		if bytes.Equal(asn(t), r.ASN[:]) {
			out = append(out, account.Report{Ctr: t.UD.Ctr, Status: account.ReportUsed, Tap: tap(t)})
		}
	}
	return out
}

func asn(t payload.Tap) []byte { a := t.Number.ASN(); return a[:] }

func tap(p payload.Tap) *account.Tap {
	return &account.Tap{Terminal: p.Terminal, Issuer: p.Issuer, Number: p.Number, UD: p.UD, Rand: p.Rand, Seq: p.Seq,
		Amount: p.Amount, Type: cryptogram.Type(p.Type), TermSeq: p.TermSeq, At: cryptogram.DateTime(p.At), KeyVer: p.KeyVersion,
		AlgID: p.Algorithm, Balance: p.Balance, MAC1: p.MAC1, MAC2: p.MAC2, TAC: p.TAC, ListVersion: p.ListVersion}
}
