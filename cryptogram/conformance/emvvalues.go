package conformance

import (
	"context"
	"encoding/binary"
	"encoding/hex"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
)

func cmacAES(ctx context.Context, s *session, in *input) (answers, error) {
	root, data := in.bytes("key", 16, 32), in.bytes("data", 0, longestData)
	if in.err != nil {
		return nil, nil
	}
	c, err := s.key(ctx, keyref.SessionKeyAES, root)
	if err != nil {
		return nil, err
	}
	full, err := s.ring.CMAC(ctx, c, data)
	return answers{"cmac": equals(full[:])}, err
}

// cmacTDES is in memory: it serves key blocks only, which are made there.
func cmacTDES(_ context.Context, _ *session, in *input) (answers, error) {
	key, data := in.bytes("key", 16, 24), in.bytes("data", 0, longestData)
	if in.err != nil {
		return nil, nil
	}
	b, err := tdes.New(key)
	if err != nil {
		return nil, err
	}
	return answers{"cmac": equals(mac.CMAC(b, data))}, nil
}

// padded reads data and a padding method of ISO 9797-1.
func (in *input) padded() []byte {
	data := in.bytes("data", 0, longestData)
	switch in.number("padding", 3) {
	case 1:
		return mac.Pad1(data, 8)
	case 2:
		return mac.Pad2(data, 8)
	case 3:
		return append(binary.BigEndian.AppendUint64(nil, uint64(len(data))*8), mac.Pad1(data, 8)...)
	}
	in.fail("padding", "is not 1, 2 or 3")
	return nil
}

func retail(ctx context.Context, s *session, in *input) (answers, error) {
	c, err := s.own(ctx, in, "key")
	msg := in.padded()
	if in.err != nil || err != nil {
		return nil, err
	}
	m, err := s.ring.MAC3(ctx, c, msg)
	return answers{"mac": equals(m[:])}, err
}

// cbc is algorithm 1. Keys of three lengths are none of EMV, so they are used
// in memory.
func cbc(ctx context.Context, s *session, in *input) (answers, error) {
	key, msg := in.bytes("key", 16, 24), in.padded()
	if in.err != nil {
		return nil, nil
	}
	if len(key) != 16 {
		b, err := tdes.New(key)
		if err != nil {
			return nil, err
		}
		return answers{"mac": equals(mac.CBC(b, msg))}, nil
	}
	c, err := s.key(ctx, keyref.SessionKey, key)
	if err != nil {
		return nil, err
	}
	out, err := s.ring.EncipherBlocks(ctx, c, true, msg)
	if err != nil {
		return nil, err
	}
	return answers{"mac": equals(out[len(out)-8:])}, nil
}

func scriptMAC(ctx context.Context, s *session, in *input) (answers, error) {
	c, err := s.own(ctx, in, "sk_smi")
	script := emv.Script{Header: [5]byte(in.hex("command_header", 5)), ATC: [2]byte(in.hex("atc", 2)), AC: [8]byte(in.hex("arqc", 8)),
		Data: in.bytes("command_data", 0, 255)}
	n := in.length()
	if in.err != nil || err != nil {
		return nil, err
	}
	m, err := script.MAC(ctx, s.ring, c)
	return answers{"mac": equals(m[:n])}, err
}

var schemes = map[string]emv.Confidentiality{"VISA": emv.ConfidentialVisa, "MASTERCARD": emv.ConfidentialMChip, "EMV": emv.ConfidentialEMV}

func scriptEncipher(ctx context.Context, s *session, in *input) (answers, error) {
	c, err := s.own(ctx, in, "sk_smc")
	data, rule := in.bytes("data", 1, 240), schemes[in.str("scheme")]
	if in.err != nil || err != nil {
		return nil, err
	}
	out, err := rule.Encipher(ctx, s.ring, c, data)
	return answers{"enciphered": equals(out)}, err
}

// pinBlocks is in memory: one of the blocks holds a part of a card's key.
func pinBlocks(_ context.Context, _ *session, in *input) (answers, error) {
	key, pin, current := [16]byte(in.hex("icc_mk_ac", 16)), in.str("new_pin"), in.text("current_pin", "")
	if in.err != nil {
		return nil, nil
	}
	vis, err := emv.PINBlockVIS(&key, pin, current)
	if err != nil {
		return nil, err
	}
	iso, err := emv.PINBlock2(pin)
	return answers{"vis_pin_block": equals(vis[:]), "iso2_pin_block": equals(iso[:])}, err
}

func cvv(ctx context.Context, s *session, in *input) (answers, error) {
	root, card, expiry, service := in.hex("cvk", 16), in.card(), in.str("expiry"), in.str("service_code")
	if in.err != nil {
		return nil, nil
	}
	c, err := s.key(ctx, keyref.CVK, root)
	if err != nil {
		return nil, err
	}
	v, err := emv.CVV(ctx, s.ring, c, emv.CVVInput{Card: card, Expiry: expiry, Service: service})
	return answers{"cvv": is(v)}, err
}

func dcvv(ctx context.Context, s *session, in *input) (answers, error) {
	root, card, atc := in.hex("issuer_mk_ac", 16), in.card(), in.hex("atc", 2)
	expiry, service := in.str("expiry"), in.str("service_code")
	rule := map[string]emv.MasterRule{"A": emv.OptionA, "B": emv.OptionBHash}[in.str("mk_option")]
	if in.err != nil {
		return nil, nil
	}
	step, err := rule.Step(card)
	if err != nil {
		return nil, err
	}
	c, err := s.key(ctx, keyref.ACMaster, root)
	if err != nil {
		return nil, err
	}
	v, err := emv.DynamicCVV(ctx, s.ring, rule, c.Key, emv.CVVInput{Card: card, Expiry: expiry, Service: service, ATC: [2]byte(atc)})
	return answers{"icc_mk": s.sameChain(c.Then(step), root, true), "dcvv": is(v),
		"altered_pan": is(hex.EncodeToString(atc) + in.str("pan")[len(atc)*2:])}, err
}

func cvc3(ctx context.Context, s *session, in *input) (answers, error) {
	root, card, track := in.hex("issuer_mk_cvc3", 16), in.card(), in.bytes("track_template", 1, 128)
	un, atc := [4]byte(in.hex("un", 4)), [2]byte(in.hex("atc", 2))
	if in.err != nil {
		return nil, nil
	}
	step, err := emv.OptionA.Step(card)
	if err != nil {
		return nil, err
	}
	c, err := s.key(ctx, keyref.CVC3Master, root)
	if err != nil {
		return nil, err
	}
	c = c.Then(step)
	iv, err := emv.TrackIV(ctx, s.ring, c, track)
	if err != nil {
		return nil, err
	}
	v, err := emv.CVC3(ctx, s.ring, c, emv.CVC3Input{Track: track, UN: un, ATC: atc})
	return answers{"icc_mk_cvc3": s.sameChain(c, root, true), "ivcvc3": equals(iv[:]), "cvc3": is(v)}, err
}

// pinMask is in memory: on a phone there is no module.
func pinMask(_ context.Context, _ *session, in *input) (answers, error) {
	key, pin, wrong := [16]byte(in.hex("single_use_key", 16)), in.str("pin"), in.str("wrong_pin")
	if in.err != nil {
		return nil, nil
	}
	right, err := emv.Mask(&key, pin)
	if err != nil {
		return nil, err
	}
	tried, err := emv.Mask(&key, wrong)
	if err != nil {
		return nil, err
	}
	odd := tried
	tdes.OddParity(odd[:])
	return answers{"session_key": equals(right[:]), "session_key_wrong_pin": equals(tried[:]), "wrong_key_has_odd_parity": is(odd == tried)}, nil
}

// sessionTree is in memory: each level xors keys.
func sessionTree(_ context.Context, _ *session, in *input) (answers, error) {
	key, atc, iv := [16]byte(in.hex("icc_mk", 16)), binary.BigEndian.Uint16(in.hex("atc", 2)), [16]byte(in.hex("iv", 16))
	height, branch := in.number("height", 16), in.number("branch_factor", 4)
	if in.err != nil {
		return nil, nil
	}
	sk, err := emv.TreeSession(&key, atc, int(height), int(branch), iv)
	return answers{"sk": equals(sk[:])}, err
}
