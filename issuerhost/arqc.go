package issuerhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/internal/gather"
)

// MaxBatch is how many transactions one batch may hold.
const MaxBatch = 500

// maxMisses is how many bad cryptograms of one card a caller may show in a day.
// The card itself is never locked by them.
const maxMisses = 32

// Request is a transaction to be authorised, and what the issuer answers.
type Request struct {
	Transaction
	Answer emv.Answer
	// Method is what Answer is for: 1 for a response code, 2 for card status
	// updates, 0 for either. Another than the profile's is refused: zeros in the
	// place of what the issuer said might be the contrary of it.
	Method int
	// Silent asks for no answer: the host computes none, or the profile has none.
	Silent bool
}

// Response is what became of a request that held.
type Response struct {
	ATC      uint16
	Response []byte // the value of tag 91; empty when none was asked for
}

// Authorise checks the cryptogram of a transaction, takes its counter, and
// answers as the issuer. Of a token the controls are judged on what the data says
// of the purchase, once the counter is taken. The same attempt again is answered
// again.
func (s *Service) Authorise(ctx context.Context, c access.Caller, r Request, a access.Attempt) (Response, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVVerify, "emv"); err != nil {
		return Response{}, err
	}
	return s.authorise(ctx, c, r, a)
}

func (s *Service) authorise(ctx context.Context, c access.Caller, r Request, a access.Attempt) (out Response, err error) {
	f, err := s.find(ctx, c, access.EMVVerify, r.Transaction)
	if err != nil {
		return out, err
	}
	atc, ok := r.Data["9F36"]
	if !ok || len(atc) != 2 {
		return out, &emv.FieldError{Field: "9F36", Wants: "have 2 bytes"}
	}
	if err := r.answers(f.profile.Response.Method); err != nil {
		return out, err
	}
	name, err := f.name(ctx, "ac")
	if err != nil {
		return out, err
	}
	if err := f.matches(ctx, r.Transaction, name); err != nil {
		return out, err
	}
	out.ATC = uint16(atc[0])<<8 | uint16(atc[1])
	if err := f.spend(ctx, a, name, out.ATC); err != nil {
		return Response{}, err
	}
	amount, currency, use := said(r.Data)
	if err := f.controlled(ctx, name, out.ATC, amount, currency, use); err != nil {
		return Response{}, err
	}
	if !r.Silent {
		out.Response, err = f.profile.Issuer(ctx, s.cfg.Keys, f.master, emv.Transaction{Card: f.card, Data: r.Data, AC: r.AC}, r.Answer)
	}
	return out, err
}

// answers reports whether an answer by the profile's method can be made.
func (r Request) answers(method int) error {
	wants := map[int]string{0: "be left out: this profile has none", 1: "hold arc for this profile", 2: "hold csu for this profile"}[method]
	if r.Silent || method != 0 && (r.Method == 0 || r.Method == method) {
		return nil
	}
	return &emv.FieldError{Field: "answer", Wants: wants}
}

// matches compares the cryptogram with the one that the card makes, within
// what the caller may still get wrong.
func (f *subject) matches(ctx context.Context, t Transaction, name [32]byte) error {
	if err := f.profile.Divide(t.Data); err != nil {
		return err
	}
	tx := emv.Transaction{Card: f.card, Data: t.Data, AC: t.AC}
	return f.guarded(ctx, name, func(ctx context.Context) error {
		return f.underEach(func() error { return f.profile.Verify(ctx, f.cfg.Keys, f.master, tx) })
	})
}

// spend takes the counter of a transaction that held.
func (f subject) spend(ctx context.Context, a access.Attempt, name [32]byte, value uint16) error {
	return f.spent(ctx, f.cfg.Counters.Spend(ctx, f.caller.ID, a, name, value, f.window()))
}

// window is which values of its counters the issuer takes.
func (f subject) window() Window {
	return Window{cmp.Or(f.issuer.Ahead, defaultAhead), f.issuer.Behind}
}

// spent records why a counter was not taken.
func (f subject) spent(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrReplayed):
		return f.refuse(ctx, "counter-replayed", ErrReplayed)
	case errors.Is(err, ErrJumped):
		return f.refuse(ctx, "counter-jumped", ErrJumped)
	}
	return err
}

// Item is the answer to one request of a batch, or why there is none.
type Item struct {
	Response Response
	Err      error
}

// lanes is how many requests of a batch are answered at a time: those that wait
// together for their counters share a write.
const lanes = 16

// AuthoriseBatch answers up to [MaxBatch] requests as [Service.Authorise] does,
// each by itself, and those of one payer in their order: a card's second counter
// is not refused because its third was quicker, and of two that show one counter
// the first holds. The same attempt again is answered again.
func (s *Service) AuthoriseBatch(ctx context.Context, c access.Caller, rs []Request, a access.Attempt) ([]Item, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVVerify, "batch"); err != nil {
		return nil, err
	}
	if len(rs) == 0 || len(rs) > MaxBatch {
		return nil, fmt.Errorf("%w: a batch holds 1 to %d transactions", emv.ErrMalformed, MaxBatch)
	}
	items := make([]Item, len(rs))
	queues := byPayer(rs)
	inLanes(len(queues), func(q int) {
		for _, i := range queues[q] {
			items[i].Response, items[i].Err = s.authorise(ctx, c, rs[i], part(a, i))
		}
	})
	return items, nil
}

// byPayer is the places of the requests of each payer, in their order.
func byPayer(rs []Request) (queues [][]int) {
	at := make(map[[4]string]int, len(rs))
	for i, r := range rs {
		p := r.Payer
		who := [4]string{p.PAN.Reveal(), cmp.Or(p.PSN, "00"), p.Number.Digits(), string(p.Ref)}
		q, ok := at[who]
		if !ok {
			q = len(queues)
			at[who], queues = q, append(queues, nil)
		}
		queues[q] = append(queues[q], i)
	}
	return queues
}

// part is the attempt of one record of a batch: each is one of its own.
func part(a access.Attempt, i int) access.Attempt {
	if a.Key != "" {
		a.Key = fmt.Sprintf("%s/%d", a.Key, i)
	}
	return a
}

// inLanes does n things, some at a time.
func inLanes(n int, do func(i int)) { gather.Spread(n, lanes, do) }

// Verify checks a cryptogram (ARQC, TC or AAC) and takes no counter: for
// clearing and disputes. It is for cards only.
func (s *Service) Verify(ctx context.Context, c access.Caller, t Transaction) error {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVVerify, "emv"); err != nil {
		return err
	}
	return s.verify(ctx, c, t)
}

// VerifyBatch checks up to [MaxBatch] cryptograms as [Service.Verify] does, each
// by itself: an error in its place, or nil.
func (s *Service) VerifyBatch(ctx context.Context, c access.Caller, ts []Transaction) ([]error, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVVerify, "batch"); err != nil {
		return nil, err
	}
	if len(ts) == 0 || len(ts) > MaxBatch {
		return nil, fmt.Errorf("%w: a batch holds 1 to %d transactions", emv.ErrMalformed, MaxBatch)
	}
	errs := make([]error, len(ts))
	inLanes(len(ts), func(i int) { errs[i] = s.verify(ctx, c, ts[i]) })
	return errs, nil
}

func (s *Service) verify(ctx context.Context, c access.Caller, t Transaction) error {
	f, err := s.cardOnly(ctx, c, access.EMVVerify, t)
	if err != nil {
		return err
	}
	name, err := f.name(ctx, "ac")
	if err != nil {
		return err
	}
	return f.matches(ctx, t, name)
}

// cardOnly is find for calls that could be repeated at will.
func (s *Service) cardOnly(ctx context.Context, c access.Caller, a access.Action, t Transaction) (subject, error) {
	if t.Payer == (Payer{}) { // of a batch, and could not be read: nobody was refused
		return subject{}, fmt.Errorf("%w: nobody pays", emv.ErrMalformed)
	}
	if t.Payer.PAN.IsZero() || s.cfg.Ranges.IsToken(asn(t.Payer.PAN.Reveal())) {
		return subject{}, s.cfg.Gate.Refuse(ctx, c, a, "token", "slot-token", ErrSlotToken)
	}
	return s.find(ctx, c, a, t)
}
