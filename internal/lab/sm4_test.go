package lab_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
)

// sm4Purchase is one vector. Its numbers come from formulas: no card's log of SM4
// is public.
func sm4Purchase(t *testing.T) published {
	t.Helper()
	b, err := os.ReadFile("../../cryptogram/testdata/vectors/epurse.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Functions []struct {
			Function string
			Vectors  []published
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, f := range file.Functions {
		if f.Function == "epurse_purchase_sm4" {
			return f.Vectors[0]
		}
	}
	t.Fatal("the file holds no purchases of SM4")
	return published{}
}

// sm4Lab is a service that computes SM4 in its memory, with the keys of one card.
func sm4Lab(t *testing.T, p published) *lab.Lab {
	t.Helper()
	l := lab.Prepare(t, lab.Options{Config: func(c *assembly.Config) {
		c.HSM.SM4.SoftwareKeys = "sm4"
		c.Realms = append(c.Realms, assembly.Realm{Name: "sm4-card", Algorithms: map[byte]string{4: cryptogram.SM4},
			KeyVersions: map[byte]uint8{1: 1}, Test: true})
	}})
	tok, err := assembly.OpenHSM(t.Context(), l.Config)
	if err != nil {
		t.Fatal(err)
	}
	f, ok, err := l.Config.SoftwareFolder(t.Context(), group.Of(tok))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	for u, digits := range map[keyref.Usage]string{keyref.PurchaseMasterSM4: p.In.DPK, keyref.TACSM4: p.In.DTK} {
		key, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Import(t.Context(), keyref.Ref{Realm: "sm4-card", Usage: u, Version: 1}, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSM4OverHTTP: the algorithm id that the card answers is all that differs
// from a purchase by Triple DES, and the inventory says where its keys are.
func TestSM4OverHTTP(t *testing.T) {
	p := sm4Purchase(t)
	l := sm4Lab(t, p)
	issuer := l.Client(t, "issuer")
	purchase := holds(t, issuer, p, wire.Card{Realm: "sm4-card", KeyVersion: 1, AlgorithmID: 4})
	purchase.Card.AlgorithmID = 0
	if _, err := issuer.PurchaseMAC1(t.Context(), purchase); !client.IsProblem(err, "realm-unknown") {
		t.Errorf("an algorithm that the realm has not: %v", err)
	}
	list, err := l.Client(t, "officer").Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	software := 0
	for _, k := range list.Keys {
		if soft := k.Type == "sm4"; soft != (k.Class == "software") || soft && k.Local {
			t.Errorf("%s is listed as %+v", k.Label, k)
		} else if soft {
			software++
		}
	}
	if software != 2 || !strings.Contains(l.Logs.String(), "SM4 keys are used in the memory") {
		t.Errorf("%d keys of software are listed, of 2; or the log says nothing of them", software)
	}
}

// TestSM4KeyMissing: a service whose realm lacks a key does not start, and says
// which.
func TestSM4KeyMissing(t *testing.T) {
	l := lab.Prepare(t, lab.Options{Config: func(c *assembly.Config) {
		c.HSM.SM4.SoftwareKeys = "sm4"
		c.Realms[0].Algorithms[4] = cryptogram.SM4
	}})
	if err := l.Start(t); err == nil || !strings.Contains(err.Error(), "transit.mpk-sm4.v1") {
		t.Errorf("started, or not for its key: %v", err)
	}
}
