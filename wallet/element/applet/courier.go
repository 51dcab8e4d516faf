package applet

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// Deliver carries a script to an element. A phone or a terminal does it, and
// need not understand what it carries.
func Deliver(ctx context.Context, t apdu.Transmitter, aid, script []byte) error {
	if _, err := apdu.Send(ctx, t, apdu.Command{INS: 0xA4, P1: 4, Data: aid, Ne: 256}); err != nil {
		return err
	}
	for n := 0; len(script) > 0; n++ {
		k := min(apduBlock, len(script))
		c := apdu.Command{CLA: 0x84, INS: 0xE2, P2: byte(n), Data: script[:k]}
		if script = script[k:]; len(script) == 0 {
			c.P1 = 0x80
		}
		if _, err := apdu.Send(ctx, t, c); err != nil {
			return fmt.Errorf("delivering a script: %w", err)
		}
	}
	return nil
}

// Fetch brings an element's receipt.
func Fetch(ctx context.Context, t apdu.Transmitter, aid []byte) (receipt []byte, err error) {
	if _, err := apdu.Send(ctx, t, apdu.Command{INS: 0xA4, P1: 4, Data: aid, Ne: 256}); err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		r, err := apdu.Send(ctx, t, apdu.Command{CLA: 0x80, INS: 0xE4, P2: byte(n), Ne: 256})
		if err != nil {
			return nil, fmt.Errorf("fetching a receipt: %w", err)
		}
		if receipt = append(receipt, r.Data...); len(r.Data) < apduBlock || len(receipt) > message.MaxReceipt {
			return receipt, nil
		}
	}
}
