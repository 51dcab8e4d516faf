package applet

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the HSM enciphers token keys with no other hash
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

var errScript = errors.New("applet: a script that cannot be obeyed")

// script takes a script, block by block: P2 numbers them, P1 80 is the last.
// One that was obeyed last is answered as it was then, by a receipt.
func (e *Element) script(cmd apdu.Command) ([]byte, apdu.Status) {
	if cmd.P2 == 0 {
		e.session.script = nil
	}
	switch {
	case cmd.P1 != 0 && cmd.P1 != 0x80:
		return nil, apdu.WrongP1P2
	case len(cmd.Data) == 0 || len(e.session.script)+len(cmd.Data) > message.MaxScript:
		return nil, apdu.WrongLength
	case int(cmd.P2)*apduBlock != len(e.session.script):
		return nil, apdu.OutOfOrder
	}
	e.session.script = append(e.session.script, cmd.Data...)
	if cmd.P1 == 0 {
		return nil, apdu.OK
	}
	b := e.session.script
	e.session.script = nil
	return nil, e.obey(b)
}

func (e *Element) obey(b []byte) apdu.Status {
	s, err := message.ParseScript(b, &e.now.Script, e.cfg.Issuer)
	sum := sha256.Sum256(b)
	switch {
	case err != nil || s.Serial != e.cfg.Serial:
		return apdu.SecurityStatus
	case s.Seq == e.now.Seq && bytes.Equal(sum[:], e.now.Last):
		return apdu.OK
	case s.Seq != e.now.Seq+1 || s.Seq == 0:
		return apdu.OutOfOrder
	}
	next, err := e.after(s)
	if err != nil {
		return apdu.WrongData
	}
	next.Seq, next.Last = s.Seq, sum[:]
	if !e.keep(next) {
		return apdu.MemoryFailure
	}
	e.session.taps, e.session.pending = 0, nil
	return apdu.OK
}

// after is the state that a script leads to.
func (e *Element) after(s message.Script) (next state, err error) {
	next = e.now
	if s.Verb != message.Issue && next.State != message.Issued {
		return next, errScript
	}
	switch s.Verb {
	case message.Issue:
		return e.issued(s)
	case message.SetLimit:
		return e.raised(s)
	case message.Unblock:
		next.Tries = pinTries
		if len(s.Body) == 0 {
			return next, nil
		}
		k, pin, has, err := e.secret(s, s.Body)
		if err != nil || !has || k != e.now.Script {
			return next, errScript
		}
		next.PIN = pin
		return next, nil
	}
	if len(s.Body) != 0 {
		return next, errScript
	}
	return state{State: message.Erased, Seq: next.Seq, Receipts: next.Receipts, Top: next.Top, Script: next.Script, App: message.Application{AID: next.App.AID, ASN: next.App.ASN}, Taps: next.Taps}, nil
}

// issued takes a token. The counter goes on: numbers come back, counters never.
func (e *Element) issued(s message.Script) (next state, err error) {
	a, err := message.ParseApplication(s.Body)
	if err != nil {
		return next, err
	}
	next = state{State: message.Issued, Receipts: e.now.Receipts, Tries: e.now.Tries, PIN: e.now.PIN}
	if a.ASN == e.now.App.ASN {
		next.Top = e.now.Top
	}
	k, pin, has, err := e.secret(s, a.Secret)
	if err != nil || !has && len(next.PIN) == 0 {
		return next, errScript
	}
	if has {
		next.PIN, next.Tries = pin, pinTries
	}
	next.Script = k
	if next.Purchase, err = e.unwrap(a.Purchase); err != nil {
		return next, err
	}
	if next.TAC, err = e.unwrap(a.TAC); err != nil {
		return next, err
	}
	a.Purchase, a.TAC, a.Secret = nil, nil, nil
	next.App = a
	return next, nil
}

// raised takes slots. Their counters are above all that came before.
func (e *Element) raised(s message.Script) (next state, err error) {
	next = e.now
	l, err := message.ParseLimit(s.Body)
	if err != nil {
		return next, err
	}
	uds, err := l.UDs(next.App.KeyVersion)
	c := l.Credential
	if err != nil || int(l.First) < next.Top || len(next.Slots)+len(uds) > message.MaxSlots || c.Number.ASN() != next.App.ASN {
		return next, errScript
	}
	raw := c.Bytes()
	next.Credits = append(append([][]byte(nil), next.Credits...), raw[:])
	next.Slots = append([]slot(nil), next.Slots...)
	for _, u := range uds {
		if !c.Covers(u) {
			return next, errScript
		}
		next.Slots = append(next.Slots, slot{u, len(next.Credits) - 1})
		next.Top = int(u.Ctr) + 1
	}
	return next, nil
}

// unwrap opens a token key: L‖R‖L as the HSM enciphered it.
func (e *Element) unwrap(b []byte) (k [16]byte, err error) {
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, e.cfg.Key, b, nil)
	defer clear(plain)
	if err != nil || len(plain) != 24 || subtle.ConstantTimeCompare(plain[:8], plain[16:]) != 1 {
		return k, errScript
	}
	return [16]byte(plain), nil
}

func (e *Element) secret(s message.Script, b []byte) (k message.Key, pin []byte, has bool, err error) {
	plain, err := rsa.DecryptOAEP(sha256.New(), nil, e.cfg.Key, b, message.Label(s.Serial, s.Seq))
	defer clear(plain)
	if err != nil {
		return k, nil, false, errScript
	}
	var p mask.PIN
	if k, p, has, err = message.ParseSecret(plain); has {
		pin = p.AppendTo(nil)
		p.Wipe()
	}
	return k, pin, has, err
}

// apduBlock is how much of a script, or of a receipt, one command carries.
const apduBlock = 240

// receipt gives the element's word on itself, block by block: P2 numbers them.
// Block 0 makes it, with a number of its own.
func (e *Element) receipt(cmd apdu.Command) ([]byte, apdu.Status) {
	if cmd.P1 != 0 || len(cmd.Data) > 0 || cmd.Ne != 256 {
		return nil, apdu.WrongP1P2
	}
	if cmd.P2 == 0 {
		if e.session.receipt = nil; e.now.State == 0 {
			return nil, apdu.Conditions
		}
		next := e.now
		next.Receipts++
		if !e.keep(next) {
			return nil, apdu.MemoryFailure
		}
		e.session.receipt = e.word().Bytes(e.now.Script)
	}
	at := int(cmd.P2) * apduBlock
	if at > len(e.session.receipt) || len(e.session.receipt) == 0 {
		return nil, apdu.WrongOffset
	}
	return e.session.receipt[at:min(at+apduBlock, len(e.session.receipt))], apdu.OK
}

func (e *Element) word() message.Receipt {
	r := message.Receipt{Serial: e.cfg.Serial, Seq: e.now.Seq, Number: e.now.Receipts, State: e.now.State, Tries: e.now.Tries,
		Balance: token.Amount(e.balance()), ASN: e.now.App.ASN}
	for _, s := range e.now.Slots {
		r.Live = append(r.Live, s.UD.Ctr)
	}
	for _, t := range e.now.Taps {
		if tap, err := payload.ParseTap(t); err == nil {
			r.Taps = append(r.Taps, tap)
		}
	}
	return r
}
