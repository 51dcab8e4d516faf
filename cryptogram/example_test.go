package cryptogram_test

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// A published log of a purchase with a Fudan FM1208 card whose keys were
// loaded by hand: the realm has no diversification.
func Example() {
	ctx := context.Background()
	key, _ := hex.DecodeString("00112233445566778899AABBCCDDEEFF")
	ring := &softkey.Ring{}
	_ = ring.ImportScratch(ctx, keyref.Ref{Realm: "log", Usage: keyref.PurchaseMaster, Version: 1}, key)
	_ = ring.ImportScratch(ctx, keyref.Ref{Realm: "log", Usage: keyref.FoldedTAC, Version: 1}, key)

	scheme := cryptogram.Scheme{
		Realm:       "log",
		Algorithms:  map[byte]string{0: cryptogram.TDES},
		KeyVersions: map[byte]uint8{1: 1},
		TAC:         cryptogram.TACFold, OverdraftTAC: cryptogram.TACFold,
	}
	at, _ := cryptogram.ParseDateTime("20161216", "134600")
	p := cryptogram.Purchase{
		Rand: [4]byte{0x58, 0x46, 0x33, 0xC9}, Amount: 1, Type: cryptogram.PurchasePurse,
		Terminal: [6]byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55}, At: at,
	}
	dpk, _ := scheme.Key(keyref.PurchaseMaster, cryptogram.Card{}, 1, 0)
	mac1, mac2, _ := cryptogram.PurchaseMACs(ctx, ring, dpk, p)
	dtk, _ := scheme.TACKey(scheme.TAC, cryptogram.Card{}, 1, 0)
	tac, _ := cryptogram.TAC(ctx, ring, dtk, scheme.TAC, p)
	fmt.Printf("%X %X %X\n", mac1, mac2, tac)
	// Output: D45737C5 66B54A6B 8AF270DC
}

// A terminal hands its security module what the card said; the factors stand
// in the reverse of the order in which they diversify.
func ExampleParseSAMInit() {
	data, _ := hex.DecodeString("A3F486E54894000123B30620351207004925010027B0E90C7605D74344C39BC88C09FF17")
	s, _ := cryptogram.ParseSAMInit(data)
	path, _ := s.Path(keyref.Ref{Realm: "transit", Usage: keyref.PurchaseMaster, Version: s.KeyVersion})
	fmt.Println(s.Seq, s.Amount, s.Type, s.At)
	fmt.Printf("%X then %X\n", path.Factors[0], path.Factors[1])
	// Output:
	// 18580 74675 6 20351207004925
	// 44C39BC88C09FF17 then 27B0E90C7605D743
}

func ExampleParseFactorRule() {
	for _, text := range []string{"issuer8", "issuer4x2", "asn8", "fixed:00112233aabbccdd", "asn"} {
		r, err := cryptogram.ParseFactorRule(text)
		if err != nil {
			fmt.Println("error")
			continue
		}
		fmt.Println(r)
	}
	// Output:
	// issuer8
	// issuer4x2
	// asn8
	// fixed:00112233AABBCCDD
	// error
}
