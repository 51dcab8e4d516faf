package terminal_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/psam"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

// A reader takes 3 yuan from a phone. Nothing here has a network.
func Example() {
	ctx, now := context.Background(), func() time.Time { return noon }
	dir, err := os.MkdirTemp("", "reader-")
	if err != nil {
		log.Panic(err)
	}
	defer os.RemoveAll(dir)
	issuer, err := wallettest.New(ctx, dir, noon)
	if err != nil {
		log.Panic(err)
	}
	defer issuer.Close()
	b, err := issuer.Provision(ctx)
	if err != nil {
		log.Panic(err)
	}
	phone, err := bundle.NewCard(b, bundle.Config{Journal: &bundle.Memory{}, Now: now})
	if err != nil {
		log.Panic(err)
	}

	// The module holds the slot master under usage 62: three levels, purchase.
	serial, err := psam.OpenFile(filepath.Join(dir, "serial"))
	if err != nil {
		log.Panic(err)
	}
	defer serial.Close()
	module, err := psam.New(psam.Config{
		Keys:     issuer.Keys.Ring,
		Table:    map[psam.KeyID]keyref.Ref{{Usage: psam.ThreeLevels, Version: 1}: wallettest.PurchaseMaster},
		Terminal: [6]byte{0, 0, 0, 0, 0, 1},
		Serial:   serial,
	})
	if err != nil {
		log.Panic(err)
	}
	queue, err := terminal.OpenQueue(filepath.Join(dir, "taps"), noon)
	if err != nil {
		log.Panic(err)
	}
	defer queue.Close()
	reader, err := terminal.NewReader(ctx, terminal.Config{
		Module: module,
		Queue:  queue,
		Policy: terminal.Policy{Tokens: []terminal.Range{{Prefix: "310420", Length: 19}}, Issuers: issuer.Pinned},
		Now:    now,
	})
	if err != nil {
		log.Panic(err)
	}

	tap, err := reader.Tap(ctx, phone, 300)
	fmt.Println(tap.Number(), "paid", tap.Amount, "fen with slot", tap.UD.Ctr, err)
	_, err = reader.Tap(ctx, phone, 1001)
	fmt.Println(err)
	fmt.Println(queue.Pending(), "tap to upload,", phone.Live(), "slots left")
	// Output:
	// token(…0123) paid 300 fen with slot 1 <nil>
	// tap refused: over-cap
	// 1 tap to upload, 2 slots left
}
