package load_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/load"
)

// scheme is the realm of the test's cards.
func scheme() cryptogram.Scheme {
	s := cryptogram.Scheme{Realm: "transit", Algorithms: map[byte]string{0: cryptogram.TDES}, KeyVersions: map[byte]uint8{1: 1},
		TAC: cryptogram.TACFold, OverdraftTAC: cryptogram.TACFold}
	for _, f := range []string{"issuer8", "asn8"} {
		r, err := cryptogram.ParseFactorRule(f)
		if err != nil {
			panic(err) // a constant
		}
		s.Factors = append(s.Factors, r)
	}
	return s
}

// masters are imported into the service's token and into the card's own ring.
var masters = []keyref.Usage{keyref.LoadMaster, keyref.UnloadMaster, keyref.OverdraftMaster, keyref.TACMaster}

type importer interface {
	ImportScratch(ctx context.Context, ref keyref.Ref, value []byte) error
}

func fill(t *testing.T, into importer) {
	t.Helper()
	for i, u := range masters {
		k := make([]byte, 16)
		for j := range k {
			k[j] = byte(31*i + 7*j + 1)
		}
		if err := into.ImportScratch(t.Context(), keyref.Ref{Realm: "transit", Usage: u, Version: 1}, k); err != nil {
			t.Fatal(err)
		}
	}
}

// errCard is a card that does not obey.
var errCard = errors.New("9302")

// card is a physical card as the PBOC e-purse is: a balance and an online counter
// for each purse, and one session at a time, which every initialisation begins
// anew.
type card struct {
	t       *testing.T
	keys    *softkey.Ring
	name    cardhost.Card
	balance map[load.Purse]uint32
	seq     map[load.Purse]uint16
	limit   uint32
	draw    uint32

	open *load.Order // the session
}

func newCard(t *testing.T, asn byte) *card {
	t.Helper()
	c := &card{t: t, keys: &softkey.Ring{}, balance: map[load.Purse]uint32{load.Deposit: 3000, load.EPurse: 5000},
		seq: map[load.Purse]uint16{load.Deposit: 40, load.EPurse: 7}, limit: 500,
		name: cardhost.Card{Realm: "transit", Issuer: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, ASN: [10]byte{0x31, 0x04, 9: asn}, KeyVersion: 1}}
	fill(t, c.keys)
	return c
}

func (c *card) key(u keyref.Usage) keyref.Path {
	p, err := scheme().Key(u, cryptogram.Card{Issuer: c.name.Issuer, ASN: c.name.ASN}, 1, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// start initialises the card for an order and returns it with the card's fields
// and MAC1.
func (c *card) start(o load.Order) (load.Order, [4]byte) {
	c.draw++
	binary.BigEndian.PutUint32(o.Rand[:], c.draw*2654435761)
	o.Seq, o.Balance = c.seq[o.Purse()], c.balance[o.Purse()]
	if o.Kind == load.Overdraft {
		o.OldLimit, _ = cryptogram.NewLimit(c.limit)
	}
	c.open = &o
	mac1, _, _ := c.macs(o)
	return o, mac1
}

// show initialises the card to show what it holds.
func (c *card) show(r load.Record) (load.Shown, [4]byte) {
	o := load.Order{Kind: load.Credit, Type: cryptogram.LoadDeposit, Amount: 1, Terminal: r.Probe, At: r.At}
	if r.Purse() == load.EPurse {
		o.Type = cryptogram.LoadPurse
	}
	o, mac1 := c.start(o)
	return load.Shown{Rand: o.Rand, Seq: o.Seq, Balance: o.Balance, Amount: o.Amount}, mac1
}

// obey takes MAC2 and returns the acknowledgement.
func (c *card) obey(at cryptogram.DateTime, mac2 [4]byte) ([4]byte, error) {
	o := c.open
	if c.open = nil; o == nil {
		return [4]byte{}, errCard
	}
	o.At = at
	_, want, ack := c.macs(*o)
	if want != mac2 {
		return [4]byte{}, errCard
	}
	switch p := o.Purse(); o.Kind {
	case load.Credit:
		c.balance[p] += o.Amount
	case load.Debit:
		c.balance[p] -= o.Amount
	default:
		c.balance[p] += o.NewLimit.Fen() - o.OldLimit.Fen()
		c.limit = o.NewLimit.Fen()
	}
	c.seq[o.Purse()]++
	return ack, nil
}

// macs computes what card and host say to each other in a session.
func (c *card) macs(o load.Order) (mac1, mac2, ack [4]byte) {
	ctx := context.Background()
	var err error
	tac := func(r cryptogram.Receipted) {
		if err == nil {
			ack, err = cryptogram.TAC(ctx, c.keys, c.key(keyref.TACMaster), cryptogram.TACFold, r)
		}
	}
	switch o.Kind {
	case load.Credit:
		l := cryptogram.Load{Rand: o.Rand, Seq: o.Seq, Balance: o.Balance, Amount: o.Amount, Type: o.Type, Terminal: o.Terminal, At: o.At}
		mac1, mac2, err = cryptogram.LoadMACs(ctx, c.keys, c.key(keyref.LoadMaster), l)
		tac(l)
	case load.Debit:
		mac1, mac2, ack, err = cryptogram.UnloadMACs(ctx, c.keys, c.key(keyref.UnloadMaster), cryptogram.Unload{Rand: o.Rand,
			Seq: o.Seq, Balance: o.Balance, Amount: o.Amount, Terminal: o.Terminal, At: o.At})
	default:
		l := cryptogram.Overdraft{Rand: o.Rand, Seq: o.Seq, Balance: o.Balance, OldLimit: o.OldLimit, NewLimit: o.NewLimit,
			Terminal: o.Terminal, At: o.At}
		mac1, mac2, err = cryptogram.OverdraftMACs(ctx, c.keys, c.key(keyref.OverdraftMaster), l)
		tac(l)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return mac1, mac2, ack
}
