package conformance

import (
	"context"
	"encoding/binary"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
)

func luk(ctx context.Context, s *session, in *input) (answers, error) {
	root, index := in.hex("udk", 16), in.str("y")+in.str("hhhh")+in.str("cc")
	if in.err != nil {
		return nil, nil
	}
	card, err := s.key(ctx, keyref.LimitedUseMaster, root)
	if err != nil {
		return nil, err
	}
	c, err := emv.LimitedKey(card, index)
	if err != nil {
		return nil, err
	}
	step := c.Steps[0]
	return answers{"luk": s.sameChain(c, root, false), "block_left": equals(step[:8]), "block_right": equals(step[8:])}, nil
}

func lukStripe(ctx context.Context, s *session, in *input) (answers, error) {
	c, err := s.own(ctx, in, "luk")
	atc, device := [2]byte(in.hex("atc", 2)), [8]byte(in.hex("device_type", 8))
	if in.err != nil || err != nil {
		return nil, err
	}
	v, err := emv.StripeValue(ctx, s.ring, c, atc, device)
	return answers{"msd_value": is(v)}, err
}

func lukCryptogram(ctx context.Context, s *session, in *input) (answers, error) {
	c, err := s.own(ctx, in, "luk")
	data := in.bytes("data", 0, longestData)
	if in.err != nil || err != nil {
		return nil, err
	}
	ac, err := emv.Cryptogram(ctx, s.ring, c, emv.PadMarker, data)
	return answers{"cryptogram": equals(ac[:])}, err
}

// dual makes both keys of a phone's transaction and both cryptograms, and that
// of a wrong PIN.
func dual(ctx context.Context, s *session, in *input) (answers, error) {
	user, device := in.hex("icc_mk_umd", 16), in.hex("icc_mk_md", 16)
	data, pin, wrong := in.bytes("data", 0, longestData), in.str("pin"), in.str("wrong_pin")
	step := emv.CommonStep(binary.BigEndian.AppendUint64(nil, uint64(binary.BigEndian.Uint16(in.hex("atc", 2)))<<48), 0)
	if in.err != nil {
		return nil, nil
	}
	u, err := s.key(ctx, keyref.UserMaster, user)
	if err != nil {
		return nil, err
	}
	d, err := s.key(ctx, keyref.DeviceMaster, device)
	if err != nil {
		return nil, err
	}
	u, d = u.Then(step), d.Then(step)
	acUser, err := emv.Cryptogram(ctx, s.ring, u, emv.PadMarker, data)
	if err != nil {
		return nil, err
	}
	acDevice, err := emv.Cryptogram(ctx, s.ring, d, emv.PadMarker, data)
	if err != nil {
		return nil, err
	}
	key, err := s.along(ctx, user, [][]byte{step}, true)
	if err != nil {
		return nil, err
	}
	sent, err := emv.Mask((*[16]byte)(key), pin)
	if err != nil {
		return nil, err
	}
	acWrong, err := s.unmasked(ctx, &sent, wrong, data)
	return answers{"sk_umd": s.sameChain(u, user, true), "sk_md": s.sameChain(d, device, true), "ac_umd": equals(acUser[:]),
		"ac_md": equals(acDevice[:]), "iad_md_part": equals(acDevice[:emv.DevicePart]),
		"suk_umd_provisioned": equals(sent[:]), "ac_umd_wrong_pin": equals(acWrong[:])}, err
}

// unmasked is the cryptogram that a phone makes when pin takes the mask off the key
// that it was sent.
func (s *session) unmasked(ctx context.Context, sent *[16]byte, pin string, data []byte) (ac [8]byte, err error) {
	key, err := emv.Mask(sent, pin)
	if err != nil {
		return ac, err
	}
	c, err := s.key(ctx, keyref.SessionKey, key[:])
	if err != nil {
		return ac, err
	}
	return emv.Cryptogram(ctx, s.ring, c, emv.PadMarker, data)
}
