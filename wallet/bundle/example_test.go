package bundle_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"os"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

// A handset makes a key, opens the bundle that was sealed to it, and answers a
// reader's first command.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "handset-")
	if err != nil {
		log.Panic(err)
	}
	defer os.RemoveAll(dir)
	issuer, err := wallettest.New(ctx, dir, noon)
	if err != nil {
		log.Panic(err)
	}
	defer issuer.Close()

	device, err := bundle.NewDevice(rand.Reader)
	if err != nil {
		log.Panic(err)
	}
	jwk, err := device.PublicJWK()
	if err != nil {
		log.Panic(err)
	}
	// In the field this is POST /v1/tokens/{ref}/bundles.
	sealed, err := issuer.Service.Bundle(ctx, wallettest.Caller, wallettest.Ref, jwk, access.Attempt{})
	if err != nil {
		log.Panic(err)
	}
	b, err := device.Open(sealed.JWE)
	if err != nil {
		log.Panic(err)
	}
	journal, err := bundle.OpenFile(dir, b.ID)
	if err != nil {
		log.Panic(err)
	}
	defer journal.Close()
	card, err := bundle.NewCard(b, bundle.Config{Journal: journal})
	if err != nil {
		log.Panic(err)
	}
	defer card.Close()

	answer, err := card.Transmit(ctx, []byte{0x00, 0xA4, 0x04, 0x00, 8, 0xA0, 0x00, 0x00, 0x06, 0x32, 0x01, 0x01, 0x05, 0x00})
	fmt.Println(card.Live(), "slots")
	fmt.Printf("%X %v\n", answer, err)
	// Output:
	// 3 slots
	// 6F168408A000000632010105A50A50084D4F545F545F45509000 <nil>
}
