package engine

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
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

// refuse records that something typed was not taken.
func (r *run) refuse(s script.Step, why string) error {
	r.note = why
	return r.book.Add(transcript.Record{Type: transcript.Refused, Step: s.Number, Who: s.Who, Says: why})
}

func (r *run) confirm(ctx context.Context, v View) error {
	for range tries {
		typed, err := r.Desk.Confirm(ctx, v)
		if err != nil {
			return err
		}
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(typed), "-", ""), strings.ReplaceAll(r.Plan.Short(), "-", "")) {
			return nil
		}
		v.Note = "This is not the plan's short hash. Read it from the approved plan, not from this screen."
		if err := r.refuse(v.Step, v.Note); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: the short hash was typed wrong %d times: see that everybody holds the same plan (keyceremony check), then resume", ErrStep, tries)
}

const minPINPart = 4

func (r *run) pin(ctx context.Context, v View) error {
	b, err := r.typed(ctx, Ask{View: v, PIN: true}, func(b []byte) string {
		if len(b) < minPINPart {
			return fmt.Sprintf("A part of a PIN has %d characters at least.", minPINPart)
		}
		return ""
	})
	if err != nil {
		return err
	}
	r.parts[v.Step.Key] = append(r.parts[v.Step.Key], b)
	return nil
}

// typed asks until what was typed passes judge, but not for ever.
func (r *run) typed(ctx context.Context, a Ask, judge func([]byte) string) (*secret.Buffer, error) {
	a.Refused = func(why string) error { return r.refuse(a.Step, why) }
	for range tries {
		b, err := r.Desk.Enter(ctx, a)
		if err != nil {
			return nil, err
		}
		why := judge(b.Bytes())
		if why == "" {
			return b, nil
		}
		b.Wipe()
		a.Note = why
		if err := r.refuse(a.Step, why); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s was refused %d times: compare it with the letter, then resume the ceremony", ErrStep, a.Step.Key, tries)
}

// joined is a PIN of all its parts.
func (r *run) joined(what string) (pin []byte) {
	for _, b := range r.parts[what] {
		pin = append(pin, b.Bytes()...)
	}
	return pin
}

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

// births are those that were begun and not recorded: what they left without a label
// is this ceremony's to destroy.
func (r *run) births() (all []hsm.Birth) {
	for _, s := range r.Plan.Steps {
		if _, done := r.done[s.Number]; !done && r.begun[s.Number].Number > 0 && bears(s.Op) {
			ref, _ := keyref.Parse(s.Key)
			all = append(all, hsm.Birth{Ref: ref, Mark: r.mark(s)})
		}
	}
	return all
}

// vacant refuses a plan that would make a key which exists.
func (r *run) vacant(ctx context.Context) error {
	for _, s := range r.Plan.Steps {
		if !bears(s.Op) || r.done[s.Number].Number > 0 || r.begun[s.Number].Number > 0 {
			continue
		}
		ref, _ := keyref.Parse(s.Key)
		switch _, _, err := r.token.ReadBack(ctx, ref); {
		case fault.KindOf(err) == fault.HSMUnavailable:
			return err
		case !errors.Is(err, hsm.ErrKeyMissing):
			return fmt.Errorf("%w: %s exists on token %s and is never overwritten: take the next version, or destroy it in a ceremony of its own", ErrStep, s.Key, r.Plan.Script.Token)
		}
	}
	return nil
}

// bears reports whether a step gives birth to a key of the token.
func bears(o script.Op) bool {
	return o == script.OpGenerate || o == script.OpImport || o == script.OpUnwrap || o == script.OpRestore
}

// settle decides about keys whose birth was begun and not recorded: whole ones
// are taken, anything less is destroyed.
func (r *run) settle(ctx context.Context) error {
	for _, s := range r.Plan.Steps {
		if _, done := r.done[s.Number]; done || r.begun[s.Number].Number == 0 || !bears(s.Op) {
			continue
		}
		if err := r.judge(ctx, s); err != nil {
			return err
		}
	}
	clear(r.again)
	r.rewind()
	return nil
}

// judge looks at one key whose birth was cut off. One that does not bear this
// ceremony's mark, or is whole and of another value than the one whose birth was
// begun, is not ours: it is left alone.
func (r *run) judge(ctx context.Context, s script.Step) error {
	ref, _ := keyref.Parse(s.Key)
	begin := r.begun[s.Number].Data
	switch own, err := r.token.Bears(ctx, ref, r.mark(s)); {
	case errors.Is(err, hsm.ErrKeyMissing):
		return nil
	case err != nil:
		return err
	case !own:
		return fmt.Errorf("%w: the token holds a %s without the mark of this ceremony: a later ceremony or somebody else made it, or this ceremony under a version of the program that made no marks; it is left as it is: if nobody needs it, destroy it in a ceremony of its own, and resume this one, which then makes its key", ErrStep, s.Key)
	}
	info, traits, err := r.token.ReadBack(ctx, ref)
	switch {
	case err == nil && (s.Op == script.OpGenerate || info.Check != nil && info.Check.String() == begin[transcript.DataTokenCheck]):
		data := r.born(s, info, traits)
		if begin[transcript.DataCheck] != "" {
			data[transcript.DataCheck] = begin[transcript.DataCheck]
		}
		data["found"] = "it was whole when the ceremony was resumed"
		return r.finish(s, transcript.Record{Data: data})
	case err == nil:
		return fmt.Errorf("%w: the token holds another %s than the one whose birth this transcript tells of: an older transcript was resumed; it is left as it is: find the newest transcript of this ceremony", ErrStep, s.Key)
	case !errors.Is(err, hsm.ErrKeyMissing) && !errors.Is(err, hsm.ErrKeyUnfit):
		return err
	}
	if err := r.token.Destroy(ctx, ref); errors.Is(err, hsm.ErrKeyMissing) {
		return nil
	} else if err != nil {
		return fmt.Errorf("destroying what is left of %s: %w", s.Key, err)
	}
	return r.book.Add(transcript.Record{Type: transcript.Refused, Step: s.Number, Says: "A half-made " + s.Key + " was found and destroyed."})
}

// enter takes a component or share from one person.
func (r *run) enter(ctx context.Context, v View) (map[string]string, error) {
	s := v.Step
	k, err := r.unlock(ctx, s.Who)
	if err != nil {
		return nil, err
	}
	k.Wipe()
	check := func(b []byte) (string, error) { return r.partCheck(s.Key, b) }
	b, err := r.typed(ctx, Ask{View: v, Length: r.partLength(s.Key), Check: check}, func(b []byte) string { return r.implausible(s.Key, b) })
	if err != nil {
		return nil, err
	}
	text, err := check(b.Bytes())
	if err != nil {
		return nil, err
	}
	r.parts[s.Key] = append(r.parts[s.Key], b)
	return map[string]string{transcript.DataCheck: text}, nil
}

// implausible says why what was typed cannot be a component or share.
func (r *run) implausible(key string, b []byte) string {
	if n := r.partLength(key); len(b) != n {
		return fmt.Sprintf("It has %d bytes, and %d are wanted: see that the letter is of this key.", len(b), n)
	}
	if subtle.ConstantTimeCompare(b, make([]byte, len(b))) == 1 {
		return "It is zero, which no component is: see that the letter is whole, and ask for a new one."
	}
	for _, other := range r.parts[key] {
		if key == script.BackupName && b[0] == other.Bytes()[0] {
			return fmt.Sprintf("Share %d was typed already: each person types their own.", b[0])
		}
		if subtle.ConstantTimeCompare(b, other.Bytes()) == 1 {
			return "It equals a component that was typed before: each custodian types their own."
		}
	}
	return ""
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
