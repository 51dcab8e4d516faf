package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// yard is a service with gates, and phones whose slots pay there.
type yard struct {
	*desk
	config   hsm.Config
	soft     *softkey.Ring // the slot masters, for the phones
	accounts *account.Service
}

// wave is one batch for each gate.
type wave [gates][]account.Tap

func newYard(ctx context.Context, o Options, s *server) (_ *yard, err error) {
	cfg, done, err := scratch(ctx, o)
	if err != nil {
		return nil, err
	}
	o.HSM = &cfg
	y := &yard{config: cfg, soft: new(softkey.Ring)}
	if y.desk, err = newDesk(ctx, o, s); err != nil {
		return nil, errors.Join(err, done())
	}
	y.closers = slices.Insert(y.closers, 0, done, y.soft.Close)
	if err := y.masters(ctx); err != nil {
		return nil, errors.Join(err, y.close())
	}
	events, err := outbox.New(outbox.Config{DB: y.db})
	if err != nil {
		return nil, errors.Join(err, y.close())
	}
	book := tapdb.New(y.db, nil).With(events, account.Rules{Skew: 2 * time.Minute, Zone: time.UTC})
	y.accounts, err = account.New(account.Config{Tokens: y.vault.Writer(), Keys: y.hsm, Journal: book, Book: book, Gate: y.gate,
		Realm: benchKey.Realm, KeyVersions: []byte{1}, Zone: time.UTC})
	if err != nil {
		return nil, errors.Join(err, y.close())
	}
	return y, nil
}

func slotMaster(u keyref.Usage) keyref.Ref {
	return keyref.Ref{Realm: benchKey.Realm, Usage: u, Version: 1}
}

// masters gives the HSM slot masters whose values the phones know. The loop's
// own master has the value of the first.
func (y *yard) masters(ctx context.Context) error {
	purchase, tac := make([]byte, 16), make([]byte, 16)
	defer clear(purchase)
	defer clear(tac)
	if _, err := rand.Read(purchase); err != nil {
		return err
	}
	if _, err := rand.Read(tac); err != nil {
		return err
	}
	for _, k := range []struct {
		ref   keyref.Ref
		value []byte
		soft  bool
	}{{benchKey, purchase, false}, {slotMaster(keyref.SlotPurchaseMaster), purchase, true}, {slotMaster(keyref.SlotTACMaster), tac, true}} {
		if err := y.hsm.Import(ctx, k.ref, k.value); err != nil {
			return err
		}
		if k.soft {
			if err := y.soft.ImportScratch(ctx, k.ref, k.value); err != nil {
				return err
			}
		}
	}
	return y.hsm.Require(ctx, slotMaster(keyref.SlotPurchaseMaster), slotMaster(keyref.SlotTACMaster))
}

// phone is one wallet's token with its slots.
type phone struct {
	token token.Token
	slots []credential.UD
}

// waves opens as many wallets as it takes, and taps all their slots.
func (y *yard) waves(ctx context.Context) ([]wave, error) {
	// Every batch has one tap of each of 500 phones; ten batches use a group of
	// phones up.
	const all = 1 + tapRounds
	phones := make([]phone, gates*batchSize*((all+slotsEach-1)/slotsEach))
	if _, err := atOnce(len(phones), func(_, i int) (err error) { phones[i], err = y.phone(ctx, i); return err }); err != nil {
		return nil, err
	}
	waves := make([]wave, all)
	for w := range waves {
		for g := range gates {
			group := phones[(w/slotsEach*gates+g)*batchSize:][:batchSize]
			for i, p := range group {
				t, err := y.tap(ctx, p, g, w, i)
				if err != nil {
					return nil, err
				}
				waves[w][g] = append(waves[w][g], t)
			}
		}
	}
	return waves, nil
}

var (
	app     = access.Caller{ID: "app", Role: access.Wallet, Scopes: access.ForRole(access.Wallet)}
	terms   = account.Terms{Limit: 10000, Ceiling: 20000, KeyVersion: 1, Layout: slices.Repeat([]account.SlotKind{{Class: credential.Medium, Cap: 1000}}, slotsEach)}
	aDevice = token.DeviceID("dvAAAAAAAAAAAAAAAAAAAAAAAAAA")
)

// phone opens a wallet with 100 yuan, and has a token and slots made for it.
func (y *yard) phone(ctx context.Context, i int) (p phone, err error) {
	if p.token, err = y.request(ctx, i); err != nil {
		return p, err
	}
	w, err := y.accounts.Open(ctx, y.caller, account.Opening{Requestor: token.Requestor(y.caller.Requestor)})
	if err != nil {
		return p, err
	}
	if _, err := y.accounts.Happen(ctx, y.caller, w.ID, account.Happening{ID: "top-up", Kind: account.TopUp, Amount: 10000}); err != nil {
		return p, err
	}
	if err := y.accounts.Bind(ctx, app, w.ID, p.token.Ref, aDevice); err != nil {
		return p, err
	}
	s, err := y.accounts.Sync(ctx, app, account.SyncRequest{Wallet: w.ID, Ref: p.token.Ref, ID: "first", Clock: time.Now(), Terms: terms})
	if err == nil && (s.Grant == nil || len(s.Grant.Slots) != slotsEach) {
		err = errors.New("measuring taps: a phone got no slots")
	}
	if err != nil {
		return p, err
	}
	p.slots = s.Grant.Slots
	return p, nil
}

// tap is the record of a phone's nth payment. A phone stays at its gate, and
// pays once in ten seconds.
func (y *yard) tap(ctx context.Context, p phone, gate, n, i int) (account.Tap, error) {
	at := p.token.NotBefore.Add(time.Duration(n) * 10 * time.Second)
	t := account.Tap{Terminal: gateNumber(gate), Issuer: [8]byte{0x31, 4}, Number: p.token.Number, UD: p.slots[n%slotsEach],
		Rand: [4]byte{byte(n), byte(i >> 8), byte(i), byte(gate)}, Seq: p.slots[n%slotsEach].Ctr, Amount: 200,
		Type: cryptogram.PurchaseCAPP, TermSeq: uint32(n*batchSize + i + 1), At: cryptogram.DateTimeOf(at.UTC()), KeyVer: 1}
	asn := p.token.Number.ASN()
	path := func(u keyref.Usage) keyref.Path {
		k, _ := slotMaster(u).Path(t.Issuer, keyref.Factor(asn[2:]), t.UD.Bytes()) // three levels always are a path
		return k
	}
	var err error
	if t.MAC1, t.MAC2, err = cryptogram.PurchaseMACs(ctx, y.soft, path(keyref.SlotPurchaseMaster), t.Purchase()); err != nil {
		return t, err
	}
	t.TAC, err = cryptogram.TAC(ctx, y.soft, path(keyref.SlotTACMaster), cryptogram.TACFold, t.Purchase())
	return t, err
}

func gateNumber(g int) [6]byte { return [6]byte{0x31, 0, 0, 0, 0, byte(g + 1)} }

func gateName(g int) string { return fmt.Sprintf("%X", gateNumber(g)) }

func eight(n uint64) (f keyref.Factor) {
	binary.BigEndian.PutUint64(f[:], n)
	return f
}

func tapResult(sides, limits, ratios []float64) Result {
	slices.Sort(ratios)
	return Result{OpsPerS: median(sides), LimitPerS: median(limits), Ratio: median(ratios), Rounds: tapRounds, Ratios: ratios,
		Unit:  fmt.Sprintf("a wallet's tap, uploaded in batches of %d: judged, posted, in the ledger, committed", batchSize),
		Limit: "a C loop of the PKCS #11 calls that fetch the two keys of its slot"}
}
