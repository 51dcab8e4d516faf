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
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
)

// published is a card log that somebody else published: keys, what the card
// and its host sent, and what they answered.
type published struct {
	ID string `json:"id"`
	In struct {
		DLK, DPK, DTK string
		Rand          wire.Hex4 `json:"rand"`
		OnlineSeq     uint16    `json:"online_seq"`
		OfflineSeq    uint16    `json:"offline_seq"`
		TermSeq       uint32    `json:"term_seq"`
		Balance       uint32    `json:"balance"`
		Amount        uint32    `json:"amount"`
		TxnType       uint8     `json:"txn_type"`
		TermID        wire.Hex6 `json:"term_id"`
		Date          wire.Date `json:"date"`
		Time          wire.Time `json:"time"`
	} `json:"in"`
	Out struct {
		MAC1 wire.Hex4  `json:"mac1"`
		MAC2 wire.Hex4  `json:"mac2"`
		TAC  *wire.Hex4 `json:"tac"`
	} `json:"out"`
	Source string `json:"source"`
}

// realm is a realm of its own for each log: keys are one card's own, and each
// is imported for one use.
func (p published) realm() string {
	return strings.ReplaceAll(strings.TrimPrefix(p.ID, "epurse_"), "_", "-")
}

func (p published) keys(t *testing.T) map[keyref.Ref][]byte {
	t.Helper()
	keys := map[keyref.Ref][]byte{}
	for usage, text := range map[keyref.Usage]string{keyref.LoadMaster: p.In.DLK, keyref.PurchaseMaster: p.In.DPK,
		keyref.FoldedTAC: p.In.DTK} {
		if text == "" {
			continue
		}
		k, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		keys[keyref.Ref{Realm: p.realm(), Usage: usage, Version: 1}] = k
	}
	return keys
}

// readPublished returns the published logs of a function of the vector file.
func readPublished(t *testing.T, functions ...string) (all []published) {
	t.Helper()
	b, err := os.ReadFile("../../cryptogram/testdata/vectors/epurse.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Functions []struct {
			Function string
			Vectors  []json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, f := range file.Functions {
		for _, name := range functions {
			if f.Function != name {
				continue
			}
			for _, raw := range f.Vectors {
				var p published
				if err := json.Unmarshal(raw, &p); err != nil {
					t.Fatalf("%s: %v", f.Function, err)
				}
				if strings.HasPrefix(p.Source, "published:") {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

func labOf(t *testing.T, logs []published) *lab.Lab {
	t.Helper()
	keys := map[keyref.Ref][]byte{}
	for _, p := range logs {
		for ref, k := range p.keys(t) {
			keys[ref] = k
		}
	}
	return lab.New(t, lab.Options{Keys: keys, Config: func(c *assembly.Config) {
		for _, p := range logs {
			c.Realms = append(c.Realms, assembly.Realm{Name: p.realm(), Algorithms: map[byte]string{0: cryptogram.TDES},
				KeyVersions: map[byte]uint8{1: 1}, Test: true})
		}
	}})
}

func flip(m wire.Hex4) wire.Hex4 { m[3] ^= 1; return m }

func TestPublishedLoadsOverHTTP(t *testing.T) {
	logs := readPublished(t, "epurse_load_tdes")
	if len(logs) < 4 {
		t.Fatalf("%d published loads, at least 4 are known", len(logs))
	}
	l := labOf(t, logs)
	issuer := l.Client(t, "issuer")
	for _, p := range logs {
		t.Run(p.realm(), func(t *testing.T) {
			record := wire.LoadRecord{OnlineSeq: p.In.OnlineSeq, Balance: p.In.Balance, Amount: p.In.Amount,
				TxnType: p.In.TxnType, TermID: p.In.TermID, Date: p.In.Date, Time: p.In.Time}
			card := wire.Card{Realm: p.realm(), KeyVersion: 1}
			q := wire.Load{Card: card, Rand: p.In.Rand, LoadRecord: record, MAC1: p.Out.MAC1}
			mac2, err := issuer.Load(t.Context(), q)
			if err != nil || mac2 != p.Out.MAC2 {
				t.Fatalf("load: MAC2 differs from the card's host (%v)", err)
			}
			q.MAC1 = flip(q.MAC1)
			if _, err := issuer.Load(t.Context(), q); !client.IsProblem(err, "refused") {
				t.Errorf("load with another MAC1: %v", err)
			}
			if p.Out.TAC == nil {
				return
			}
			tac := wire.TACVerify{Card: card, TAC: *p.Out.TAC, Load: &record}
			if err := issuer.VerifyTAC(t.Context(), tac); err != nil {
				t.Errorf("TAC: %v", err)
			}
			tac.TAC = flip(tac.TAC)
			if err := issuer.VerifyTAC(t.Context(), tac); !client.IsProblem(err, "refused") {
				t.Errorf("another TAC: %v", err)
			}
		})
	}
}

// holds sees that the service makes the MAC1 of a purchase and takes its MAC2
// and TAC, and none that differs. It returns the purchase.
func holds(t *testing.T, issuer *client.Client, p published, card wire.Card) wire.Purchase {
	t.Helper()
	purchase := wire.Purchase{Card: card, Rand: p.In.Rand, OfflineSeq: p.In.OfflineSeq, Amount: p.In.Amount, TxnType: p.In.TxnType,
		TermID: p.In.TermID, TermSeq: p.In.TermSeq, Date: p.In.Date, Time: p.In.Time}
	mac1, err := issuer.PurchaseMAC1(t.Context(), purchase)
	if err != nil || mac1 != p.Out.MAC1 {
		t.Fatalf("MAC1 differs from the one that is known (%v)", err)
	}
	q := wire.PurchaseVerify{Purchase: purchase, MAC2: p.Out.MAC2, MAC1: &p.Out.MAC1, TAC: p.Out.TAC}
	if err := issuer.VerifyPurchase(t.Context(), q); err != nil {
		t.Errorf("MAC1, MAC2 and TAC: %v", err)
	}
	spoils := map[string]func(*wire.PurchaseVerify){
		"MAC2":   func(q *wire.PurchaseVerify) { q.MAC2 = flip(q.MAC2) },
		"MAC1":   func(q *wire.PurchaseVerify) { m := flip(*q.MAC1); q.MAC1 = &m },
		"amount": func(q *wire.PurchaseVerify) { q.Amount++ },
	}
	if q.TAC != nil {
		spoils["TAC"] = func(q *wire.PurchaseVerify) { m := flip(*q.TAC); q.TAC = &m }
	}
	for name, spoil := range spoils {
		bad := q
		spoil(&bad)
		if err := issuer.VerifyPurchase(t.Context(), bad); !client.IsProblem(err, "refused") {
			t.Errorf("another %s: %v", name, err)
		}
	}
	return purchase
}

func TestPublishedPurchasesOverHTTP(t *testing.T) {
	logs := readPublished(t, "epurse_purchase_tdes", "epurse_capp_purchase_tdes")
	if len(logs) < 2 {
		t.Fatalf("%d published purchases, at least 2 are known", len(logs))
	}
	l := labOf(t, logs)
	issuer := l.Client(t, "issuer")
	for _, p := range logs {
		t.Run(p.realm(), func(t *testing.T) {
			purchase := holds(t, issuer, p, wire.Card{Realm: p.realm(), KeyVersion: 1})
			if p.Out.TAC == nil {
				return
			}
			tac := wire.TACVerify{Card: purchase.Card, TAC: *p.Out.TAC, Purchase: &wire.PurchaseRecord{Amount: p.In.Amount,
				TxnType: p.In.TxnType, TermID: p.In.TermID, TermSeq: p.In.TermSeq, Date: p.In.Date, Time: p.In.Time}}
			if err := issuer.VerifyTAC(t.Context(), tac); err != nil {
				t.Errorf("TAC alone: %v", err)
			}
		})
	}
}
