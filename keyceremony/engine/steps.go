package engine

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

// tries is how often a person may type something wrong.
const tries = 3

// do does one step and returns what its record holds.
func (r *run) do(ctx context.Context, v View) (rec transcript.Record, err error) {
	s := v.Step
	switch s.Op {
	case script.OpApprove:
		return r.sign(ctx, s, transcript.Approved, transcript.DomainApproval, transcript.ApprovalMessage(r.Plan.Digest(), r.nonce))
	case script.OpSign:
		return r.sign(ctx, s, transcript.Signed, transcript.DomainTranscript, nil)
	case script.OpConfirm:
		return rec, r.confirm(ctx, v)
	case script.OpPIN:
		return rec, r.pin(ctx, v)
	case script.OpInit:
		return rec, r.Module.Init(ctx, r.Plan.Script.Token, r.joined(script.SOPIN), r.joined(script.UserPIN))
	case script.OpOpen:
		return r.login(ctx, s)
	case script.OpTokenSign:
		return r.tokenSign(ctx, s)
	}
	rec.Data, err = r.keyStep(ctx, v)
	return rec, err
}

// keyStep does the steps that are about a key, and returns what is written of it.
func (r *run) keyStep(ctx context.Context, v View) (map[string]string, error) {
	switch s := v.Step; s.Op {
	case script.OpEnter:
		return r.enter(ctx, v)
	case script.OpDraw:
		return r.draw(ctx, s)
	case script.OpLetter:
		return r.letter(ctx, v)
	case script.OpGenerate:
		return r.generate(ctx, s)
	case script.OpImport, script.OpUnwrap, script.OpRestore:
		return r.bring(ctx, s)
	case script.OpWrap:
		return r.wrap(ctx, s)
	case script.OpSealKey:
		return r.drawBackup(s)
	case script.OpSeal:
		return r.seal(s)
	case script.OpOpenBack:
		return r.openBackup(s)
	case script.OpProve:
		return r.prove(ctx, s)
	case script.OpActivate, script.OpRetire, script.OpDestroy:
		return r.move(ctx, s)
	}
	return nil, fmt.Errorf("%w: no such step: %s", ErrStep, v.Step.Op)
}

// refuse records that something typed was not taken.
func (r *run) refuse(s script.Step, why string) error {
	return r.book.Add(transcript.Record{Type: transcript.Refused, Step: s.Number, Who: s.Who, Says: why})
}

const minPINPart = 4

// login opens the token and looks round. A ceremony begins only on a token in
// which nothing is left over; one that was cut off clears up what it left.
func (r *run) login(ctx context.Context, s script.Step) (rec transcript.Record, err error) {
	pin := r.joined(script.UserPIN)
	defer clear(pin)
	if r.token, err = r.Module.Open(ctx, r.Plan.Script.Token, pin); err != nil {
		return rec, err
	}
	gone, left, err := r.token.Orphans(ctx, r.births())
	if err != nil {
		return rec, err
	}
	if len(left) > 0 && !r.Resume {
		return rec, fmt.Errorf("%w: the token holds %s: an interrupted ceremony left it: resume that one first", ErrStep, strings.Join(left, ", "))
	}
	rec.Data = map[string]string{}
	for what, names := range map[string][]string{"destroyed": gone, "left alone": left} {
		if len(names) > 0 {
			rec.Data[what] = strings.Join(names, ", ")
		}
	}
	if err := r.vacant(ctx); err != nil {
		return rec, err
	}
	return rec, r.settle(ctx)
}

// letter hands one component or share over.
func (r *run) letter(ctx context.Context, v View) (map[string]string, error) {
	s := v.Step
	k, err := r.unlock(ctx, s.Who)
	if err != nil {
		return nil, err
	}
	k.Wipe()
	value := r.parts[s.Key][s.Part-1].Bytes()
	check, err := r.partCheck(s.Key, value)
	if err != nil {
		return nil, err
	}
	var serial [4]byte
	if err := r.random(ctx, serial[:]); err != nil {
		return nil, err
	}
	l := Letter{View: v, Serial: strings.ToUpper(hex.EncodeToString(serial[:])), Attempt: r.attempt(), Check: check, Value: value}
	where, err := r.Desk.Hand(ctx, l)
	if err != nil {
		return nil, err
	}
	return map[string]string{transcript.DataCheck: check, "serial": l.Serial, "letter": where}, nil
}

// attempt counts how often the ceremony was begun or resumed.
func (r *run) attempt() int {
	n := 1
	for _, x := range r.book.Records() {
		if x.Type == transcript.Resumed {
			n++
		}
	}
	return n
}
