package api

import (
	"context"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// keys lists the HSM's keys: what they are, never what they hold.
func (s *server) keys(ctx context.Context, q *request) (any, error) {
	infos, err := s.Inventory.Keys(ctx, q.caller)
	if err != nil {
		return nil, err
	}
	out := wire.Keys{Keys: make([]wire.Key, len(infos))}
	for i, k := range infos {
		out.Keys[i] = keyOut(k)
	}
	return out, nil
}

var (
	typeNames = map[keyref.Type]string{keyref.DES3: "des3", keyref.AES256: "aes-256", keyref.HMAC: "hmac-sha256", keyref.ECP256: "ec-p256",
		keyref.AES: "aes", keyref.SM4: "sm4"}
	roleNames = map[keyref.Role]string{keyref.Derive: "derive", keyref.Encrypt: "encrypt", keyref.Decrypt: "decrypt", keyref.Sign: "sign"}
)

func keyOut(k keyref.Info) wire.Key {
	out := wire.Key{
		Label: k.Ref.Label(), Realm: k.Ref.Realm, Usage: string(k.Ref.Usage), Version: int(k.Ref.Version),
		Type: typeNames[k.Spec.Type], Role: roleNames[k.Spec.Role], Local: k.Local, State: k.State, Class: "hsm",
		Ceremony: k.Ceremony, Transcript: k.Transcript, Flag: k.Flag, Tokens: k.Tokens,
	}
	if k.Software {
		out.Class = "software"
	}
	if k.Spec.Second != 0 {
		out.Role += "+" + roleNames[k.Spec.Second]
	}
	if k.Check != nil {
		out.CheckValue = k.Check.String()
	}
	return out
}
