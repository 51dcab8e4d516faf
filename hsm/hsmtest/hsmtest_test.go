package hsmtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
)

func TestTokensAreApart(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			tok := hsmtest.New(t, hsmtest.Options{})
			list, err := tok.Inventory(context.Background())
			if err != nil || len(list) != len(keyceremony.ServiceKeys(hsmtest.Realm)) {
				t.Fatalf("inventory has %d keys, %v", len(list), err)
			}
			for _, k := range list {
				t.Logf("%-20s local=%v check=%v", k.Ref, k.Local, k.Check)
			}
		})
	}
}

func TestPairShares(t *testing.T) {
	service, psam := hsmtest.Pair(t)
	path, _ := keyceremony.PSAMKeys(hsmtest.Realm)[0].Path(keyref.Factor{1}, keyref.Factor{2})
	a, err := service.ProcessMAC(t.Context(), path, [8]byte{3}, []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := psam.ProcessMAC(t.Context(), path, [8]byte{3}, []byte("message"))
	if err != nil || a[0] != b[0] {
		t.Errorf("the PSAM's MAC differs (%v)", err)
	}
}
