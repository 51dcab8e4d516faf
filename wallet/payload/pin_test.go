package payload_test

import (
	"bytes"
	"testing"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

const walletID = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")

func TestPINText(t *testing.T) {
	p, err := mask.ParsePIN([]byte("482915"))
	if err != nil {
		t.Fatal(err)
	}
	text := payload.PINText(walletID, p)
	if string(text) != "tapvault/pin/v1|wlAAAAAAAAAAAAAAAAAAAAAAAAAA|482915" {
		t.Errorf("%s", text)
	}
	if got, err := payload.ParsePINText(text, walletID); err != nil || string(got.AppendTo(nil)) != "482915" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "482915", string(text) + "0", string(text[:len(text)-1]) + "x"} {
		if _, err := payload.ParsePINText([]byte(bad), walletID); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := payload.ParsePINText(text, "wlBAAAAAAAAAAAAAAAAAAAAAAAAA"); err == nil {
		t.Error("a PIN sealed for one wallet is taken for another")
	}
}

func FuzzPINText(f *testing.F) {
	f.Add([]byte("tapvault/pin/v1|wlAAAAAAAAAAAAAAAAAAAAAAAAAA|482915"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := payload.ParsePINText(b, walletID); err == nil && !bytes.Equal(payload.PINText(walletID, p), b) {
			t.Fatal("print is not the inverse of parse")
		}
	})
}
