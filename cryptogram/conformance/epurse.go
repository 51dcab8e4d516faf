package conformance

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// computation reads a vector's input and computes what follows from it.
type computation func(ctx context.Context, s *session, in *input) (answers, error)

// results are the members of a purse's "out" that stand for an answer. Others
// are intermediate values, which may be left out.
var results = []string{"key", "dpk", "session_key", "mac1", "mac2", "mac3", "tac", "response", "new_balance"}

// functions are the functions of the purse that can be run, each by two
// algorithms: _tdes and _sm4. See [session.purse].
var functions = map[string]computation{
	"epurse_diversify":        diversify,
	"epurse_purchase":         purchase(cryptogram.PurchasePurse),
	"epurse_capp_purchase":    purchase(cryptogram.PurchaseCAPP),
	"epurse_load":             load,
	"epurse_unload":           unload,
	"epurse_update_overdraft": overdraft,
	"epurse_psam_8070":        psam,
}

func diversify(ctx context.Context, s *session, in *input) (answers, error) {
	key := in.hex("key", 16)
	path := keyref.Path{}
	for _, f := range in.factors() {
		var err error
		if path, err = path.Append(f); err != nil {
			return nil, err
		}
	}
	if in.err != nil {
		return nil, nil
	}
	master, err := s.use(ctx, keyref.PurchaseMaster, key)
	path.Key = master.Key
	return answers{"key": s.sameKey(path, key)}, err
}

// factors reads the list of 8-byte factors, root first.
func (in *input) factors() (fs []keyref.Factor) {
	if !in.has("factors") {
		in.fail("factors", "is missing")
		return nil
	}
	var raw []json.RawMessage
	if json.Unmarshal(in.members["factors"], &raw) != nil {
		in.fail("factors", "is not a list")
	}
	for _, r := range raw {
		b, err := parseHex(r)
		if err != nil || len(b) != 8 {
			in.fail("factors", "holds something else than 8 bytes")
			return nil
		}
		fs = append(fs, keyref.Factor(b))
	}
	return fs
}

// purchase computes both kinds of purchase; they differ in their type only.
func purchase(t cryptogram.Type) computation {
	return func(ctx context.Context, s *session, in *input) (answers, error) {
		p := cryptogram.Purchase{
			Rand: [4]byte(in.hex("rand", 4)), Seq: uint16(in.number("offline_seq", math.MaxUint16)),
			TermSeq: uint32(in.number("term_seq", math.MaxUint32)), Amount: uint32(in.number("amount", math.MaxUint32)),
			Type: cryptogram.Type(in.choice("txn_type", uint64(t), math.MaxUint8)), Terminal: [6]byte(in.hex("term_id", 6)), At: in.at(),
		}
		if in.has("auth_code") {
			code := [9]byte(in.hex("auth_code", 9))
			p.AuthCode = &code
		}
		a, err := s.process(ctx, in, "dpk", keyref.PurchaseMaster, p.ProcessInput(),
			member{"mac1", p.MAC1Input()}, member{"mac2", p.MAC2Input()})
		if err != nil {
			return nil, err
		}
		return a, s.tac(ctx, in, a, p)
	}
}

func load(ctx context.Context, s *session, in *input) (answers, error) {
	l := cryptogram.Load{
		Rand: [4]byte(in.hex("rand", 4)), Seq: uint16(in.number("online_seq", math.MaxUint16)),
		Balance: uint32(in.number("balance", math.MaxUint32)), Amount: uint32(in.number("amount", math.MaxUint32)),
		Type:     cryptogram.Type(in.choice("txn_type", uint64(cryptogram.LoadPurse), math.MaxUint8)),
		Terminal: [6]byte(in.hex("term_id", 6)), At: in.at(),
	}
	a, err := s.process(ctx, in, "dlk", keyref.LoadMaster, l.ProcessInput(),
		member{"mac1", l.MAC1Input()}, member{"mac2", l.MAC2Input()})
	if err != nil {
		return nil, err
	}
	return a, s.tac(ctx, in, a, l)
}

func unload(ctx context.Context, s *session, in *input) (answers, error) {
	u := cryptogram.Unload{
		Rand: [4]byte(in.hex("rand", 4)), Seq: uint16(in.number("online_seq", math.MaxUint16)),
		Balance: uint32(in.number("balance", math.MaxUint32)), Amount: uint32(in.number("amount", math.MaxUint32)),
		Terminal: [6]byte(in.hex("term_id", 6)), At: in.at(),
	}
	if t := in.choice("txn_type", uint64(cryptogram.UnloadDeposit), math.MaxUint8); t != uint64(cryptogram.UnloadDeposit) {
		in.fail("txn_type", "is not 3")
	}
	return s.process(ctx, in, "dulk", keyref.UnloadMaster, u.ProcessInput(),
		member{"mac1", u.MAC1Input()}, member{"mac2", u.MAC2Input()}, member{"mac3", u.MAC3Input()})
}

func overdraft(ctx context.Context, s *session, in *input) (answers, error) {
	o := cryptogram.Overdraft{
		Rand: [4]byte(in.hex("rand", 4)), Seq: uint16(in.number("online_seq", math.MaxUint16)),
		Balance:  uint32(in.number("balance", math.MaxUint32)),
		OldLimit: in.limit("old_limit"), NewLimit: in.limit("new_limit"),
		Terminal: [6]byte(in.hex("term_id", 6)), At: in.at(),
	}
	if t := in.choice("txn_type", uint64(cryptogram.OverdraftUpdate), math.MaxUint8); t != uint64(cryptogram.OverdraftUpdate) {
		in.fail("txn_type", "is not 7")
	}
	a, err := s.process(ctx, in, "duk", keyref.OverdraftMaster, o.ProcessInput(),
		member{"mac1", o.MAC1Input()}, member{"mac2", o.MAC2Input()})
	if err != nil {
		return nil, err
	}
	a["new_balance"] = equals(binary.BigEndian.AppendUint32(nil, o.NewBalance()))
	return a, s.tac(ctx, in, a, o)
}

// limit reads an overdraft limit of 3 bytes.
func (in *input) limit(name string) cryptogram.Limit {
	l, err := cryptogram.NewLimit(uint32(in.number(name, 0xFFFFFF)))
	if err != nil {
		in.fail(name, "does not fit in 3 bytes")
	}
	return l
}

// psam plays a security module that is asked with 80 70.
func psam(ctx context.Context, s *session, in *input) (answers, error) {
	if !in.has("data") {
		in.fail("data", "is missing")
	}
	data, err := parseHex(in.members["data"])
	if err != nil {
		in.fail("data", "is not a string of hex digits")
	}
	init, err := cryptogram.ParseSAMInit(data)
	if err != nil {
		in.fail("data", "is not a data field of INIT SAM FOR PURCHASE")
	}
	key := in.hex("mpk", 16)
	p := init.Purchase([6]byte(in.hex("term_id", 6)), uint32(in.number("term_seq", math.MaxUint32)))
	if in.err != nil {
		return nil, nil
	}
	master, err := s.use(ctx, keyref.PurchaseMaster, key)
	if err != nil {
		return nil, err
	}
	path, err := init.Path(master.Key)
	if err != nil {
		return nil, err
	}
	a, err := s.under(ctx, path, key, p.ProcessInput(), member{"mac1", p.MAC1Input()}, member{"mac2", p.MAC2Input()})
	if err != nil {
		return nil, err
	}
	a["dpk"] = s.sameKey(path, key)
	a["response"] = hexed(func(ctx context.Context, want []byte) error {
		if len(want) != 8 || binary.BigEndian.Uint32(want) != p.TermSeq {
			return errDiffers
		}
		return a["mac1"](ctx, json.RawMessage(strconv.Quote(hex.EncodeToString(want[4:]))))
	})
	return a, nil
}

// member is a MAC to be computed, by its name in "out".
type member struct {
	name string
	msg  []byte
}

// process computes MACs under the process key of a card key, when the vector
// gives that key.
func (s *session) process(ctx context.Context, in *input, name string, u keyref.Usage, input [8]byte, ms ...member) (answers, error) {
	if in.err != nil || !in.has(name) {
		return answers{}, nil
	}
	key := in.hex(name, 16)
	if in.err != nil {
		return answers{}, nil
	}
	path, err := s.use(ctx, u, key)
	if err != nil {
		return nil, err
	}
	return s.under(ctx, path, key, input, ms...)
}

// under computes MACs under the process key of the key at path.
func (s *session) under(ctx context.Context, path keyref.Path, root []byte, input [8]byte, ms ...member) (answers, error) {
	msgs := make([][]byte, len(ms))
	for i, m := range ms {
		msgs[i] = m.msg
	}
	macs, err := s.ring.ProcessMAC(ctx, path, input, msgs...)
	if err == nil && len(macs) != len(ms) {
		err = errors.New("another number of MACs was answered")
	}
	if err != nil {
		return nil, fmt.Errorf("computing MACs: %w", err)
	}
	a := answers{"session_key": s.sameProcessKey(path, root, input)}
	for i, m := range ms {
		a[m.name] = equals(macs[i][:])
	}
	return a, nil
}

// tac adds the TAC, when the vector gives the TAC key.
func (s *session) tac(ctx context.Context, in *input, a answers, t cryptogram.Receipted) error {
	mode, usage := cryptogram.TACMode(in.text("tac_mode", string(cryptogram.TACFold))), keyref.FoldedTAC
	switch mode {
	case cryptogram.TACFold:
	case cryptogram.TACDirect:
		usage = keyref.RetailTAC
	default:
		in.fail("tac_mode", "is neither fold nor direct")
	}
	if in.err != nil || !in.has("dtk") {
		return nil
	}
	key := in.hex("dtk", 16)
	if in.err != nil {
		return nil
	}
	path, err := s.use(ctx, usage, key)
	if err != nil {
		return err
	}
	tac, err := cryptogram.TAC(ctx, s.ring, path, mode, t)
	if err == nil {
		a["tac"] = equals(tac[:])
	}
	return err
}
