package wallet

import (
	"context"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// Certify signs the issuer's word for slots of a secure element, which makes no
// device proofs. Who calls has passed the gate, and has had the slots granted.
func (s *Service) Certify(ctx context.Context, t token.Token, uds []credential.UD, risk byte) (credential.Credential, error) {
	return s.credential(ctx, t, uds, [33]byte{}, risk)
}
