package conformance

import (
	"context"
	"strings"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// profile runs a profile from the issuer's key to its answer.
func profile(name string) computation {
	p := emv.Profiles[name]
	return func(ctx context.Context, s *session, in *input) (answers, error) {
		padded := in.optional("mac_input_already_padded", longestData)
		root, card, d := in.hex("issuer_mk_ac", 16), in.card(), in.data(p, padded != nil)
		a, asked := in.answer(p.Response.Method)
		if in.err != nil {
			return nil, nil
		}
		tx := emv.Transaction{Card: card, Data: d}
		out, keys, err := s.transaction(ctx, p, root, tx)
		if err != nil {
			return nil, err
		}
		if padded != nil {
			tx.AC, err = emv.Cryptogram(ctx, s.ring, keys.session, emv.PadZeros, padded)
		} else if tx.AC, err = p.AC(ctx, s.ring, keys.issuer, card, d); err == nil {
			var msg []byte
			msg, err = p.Input(d)
			out["mac_input"] = equals(msg)
		}
		if err != nil {
			return nil, err
		}
		out["arqc"] = equals(tx.AC[:])
		if !asked {
			return out, nil
		}
		tag, err := p.Issuer(ctx, s.ring, keys.issuer, tx, a)
		out.arpc(p, tag)
		return out, err
	}
}

// transactionKeys are the ends of the way from an issuer's key to a transaction's.
type transactionKeys struct {
	issuer  keyref.Ref
	session keyref.Chain
}

// transaction imports an issuer's key and goes from it to the card's and the
// transaction's, which are the first answers.
func (s *session) transaction(ctx context.Context, p emv.Profile, root []byte, t emv.Transaction) (out answers, keys transactionKeys, err error) {
	issuer, err := s.key(ctx, keyref.ACMaster, root)
	if err != nil {
		return nil, keys, err
	}
	card, err := p.Card(issuer.Key, t.Card)
	if err != nil {
		return nil, keys, err
	}
	key, err := p.Transaction(card, t.Data)
	if err != nil {
		return nil, keys, err
	}
	return answers{"icc_mk_ac": s.sameChain(card, root, true), "sk_ac": s.sameChain(key, root, true)}, transactionKeys{issuer.Key, key}, nil
}

// arpc adds the cryptogram at the beginning of an answer.
func (a answers) arpc(p emv.Profile, tag []byte) {
	if n := map[int]int{1: 8, 2: 4}[p.Response.Method]; len(tag) >= n {
		a["arpc"] = equals(tag[:n])
	}
}

// answer reads what an issuer answers with by a method; asked is false if it
// is not there, and then there is no answer to be computed.
func (in *input) answer(method int) (a emv.Answer, asked bool) {
	switch method {
	case 1:
		if asked = in.has("arpc_rc"); asked {
			a.Code = [2]byte(in.hex("arpc_rc", 2))
		}
	case 2:
		if asked = in.has("csu"); asked {
			a.Status, a.Proprietary = [4]byte(in.hex("csu", 4)), in.optional("proprietary_auth_data", 8)
		}
	}
	return a, asked
}

// data reads the fields of a transaction that p takes: those of its session key
// only, when the input of the cryptogram is given whole.
func (in *input) data(p emv.Profile, whole bool) emv.Data {
	d := emv.Data{}
	var names []string
	if p.Session != emv.SessionNone {
		names = append(names, "9F36")
	}
	if p.Session == emv.SessionMChip {
		names = append(names, "9F37")
	}
	for _, f := range p.Fields {
		if !whole {
			names = append(names, f.Name)
		}
	}
	for _, name := range names {
		for _, member := range []string{"tag_" + strings.ToLower(name), strings.ToLower(name)} {
			if in.has(member) {
				d[name] = in.bytes(member, 0, 255)
			}
		}
	}
	return d
}

// arqcChain is a chain whose rules the vector names.
func arqcChain(ctx context.Context, s *session, in *input) (answers, error) {
	root, card := in.hex("issuer_mk_ac", 16), in.card()
	p := emv.Profile{Master: emv.MasterRule(strings.ToLower(in.str("mk_option"))), Session: sessionRules[in.str("session_key")], Padding: in.padding("padding")}
	p.Response.Method = int(in.number("arpc_method", 2))
	d := emv.Data{}
	for member, n := range map[string]int{"atc": 2, "un": 4} {
		if in.has(member) {
			d[map[string]string{"atc": "9F36", "un": "9F37"}[member]] = in.hex(member, n)
		}
	}
	data := in.bytes("data", 0, longestData)
	a, asked := in.answer(p.Response.Method)
	if in.err != nil {
		return nil, nil
	}
	tx := emv.Transaction{Card: card, Data: d}
	out, keys, err := s.transaction(ctx, p, root, tx)
	if err != nil {
		return nil, err
	}
	if tx.AC, err = emv.Cryptogram(ctx, s.ring, keys.session, p.Padding, data); err != nil {
		return nil, err
	}
	out["arqc"] = equals(tx.AC[:])
	if !asked {
		return out, nil
	}
	p.Response.Master = p.Session != emv.SessionCommon
	tag, err := p.Issuer(ctx, s.ring, keys.issuer, tx, a)
	out.arpc(p, tag)
	return out, err
}

var sessionRules = map[string]emv.SessionRule{"none (ICC MK)": emv.SessionNone, "CSK": emv.SessionCommon, "M/Chip SKD": emv.SessionMChip}
