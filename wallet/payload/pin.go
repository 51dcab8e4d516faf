package payload

import (
	"fmt"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
)

// pinDomain begins a PIN that is to be sealed.
const pinDomain = "tapvault/pin/v1|"

// PINText is what a holder's side seals to the service's intake key: the PIN
// with the wallet that it is for. The caller zeroes it when it is sealed.
func PINText(w token.WalletID, p mask.PIN) []byte {
	return p.AppendTo(append([]byte(pinDomain), string(w)+"|"...))
}

// ParsePINText is the inverse of [PINText] for one wallet.
func ParsePINText(b []byte, w token.WalletID) (mask.PIN, error) {
	head := pinDomain + string(w) + "|"
	if len(b) != len(head)+mask.PINSize || string(b[:len(head)]) != head {
		return mask.PIN{}, fmt.Errorf("%w: no PIN for this wallet", token.ErrMalformed)
	}
	return mask.ParsePIN(b[len(head):])
}
