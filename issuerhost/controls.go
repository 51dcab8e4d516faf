package issuerhost

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/token"
)

// Controls judges uses of tokens by their domain restriction controls, and counts
// them.
type Controls interface {
	// Spend judges a use and counts it, once for each id of a token. It returns
	// the reason for the record when the controls refuse.
	Spend(ctx context.Context, t token.Standing, use token.Use, id string) (reason string, err error)
}

// yuan is the currency of amounts that controls bound.
const yuan = 156

// controlled judges a use of a token whose cryptogram held and whose counter was
// taken; cards have no controls. The use counts once for each counter, however
// often the attempt is made.
func (f subject) controlled(ctx context.Context, name [32]byte, value uint16, amount uint64, currency uint16, u token.Use) error {
	if f.token == nil || f.token.Controls.IsZero() {
		return nil
	}
	c := f.token.Controls
	if (c.MaxAmount != 0 || c.MaxSum != 0) && (amount > math.MaxUint32 || currency != yuan) {
		return f.refuse(ctx, "control-amount", ErrRefused) // it is not known in fen
	}
	u.Amount = token.Amount(min(amount, math.MaxUint32))
	if u.Requestor == "" {
		u.Requestor = token.Requestor(f.caller.Requestor)
	}
	reason, err := f.cfg.Controls.Spend(ctx, f.token.Standing(), u, fmt.Sprintf("emv:%x:%d", name[:12], value))
	if err != nil {
		return fmt.Errorf("judging a token's controls: %w", err)
	}
	if reason != "" {
		return f.refuse(ctx, reason, ErrRefused)
	}
	return nil
}

// unknown stands for a currency that nobody told.
const unknown = math.MaxUint16

// said is what the data of a transaction says of the purchase: amount and currency
// as in fields 9F02 and 5F2A, and where it was made. What is not there, or not in
// its form, is not known; a control on it refuses.
func said(d emv.Data) (amount uint64, currency uint16, u token.Use) {
	currency = unknown
	if n, ok := decimal(d["9F02"], 6); ok {
		amount = n
		if n, ok := decimal(d["5F2A"], 2); ok {
			currency = uint16(n)
		} else if d["5F2A"] == nil { // profiles without it are of this currency
			currency = yuan
		}
	}
	if n, ok := decimal(d["9F1A"], 2); ok && n < 1000 {
		u.Country = fmt.Sprintf("%03d", n)
	}
	if n, ok := decimal(d["9F15"], 2); ok {
		u.MCC = fmt.Sprintf("%04d", n)
	}
	u.Merchant = strings.TrimRight(string(d["9F16"]), " ")
	u.Terminal = strings.TrimRight(string(d["9F1C"]), " ")
	if m := d["9F39"]; len(m) == 1 {
		u.Channel = entryModes[m[0]]
	}
	return amount, currency, u
}

// entryModes are the channels of POS entry modes (9F39, ISO 8583 field 22).
var entryModes = map[byte]token.Channel{
	0x07: token.Contactless, 0x91: token.Contactless, // EMV, and mag-stripe mode
	0x10: token.Ecommerce, 0x81: token.Ecommerce, // on file; by a browser
}

// decimal reads a number of so many bytes of BCD.
func decimal(b []byte, size int) (n uint64, ok bool) {
	if len(b) != size {
		return 0, false
	}
	for _, digit := range hex.EncodeToString(b) {
		if digit > '9' {
			return 0, false
		}
		n = n*10 + uint64(digit-'0')
	}
	return n, true
}

// remote is the use of a token whose cryptogram no reader took part in.
func remote(c token.Controls, presents token.Requestor) token.Use {
	u := token.Use{Requestor: presents, Channel: token.Ecommerce}
	for _, ch := range c.Channels {
		if ch == token.Ecommerce {
			return u
		}
		if ch == token.InApp {
			u.Channel = token.InApp
		}
	}
	return u
}
