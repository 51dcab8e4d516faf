package issuerhost

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
)

// way is one way to compute a cryptogram: a profile taken apart, so that each
// part of it can be turned by itself.
type way struct {
	profile string
	key     keyref.Ref
	master  emv.MasterRule
	session emv.SessionRule
	padding emv.Padding
	twice   bool // the message was padded before it was padded
	chained bool // every block under the whole key: algorithm 1
	pan     string
	psn     string
	names   []string // of fields, in order
	data    emv.Data // of the message
	derive  emv.Data // of the transaction's key
}

// base is the way that the profile says.
func (f subject) base(t Transaction) way {
	w := way{key: f.master, pan: t.Payer.PAN.Reveal(), psn: t.Payer.PSN, data: t.Data, derive: t.Data}
	w.follow(f.profile)
	return w.clone()
}

// follow turns everything that a profile decides.
func (w *way) follow(p emv.Profile) {
	w.profile, w.master, w.session, w.padding, w.names = p.Name, p.Master, p.Session, p.Padding, nil
	w.key.Usage = p.Usage()
	for _, f := range p.Fields {
		w.names = append(w.names, f.Name)
	}
}

func (w way) clone() way {
	w.names, w.data, w.derive = slices.Clone(w.names), maps.Clone(w.data), maps.Clone(w.derive)
	return w
}

func (w way) algorithm() string {
	switch {
	case w.master.AES():
		return "cmac"
	case w.chained:
		return "iso9797-1"
	}
	return "iso9797-3"
}

// message puts the fields together; a field that is missing makes it impossible.
func (w way) message() (msg []byte, err error) {
	for _, n := range w.names {
		if len(w.data[n]) == 0 {
			return nil, fmt.Errorf("%w: no field %s", emv.ErrMalformed, n)
		}
		msg = append(msg, w.data[n]...)
	}
	if w.twice {
		msg = mac.Pad2(msg, 8)
	}
	return msg, nil
}

// padded is the message as the algorithm takes it. AES-CMAC pads by itself.
func (w way) padded(msg []byte) []byte {
	switch w.padding {
	case emv.PadZeros:
		return mac.Pad1(msg, 8)
	case emv.PadMarker:
		return mac.Pad2(msg, 8)
	}
	return msg
}

// compose leads to the key and puts the message together.
func (w way) compose() (key keyref.Chain, padded []byte, err error) {
	card, err := emv.NewCard(w.pan, w.psn)
	if err != nil {
		return key, nil, err
	}
	msg, err := w.message()
	if err != nil {
		return key, nil, err
	}
	p := emv.Profile{Master: w.master, Session: w.session}
	if key, err = p.Card(w.key, card); err != nil {
		return key, nil, err
	}
	key, err = p.Transaction(key, w.derive)
	return key, w.padded(msg), err
}

func (w way) compute(ctx context.Context, k emv.Keys, key keyref.Chain, padded []byte) (ac [8]byte, err error) {
	switch {
	case w.master.AES():
		return emv.Cryptogram(ctx, k, key, 0, padded)
	case !w.chained:
		return emv.Cryptogram(ctx, k, key, emv.PadZeros, padded)
	}
	out, err := k.EncipherBlocks(ctx, key, true, padded)
	if err != nil {
		return ac, err
	}
	return [8]byte(out[len(out)-8:]), nil
}

// method is what may be told of a way: lengths, and no values.
func (w way) method(p emv.Profile) Method {
	m := Method{Profile: w.profile, Key: w.key.Label(), Master: w.master, Session: w.session, Algorithm: w.algorithm(), Padding: w.padding, PSN: w.psn}
	for _, name := range w.names {
		use := FieldUse{Name: name, Length: len(w.data[name])}
		for _, f := range p.Fields {
			if f.Name == name && (use.Length < f.Least || use.Length > f.Most) {
				use.Wants = strconv.Itoa(f.Least)
				if f.Most != f.Least {
					use.Wants += "-" + strconv.Itoa(f.Most)
				}
			}
		}
		m.Fields = append(m.Fields, use)
		m.Length += use.Length
	}
	m.Padded = len(w.padded(make([]byte, m.Length)))
	if w.twice {
		m.Padded = len(w.padded(mac.Pad2(make([]byte, m.Length), 8)))
	}
	return m
}
