package emv_test

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// A scheme is added as data. This one puts four fields under a common session
// key and answers by method 1.
func ExampleParseProfile() {
	profile, err := emv.ParseProfile([]byte(`{
		"name": "city", "master": "b", "session": "csk", "padding": 2,
		"fields": ["9F02:6", "5F2A:2", "9F37:4", "9F36:2"],
		"response": {"method": 1, "master": false}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, keys := context.Background(), &softkey.Ring{} // in service: the HSM
	master := keyref.Ref{Realm: "city", Usage: keyref.ACMaster, Version: 1}
	if err := keys.ImportScratch(ctx, master, []byte("a key for tests!")); err != nil {
		fmt.Println(err)
		return
	}
	card, _ := emv.NewCard("4000001234567890", "01")
	data := emv.Data{"9F02": {0, 0, 0, 0, 2, 0}, "5F2A": {1, 0x56}, "9F37": {1, 2, 3, 4}, "9F36": {0, 1}}
	arqc, err := profile.AC(ctx, keys, master, card, data)
	paid := emv.Transaction{Card: card, Data: data, AC: arqc}
	fmt.Println(err, profile.Verify(ctx, keys, master, paid))
	data["9F36"] = []byte{0, 2}
	fmt.Println(profile.Verify(ctx, keys, master, paid))
	// Output:
	// <nil> <nil>
	// cryptogram refused
}
