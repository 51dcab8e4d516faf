package terminal_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/terminal/psam"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

var (
	noon   = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)
	number = [6]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55}
	cards  = keyref.Ref{Realm: wallettest.Realm, Usage: keyref.PurchaseMaster, Version: 1}
)

// rig is a provisioned phone, a PSAM and what a reader is told.
type rig struct {
	issuer *wallettest.Issuer
	phone  *bundle.Card
	module apdu.Transmitter
	policy terminal.Policy
	deny   terminal.Lists
	class  deny.Class
	queue  *terminal.Queue
	tac    cryptogram.Keys // the issuer's side: TAC checks
	now    time.Time
	offset time.Duration // of the reader's clock against the phone's
}

// estates are the two places where keys can live; every test that touches MACs
// runs on both.
var estates = map[string]func(testing.TB) *rig{"softkey": softRig, "SoftHSM": hsmRig}

func onEstates(t *testing.T, test func(t *testing.T, r *rig)) {
	for name, make := range estates {
		t.Run(name, func(t *testing.T) { test(t, make(t)) })
	}
}

func softRig(t testing.TB) *rig {
	i := issuer(t)
	r := build(t, i, i.Service, i.Keys.Ring)
	r.tac, r.policy.Issuers = i.Keys.Ring, i.Pinned
	if err := i.Keys.Ring.ImportScratch(t.Context(), cards, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	return r
}

func hsmRig(t testing.TB) *rig {
	service, sam := hsmtest.Pair(t)
	i := issuer(t)
	s, err := wallet.New(i.Config(service))
	if err != nil {
		t.Fatal(err)
	}
	r := build(t, i, s, sam)
	pub, err := service.PublicKey(t.Context(), keyref.Ref{Usage: keyref.CredSign, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.tac, r.policy.Issuers = service, credential.Keys{1: pub}
	return r
}

func issuer(t testing.TB) *wallettest.Issuer {
	i, err := wallettest.New(t.Context(), t.TempDir(), noon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func build(t testing.TB, i *wallettest.Issuer, s *wallet.Service, sam psam.Keys) *rig {
	i.Service = s
	b, err := i.Provision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{issuer: i, now: noon}
	if r.phone, err = bundle.NewCard(b, bundle.Config{Journal: &bundle.Memory{}, Now: func() time.Time { return r.now }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.phone.Close)
	r.module, err = psam.New(psam.Config{Keys: sam, Terminal: number, Serial: &psam.Counter{}, Table: map[psam.KeyID]keyref.Ref{
		{Usage: psam.ThreeLevels, Version: 1}: wallettest.PurchaseMaster,
		{Usage: psam.TwoLevels, Version: 1}:   cards,
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.policy.Tokens = []terminal.Range{{Prefix: "310420", Length: 19}}
	r.queue = openQueue(t, filepath.Join(t.TempDir(), "taps"), noon)
	return r
}

func openQueue(t testing.TB, path string, now time.Time) *terminal.Queue {
	t.Helper()
	q, err := terminal.OpenQueue(path, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func (r *rig) reader(t testing.TB) *terminal.Reader {
	t.Helper()
	rd, err := terminal.NewReader(t.Context(), terminal.Config{Module: r.module, Policy: r.policy, Class: r.class, Deny: r.deny, Queue: r.queue,
		Now: func() time.Time { return r.now.Add(r.offset) }})
	if err != nil {
		t.Fatal(err)
	}
	return rd
}

// refuses taps and wants the given refusal; live is how many slots are left.
func (r *rig) refuses(t testing.TB, card apdu.Transmitter, want terminal.Refusal, live int) {
	t.Helper()
	if _, err := r.reader(t).Tap(t.Context(), card, 300); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if r.phone.Live() != live {
		t.Errorf("%d slots live, want %d", r.phone.Live(), live)
	}
	if r.queue.Pending() != 0 {
		t.Error("a refused tap waits for upload")
	}
}

// between is a card whose answers, or a module whose answers, pass through fn.
// fn may answer itself; a nil fn result is a card that left the field.
type between struct {
	card apdu.Transmitter
	fn   func(cmd apdu.Command, answer []byte) []byte
}

func (b between) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	out, err := b.card.Transmit(ctx, command)
	if err != nil {
		return nil, err
	}
	cmd, err := apdu.ParseCommand(command)
	if err != nil {
		return nil, err
	}
	if out = b.fn(cmd, out); out == nil {
		return nil, errors.New("card left the field")
	}
	return out, nil
}

// presenting lets edit change what the phone shows.
func presenting(card apdu.Transmitter, edit func(p *credential.Presentation)) apdu.Transmitter {
	return between{card, func(cmd apdu.Command, out []byte) []byte {
		if cmd.INS != 0xCA {
			return out
		}
		p, err := credential.ParsePresentation(out[:len(out)-2])
		if err != nil {
			return out
		}
		edit(&p)
		return append(p.Bytes(), 0x90, 0)
	}}
}

// wallettestASN is the number of the phone's token as cards show it.
func wallettestASN(t testing.TB) [10]byte {
	t.Helper()
	n, err := token.ParseNumber(wallettest.Number)
	if err != nil {
		t.Fatal(err)
	}
	return n.ASN()
}

// held is a list that nothing replaces.
type held struct{ list *deny.List }

// Current implements [terminal.Lists].
func (h held) Current() *deny.List { return h.list }

// lister signs lists for readers.
type lister struct {
	key  *ecdsa.PrivateKey
	keys deny.Keys
}

func newLister(t testing.TB) lister {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return lister{k, deny.Keys{1: &k.PublicKey}}
}

func (l lister) sign(d [32]byte) ([64]byte, error) {
	return (&wallettest.Keys{Signer: l.key}).Sign(context.Background(), keyref.Ref{}, d)
}

// snapshot is a list of the given entries, issued at a moment.
func (l lister) snapshot(t testing.TB, issued time.Time, version uint64, s deny.Switches, entries ...deny.Entry) []byte {
	t.Helper()
	doc, err := deny.Snapshot{Head: deny.Head{KeyID: 1, Issued: issued, Until: issued.Add(48 * time.Hour)},
		Version: version, Switches: s, Entries: entries}.Sign(l.sign)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// list is what a reader makes of a snapshot.
func (l lister) list(t testing.TB, issued time.Time, version uint64, s deny.Switches, entries ...deny.Entry) held {
	t.Helper()
	list, err := deny.Open(l.snapshot(t, issued, version, s, entries...), l.keys)
	if err != nil {
		t.Fatal(err)
	}
	return held{list}
}

var _ psam.Keys = (*softkey.Ring)(nil)
