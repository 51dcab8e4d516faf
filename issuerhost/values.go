package issuerhost

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
)

// ValueKind is a kind of card verification value.
type ValueKind string

// Kinds of values. The last two are made by cards, of their counters.
const (
	CVV  ValueKind = "cvv"
	CVV2 ValueKind = "cvv2"
	ICVV ValueKind = "icvv"
	DCVV ValueKind = "dcvv"
	CVC3 ValueKind = "cvc3"
)

// Dynamic reports whether k is made of a counter.
func (k ValueKind) Dynamic() bool { return k == DCVV || k == CVC3 }

// Value says which value of which card is meant.
type Value struct {
	Kind    ValueKind
	PAN     token.PAN
	PSN     string  // cvc3
	Expiry  string  // four digits, in the order that the issuer chose
	Service string  // service code of the stripe: cvv, dcvv
	ATC     [2]byte // dcvv, cvc3
	UN      [4]byte // cvc3
	Track   []byte  // cvc3: the track's data, as the card has it
	Version uint8   // of the issuer's key; 0: its first, and for a check whichever fits
}

// maxValueMisses is how many wrong values of a card a caller may show in a day, to all
// processes together: they have three digits. Only as many processes more than that, each
// asked at the same moment about a card of which nothing was wrong today, judge as many more.
const maxValueMisses = 5

// MakeValue makes a value of a card. It is recorded, and has a right of its own:
// whoever has the values of a card can pay with it where nothing else is asked.
func (s *Service) MakeValue(ctx context.Context, c access.Caller, v Value) (string, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVValues, "emv"); err != nil {
		return "", err
	}
	return s.makeValue(ctx, c, v)
}

// Checked is a value that a card showed.
type Checked struct {
	Value
	Shown string
}

// ValueItem is what became of one value of a batch. A check makes none.
type ValueItem struct {
	Made string
	Err  error
}

// MakeValues makes up to [MaxBatch] values, each by itself.
func (s *Service) MakeValues(ctx context.Context, c access.Caller, vs []Value) ([]ValueItem, error) {
	if err := s.valueBatch(ctx, c, access.EMVValues, len(vs)); err != nil {
		return nil, err
	}
	items := make([]ValueItem, len(vs))
	inLanes(len(vs), func(i int) { items[i].Made, items[i].Err = s.makeValue(ctx, c, vs[i]) })
	return items, nil
}

// CheckValues compares up to [MaxBatch] values, each by itself.
func (s *Service) CheckValues(ctx context.Context, c access.Caller, vs []Checked, a access.Attempt) ([]ValueItem, error) {
	if err := s.valueBatch(ctx, c, access.EMVVerify, len(vs)); err != nil {
		return nil, err
	}
	items := make([]ValueItem, len(vs))
	inLanes(len(vs), func(i int) { items[i].Err = s.checkValue(ctx, c, vs[i].Value, vs[i].Shown, part(a, i)) })
	return items, nil
}

func (s *Service) valueBatch(ctx context.Context, c access.Caller, a access.Action, n int) error {
	if err := s.cfg.Gate.Allow(ctx, c, a, "batch"); err != nil {
		return err
	}
	if n == 0 || n > MaxBatch {
		return fmt.Errorf("%w: a batch holds 1 to %d values", emv.ErrMalformed, MaxBatch)
	}
	return nil
}

func (s *Service) makeValue(ctx context.Context, c access.Caller, v Value) (string, error) {
	f, err := s.forValue(ctx, c, access.EMVValues, v)
	if err != nil {
		return "", err
	}
	if err := s.cfg.Gate.Check(ctx, c, access.EMVValues, f.object); err != nil {
		return "", err
	}
	return f.value(ctx, v)
}

// CheckValue compares a value with the one that the card has. The counter of a
// dynamic one is taken when it held.
func (s *Service) CheckValue(ctx context.Context, c access.Caller, v Value, shown string, a access.Attempt) error {
	if err := s.cfg.Gate.Allow(ctx, c, access.EMVVerify, "emv"); err != nil {
		return err
	}
	return s.checkValue(ctx, c, v, shown, a)
}

func (s *Service) checkValue(ctx context.Context, c access.Caller, v Value, shown string, a access.Attempt) error {
	f, err := s.forValue(ctx, c, access.EMVVerify, v)
	if err != nil {
		return err
	}
	if v.Kind == CVC3 && (len(shown) < 3 || len(shown) > 5) || v.Kind != CVC3 && len(shown) != 3 {
		return &emv.FieldError{Field: "value", Wants: "have 3 digits, 3 to 5 for a cvc3"}
	}
	name, err := f.valueName(ctx, v)
	if err != nil {
		return err
	}
	if err := f.same(ctx, v, shown, name); err != nil || !v.Kind.Dynamic() {
		return err
	}
	return f.spend(ctx, a, name, uint16(v.ATC[0])<<8|uint16(v.ATC[1]))
}

// valueName is what wrong values are counted under. A value that is printed or
// on the stripe is of the number, whatever sequence number it is asked under, and
// of the service code, whatever kind it is called.
func (f subject) valueName(ctx context.Context, v Value) ([32]byte, error) {
	if v.Kind.Dynamic() {
		return f.name(ctx, "value\x00"+string(v.Kind))
	}
	card, err := emv.NewCard(v.PAN.Reveal(), "")
	if err != nil {
		return [32]byte{}, err
	}
	f.card = card
	return f.name(ctx, "value\x00"+v.service())
}

// service is the service code that a value of no counter is made over.
func (v Value) service() string {
	switch v.Kind {
	case CVV2:
		return emv.ServiceCVV2
	case ICVV:
		return emv.ServiceICVV
	}
	return v.Service
}

func (f subject) same(ctx context.Context, v Value, shown string, name [32]byte) error {
	n, leave, err := f.enter(ctx, name, 1, maxValueMisses) // one at a time: a value has three digits
	if err != nil {
		return err
	}
	defer leave()
	ctx = context.WithoutCancel(ctx) // see [subject.missed]
	var giveBack func(context.Context) error
	if n > 0 { // another process may judge at the same moment: what is judged is counted first
		if giveBack, err = f.cfg.Counters.Take(ctx, f.caller.ID, name, maxValueMisses); err != nil {
			return err
		}
		if giveBack == nil {
			return f.tooMany(ctx, "misses")
		}
	}
	err = f.underEach(func() error {
		want, err := f.value(ctx, v)
		if err != nil {
			return err
		}
		return emv.Match(want[len(want)-len(shown):], shown)
	})
	wrong := errors.Is(err, emv.ErrMismatch)
	switch {
	case !wrong && giveBack == nil:
		return err
	case !wrong:
		return errors.Join(err, giveBack(ctx))
	case giveBack == nil:
		if _, err := f.missed(ctx, name); err != nil {
			return err
		}
	}
	return f.refuse(ctx, "value", ErrRefused)
}

// forValue finds the card. Tokens have no values.
func (s *Service) forValue(ctx context.Context, c access.Caller, a access.Action, v Value) (f subject, err error) {
	if v.PAN.IsZero() || s.cfg.Ranges.IsToken(asn(v.PAN.Reveal())) {
		return f, s.cfg.Gate.Refuse(ctx, c, a, "token", "slot-token", ErrSlotToken)
	}
	i, ok := s.issuer(v.PAN.Reveal())
	if !ok {
		return f, s.cfg.Gate.Refuse(ctx, c, a, "", "issuer", ErrIssuer)
	}
	payer := Payer{PAN: v.PAN, PSN: v.PSN}
	if f, err = s.find(ctx, c, a, Transaction{Payer: payer, Profile: i.Profiles[0], Version: v.Version}); err != nil {
		return f, err
	}
	usage := map[ValueKind]keyref.Usage{CVV: keyref.CVK, CVV2: keyref.CVK, ICVV: keyref.CVK, DCVV: keyref.ACMaster, CVC3: keyref.CVC3Master}[v.Kind]
	f.master.Usage = usage
	// every value is of option A, whatever the issuer's first profile has
	f.profile = emv.Profile{Master: emv.OptionA}
	if usage == "" || usage != keyref.ACMaster && !slices.Contains(f.issuer.Extra, usage) ||
		usage == keyref.ACMaster && !slices.ContainsFunc(f.issuer.Profiles, func(n string) bool { return s.profiles[n].Usage() == usage }) {
		return f, f.refuse(ctx, "key", ErrIssuer)
	}
	return f, nil
}

func (f subject) value(ctx context.Context, v Value) (string, error) {
	k, stored := f.cfg.Keys, keyref.Chain{Key: f.master}
	switch v.Kind {
	case CVV, CVV2, ICVV:
		return emv.CVV(ctx, k, stored, emv.CVVInput{Card: f.card, Expiry: v.Expiry, Service: v.service()})
	case DCVV:
		return emv.DynamicCVV(ctx, k, emv.OptionA, f.master, emv.CVVInput{Card: f.card, Expiry: v.Expiry, Service: v.Service, ATC: v.ATC})
	}
	card, err := f.profile.Card(f.master, f.card)
	if err != nil {
		return "", err
	}
	return emv.CVC3(ctx, k, card, emv.CVC3Input{Track: v.Track, UN: v.UN, ATC: v.ATC})
}
