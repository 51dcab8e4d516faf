package conformance

import (
	"context"
	"encoding/hex"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// emvFunctions are the functions of EMV, key blocks and FF1 that can be run.
var emvFunctions = map[string]computation{
	"icc_mk_option_a":            master(emv.OptionA),
	"icc_mk_option_b":            master(emv.OptionB),
	"icc_mk_option_c_aes":        masterAES,
	"session_key_csk_tdes":       sessionCommon,
	"session_key_mastercard_skd": sessionMChip,
	"session_key_csk_aes":        sessionAES,
	"session_key_visa_sm":        sessionVisa,
	"session_key_emv2000_tree":   sessionTree,
	"ac_tdes":                    acTDES,
	"ac_aes_cmac":                acAES,
	"arpc_method1_tdes":          arpc1,
	"arpc_method2_tdes":          arpc2("key", keyref.SessionKey),
	"arpc_method2_aes":           arpc2("sk_ac", keyref.SessionKeyAES),
	"arqc_visa_cvn10":            profile("visa-10"),
	"arqc_visa_cvn18":            profile("visa-18"),
	"arqc_visa_cvn22":            profile("visa-22"),
	"arqc_mastercard_cvn16":      profile("mchip-16"),
	"arqc_mastercard_cvn17":      profile("mchip-17"),
	"arqc_mastercard_cvn20":      profile("mchip-20"),
	"arqc_mastercard_cvn21":      profile("mchip-21"),
	"arqc_arpc_chain":            arqcChain,
	"aes_cmac":                   cmacAES,
	"tdes_cmac":                  cmacTDES,
	"retail_mac_alg3":            retail,
	"cbc_mac_alg1_tdes":          cbc,
	"sm_command_mac":             scriptMAC,
	"sm_encipher":                scriptEncipher,
	"pin_change_blocks":          pinBlocks,
	"cvv_static":                 cvv,
	"dcvv_visa":                  dcvv,
	"cvc3_mastercard":            cvc3,
	"luk_visa":                   luk,
	"luk_msd_value":              lukStripe,
	"luk_qvsdc_cryptogram":       lukCryptogram,
	"pin_masked_session_key":     pinMask,
	"hce_dual_cryptogram":        dual,
	"kcv_tdes":                   kcvTDES,
	"kcv_aes":                    kcvAES,
	"key_components_xor":         components,
	"tr31_unwrap_a":              unwrap,
	"tr31_unwrap_b":              unwrap,
	"tr31_unwrap_c":              unwrap,
	"tr31_unwrap_d":              unwrap,
	"tr31_wrap_fixed_padding":    wrap,
	"tr31_unwrap_reject":         unwrapReject,
	"tr31_kbpk_derivation":       derivation,
	"ff1":                        permute,
	"ff1_reject":                 permuteReject,
}

func master(rule emv.MasterRule) computation {
	return func(ctx context.Context, s *session, in *input) (answers, error) {
		root, card := in.hex("issuer_mk", 16), in.card()
		if in.err != nil {
			return nil, nil
		}
		step, err := rule.Step(card)
		if err != nil {
			return nil, err
		}
		c, err := s.key(ctx, keyref.ACMaster, root)
		c = c.Then(step)
		out := answers{"icc_mk": s.sameChain(c, root, true), "icc_mk_kcv": s.kcv(c), "y": equals(step[:8])}
		if rule == emv.OptionB {
			out.optionB(card, len(in.text("pan", "")))
		}
		return out, err
	}
}

// optionB adds what stands between a card and its key by option B, which hashes
// numbers of more than 16 digits only.
func (a answers) optionB(card emv.Card, digits int) {
	if digits <= 16 {
		a["method"] = is("A (PAN of 16 digits or fewer)")
		return
	}
	hashed, sum := card.Digest()
	found := 0
	for _, c := range hex.EncodeToString(sum[:]) {
		if c <= '9' {
			found++
		}
	}
	a["method"], a["sha1_input"], a["sha1"] = is("B"), equals(hashed), equals(sum[:])
	a["second_pass_digits"] = is(max(0, 16-found))
}

func masterAES(ctx context.Context, s *session, in *input) (answers, error) {
	root, card := in.bytes("issuer_mk", 16, 32), in.card()
	rule := map[int]emv.MasterRule{16: emv.OptionC128, 24: emv.OptionC192, 32: emv.OptionC256}[len(root)]
	if in.err != nil {
		return nil, nil
	}
	step, err := rule.Step(card)
	if err != nil {
		return nil, err
	}
	c, err := s.key(ctx, keyref.ACMasterAES, root)
	return answers{"icc_mk": s.sameAES(c.Then(step)), "y": equals(step[:16])}, err
}

func sessionCommon(ctx context.Context, s *session, in *input) (answers, error) {
	return s.session(ctx, in.hex("icc_mk", 16), in.hex("r", 8), in)
}

func sessionMChip(ctx context.Context, s *session, in *input) (answers, error) {
	r := append(append(in.hex("atc", 2), 0, 0), in.hex("un", 4)...)
	return s.session(ctx, in.hex("icc_mk", 16), r, in)
}

// session computes the common session key of a seed.
func (s *session) session(ctx context.Context, root, r []byte, in *input) (answers, error) {
	if in.err != nil {
		return nil, nil
	}
	c, err := s.key(ctx, keyref.ACMaster, root)
	c = c.Then(emv.CommonStep(r, 0))
	return answers{"r": equals(r), "sk": s.sameChain(c, root, true), "sk_kcv": s.kcv(c), "sk_before_parity": s.sameChain(c, root, false)}, err
}

func sessionAES(ctx context.Context, s *session, in *input) (answers, error) {
	root, atc := in.bytes("icc_mk", 16, 32), in.hex("atc", 2)
	if in.err != nil {
		return nil, nil
	}
	c, err := s.key(ctx, keyref.ACMasterAES, root)
	if err != nil {
		return nil, err
	}
	step, _, err := emv.SessionCommon.Step(len(root), emv.Data{"9F36": atc})
	return answers{"sk": s.sameAES(c.Then(step))}, err
}

// sessionVisa is in memory: no mechanism xors a key with data.
func sessionVisa(ctx context.Context, s *session, in *input) (answers, error) {
	sk := emv.VisaSession((*[16]byte)(in.hex("icc_mk", 16)), [2]byte(in.hex("atc", 2)))
	if in.err != nil {
		return nil, nil
	}
	c, err := s.key(ctx, keyref.SessionKey, sk[:])
	return answers{"sk": equals(sk[:]), "sk_kcv": s.kcv(c)}, err
}

func acTDES(ctx context.Context, s *session, in *input) (answers, error) {
	c, err := s.own(ctx, in, "sk_ac")
	data, p, n := in.bytes("data", 0, longestData), in.padding("padding"), in.length()
	if in.err != nil || err != nil {
		return nil, err
	}
	ac, err := emv.Cryptogram(ctx, s.ring, c, p, data)
	return answers{"ac": equals(ac[:n])}, err
}

func acAES(ctx context.Context, s *session, in *input) (answers, error) {
	root, data, n := in.bytes("sk_ac", 16, 32), in.bytes("data", 0, longestData), in.length()
	if in.err != nil {
		return nil, nil
	}
	c, err := s.key(ctx, keyref.SessionKeyAES, root)
	if err != nil {
		return nil, err
	}
	full, err := s.ring.CMAC(ctx, c, data)
	if err != nil {
		return nil, err
	}
	ac, err := emv.Cryptogram(ctx, s.ring, c, 0, data)
	return answers{"ac": equals(ac[:n]), "cmac16": equals(full[:])}, err
}

func arpc1(ctx context.Context, s *session, in *input) (answers, error) {
	c, err := s.own(ctx, in, "key")
	ac, code := [8]byte(in.hex("arqc", 8)), [2]byte(in.hex("arpc_rc", 2))
	if in.err != nil || err != nil {
		return nil, err
	}
	tag, err := emv.ARPC1(ctx, s.ring, c, ac, code)
	if err != nil {
		return nil, err
	}
	return answers{"arpc": equals(tag[:8]), "tag_91": equals(tag)}, nil
}

func arpc2(name string, u keyref.Usage) computation {
	return func(ctx context.Context, s *session, in *input) (answers, error) {
		root := in.bytes(name, 16, 32)
		ac := [8]byte(in.hex("arqc", 8))
		a := emv.Answer{Status: [4]byte(in.hex("csu", 4)), Proprietary: in.optional("proprietary_auth_data", 8)}
		if in.err != nil {
			return nil, nil
		}
		c, err := s.key(ctx, u, root)
		if err != nil {
			return nil, err
		}
		tag, err := emv.ARPC2(ctx, s.ring, c, u == keyref.SessionKeyAES, ac, a)
		if err != nil {
			return nil, err
		}
		return answers{"arpc": equals(tag[:4]), "tag_91": equals(tag)}, nil
	}
}

// optional reads up to most bytes that may be absent.
func (in *input) optional(name string, most int) []byte {
	if !in.has(name) {
		return nil
	}
	return in.bytes(name, 0, most)
}
