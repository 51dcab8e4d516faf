package transcript

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"strings"

	"github.com/tapvault/tapvault/keyceremony/officer"
)

const auditPrefix = "p256:"

// AuditPublic prints the public key of a token's audit key.
func AuditPublic(k *ecdsa.PublicKey) (string, error) {
	b, err := k.Bytes()
	return auditPrefix + strings.ToUpper(hex.EncodeToString(b)), err
}

// TokenDigest is what a token signs of a head.
func TokenDigest(head string) [32]byte {
	return sha256.Sum256([]byte("tapvault ceremony\x00" + DomainTranscript + "\x00" + head))
}

func verifyToken(public, head string, sig []byte) error {
	text, ok := strings.CutPrefix(public, auditPrefix)
	b, err := hex.DecodeString(text)
	if !ok || err != nil || len(sig) != 64 {
		return officer.ErrSignature
	}
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b)
	if err != nil {
		return officer.ErrSignature
	}
	d := TokenDigest(head)
	if !ecdsa.Verify(k, d[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return officer.ErrSignature
	}
	return nil
}
