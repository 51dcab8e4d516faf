package terminal_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/wallettest"
)

// device is a phone's own key, which makes proofs.
type device struct{ key *ecdsa.PrivateKey }

func newDevice(t testing.TB) device {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return device{k}
}

// point is the public key as credentials hold it.
func (d device) point(t testing.TB) (p [33]byte) {
	t.Helper()
	b, err := d.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p[0] = 2 + b[64]&1
	copy(p[1:], b[1:33])
	return p
}

// prove signs a proof for what is shown.
func (d device) prove(t testing.TB, p *credential.Presentation, made time.Time, valid time.Duration) {
	t.Helper()
	p.Proof = credential.Proof{Ctr: p.UD.Ctr, Made: made, Valid: valid, Signature: [64]byte{1}}
	sig, err := (&wallettest.Keys{Signer: d.key}).Sign(t.Context(), keyref.Ref{}, p.Proof.Digest(p.Credential, p.UD))
	if err != nil {
		t.Fatal(err)
	}
	p.Proof.Signature = sig
}

// resigned returns what is shown with a credential that edit changed and k
// signed.
func resigned(t testing.TB, k *ecdsa.PrivateKey, p *credential.Presentation, edit func(c *credential.Credential)) {
	t.Helper()
	edit(&p.Credential)
	signer := wallettest.Keys{Signer: k}
	c, err := p.Credential.Sign(func(d [32]byte) ([64]byte, error) { return signer.Sign(t.Context(), keyref.Ref{}, d) })
	if err != nil {
		t.Fatal(err)
	}
	p.Credential = c
}

// TestProof07Credentials: what a phone shows is refused for each thing that can
// be wrong with it, before it has burned a slot.
func TestProof07Credentials(t *testing.T) {
	r, d, other := softRig(t), newDevice(t), newDevice(t)
	issuer, lists := r.issuer.Keys.Signer, newLister(t)
	bound := func(c *credential.Credential) { c.DeviceKey = d.point(t) }
	number, err := token.ParseNumber(wallettest.Number)
	if err != nil {
		t.Fatal(err)
	}
	listed := func(es ...deny.Entry) terminal.Lists { return lists.list(t, noon, 9, deny.Switches{}, es...) }
	nothing := func(*credential.Presentation) {}
	end := noon.Add(13 * time.Hour)
	for name, tc := range map[string]struct {
		edit func(p *credential.Presentation)
		deny terminal.Lists
		v    bool // a vehicle
		want terminal.Refusal
	}{
		"self-signed issuer": {edit: func(p *credential.Presentation) {
			resigned(t, other.key, p, func(c *credential.Credential) { c.DeviceKey = other.point(t) })
		}, want: terminal.Untrusted},
		"missing signature": {edit: func(p *credential.Presentation) { p.Credential.Signature = [64]byte{} }, want: terminal.Untrusted},
		"foreign kid": {edit: func(p *credential.Presentation) {
			resigned(t, issuer, p, func(c *credential.Credential) { c.KeyID = 9 })
		}, want: terminal.Untrusted},
		"swapped device key": {edit: func(p *credential.Presentation) { // with a proof by the swapped key
			resigned(t, issuer, p, bound)
			p.Credential.DeviceKey = other.point(t)
			other.prove(t, p, noon, time.Minute)
		}, want: terminal.Untrusted},
		"expired": {edit: func(p *credential.Presentation) {
			resigned(t, issuer, p, func(c *credential.Credential) { c.NotAfter = noon.Add(-121 * time.Second) })
		}, want: terminal.Window},
		"cap raised": {edit: func(p *credential.Presentation) { p.UD.Cap = 200 }, want: terminal.Mismatch},
		"cap raised in the credential": {edit: func(p *credential.Presentation) { p.Credential.MaxTap, p.Credential.Limit = 2000, 9000 },
			want: terminal.Untrusted},
		"ctr out of range": {edit: func(p *credential.Presentation) { p.UD.Ctr += wallettest.Slots }, want: terminal.Mismatch},
		"ctr before range": {edit: func(p *credential.Presentation) {
			resigned(t, issuer, p, func(c *credential.Credential) { c.CtrFirst++ })
		}, want: terminal.Mismatch},
		"token on deny list":                 {edit: nothing, deny: listed(deny.OfToken(number, end)), want: terminal.Denied},
		"slot under min ctr":                 {edit: nothing, deny: listed(deny.Below(number, 2, end)), want: terminal.Denied},
		"kid on deny list":                   {edit: nothing, deny: listed(deny.OfKeyID(1, end)), want: terminal.Denied},
		"module on deny list":                {edit: nothing, deny: listed(deny.OfSAM([6]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55}, end)), want: terminal.Denied},
		"profile switched off":               {edit: nothing, deny: lists.list(t, noon, 9, deny.Switches{}.Disable(deny.ProfileP, 0, 0)), want: terminal.Denied},
		"class switched off":                 {edit: nothing, deny: lists.list(t, noon, 9, deny.Switches{}.Disable(0, credential.Medium, 0)), want: terminal.Denied},
		"version switched off":               {edit: nothing, deny: lists.list(t, noon, 9, deny.Switches{}.Disable(0, 0, 1)), want: terminal.Denied},
		"global cap":                         {edit: nothing, deny: lists.list(t, noon, 9, deny.Switches{Cap: 290}), want: terminal.OverCap},
		"a vehicle, no DP":                   {edit: nothing, v: true, want: terminal.NoProof},
		"a vehicle that heard a list, no DP": {edit: nothing, v: true, deny: listed(), want: terminal.NoProof},
		"no list for a day, no DP":           {edit: nothing, deny: lists.list(t, noon.Add(-deny.Outdated-time.Second), 9, deny.Switches{}), want: terminal.NoProof},
		"never heard a list":                 {edit: nothing, deny: held{&deny.List{}}, want: terminal.NoProof},
		"DP older than validSec": {edit: func(p *credential.Presentation) {
			resigned(t, issuer, p, bound)
			d.prove(t, p, noon.Add(-60*time.Second-121*time.Second), time.Minute)
		}, want: terminal.NoProof},
		"DP from the future": {edit: func(p *credential.Presentation) {
			resigned(t, issuer, p, bound)
			d.prove(t, p, noon.Add(121*time.Second), time.Minute)
		}, want: terminal.NoProof},
		"DP by another key": {edit: func(p *credential.Presentation) {
			resigned(t, issuer, p, bound)
			other.prove(t, p, noon, time.Minute)
		}, want: terminal.NoProof},
		"DP of another slot": {edit: func(p *credential.Presentation) {
			resigned(t, issuer, p, bound)
			q := *p
			q.UD.Ctr++
			d.prove(t, &q, noon, time.Minute)
			p.Proof = q.Proof
		}, want: terminal.NoProof},
		"DP and no key for it": {edit: func(p *credential.Presentation) { d.prove(t, p, noon, time.Minute) }, want: terminal.NoProof},
	} {
		t.Run(name, func(t *testing.T) {
			r.deny, r.class = tc.deny, 0
			if tc.v {
				r.class = deny.Vehicle
			}
			r.refuses(t, presenting(r.phone, tc.edit), tc.want, wallettest.Slots)
		})
	}
	r.deny, r.class = nil, 0
	trailing := between{r.phone, func(cmd apdu.Command, out []byte) []byte {
		if cmd.INS == 0xCA {
			return append(out[:len(out)-2:len(out)-2], 0, 0x90, 0)
		}
		return out
	}}
	t.Run("trailing bytes", func(t *testing.T) { r.refuses(t, trailing, terminal.Unreadable, wallettest.Slots) })
}

// TestProof07Order: of several things that are wrong, a reader names the one
// that it comes to first.
func TestProof07Order(t *testing.T) {
	r, other := softRig(t), newDevice(t)
	issuer, lists := r.issuer.Keys.Signer, newLister(t)
	n, err := token.ParseNumber(wallettest.Number)
	if err != nil {
		t.Fatal(err)
	}
	// From the last to the first: each round makes one more thing wrong.
	type step struct {
		want terminal.Refusal
		edit func(p *credential.Presentation)
	}
	steps := []step{
		{terminal.NoProof, func(p *credential.Presentation) { other.prove(t, p, noon, time.Minute) }},
		{terminal.OverCap, func(p *credential.Presentation) { p.UD.Cap = 29 }},
		{terminal.Mismatch, func(p *credential.Presentation) { p.UD.Ctr++ }}, // 8050 names another slot
		{terminal.Mismatch, func(p *credential.Presentation) { p.UD.Ctr += 100 }},
		{terminal.Denied, func(*credential.Presentation) {
			r.deny = lists.list(t, noon, 1, deny.Switches{}, deny.OfToken(n, noon.Add(9*time.Hour)))
		}},
		{terminal.Window, func(p *credential.Presentation) {
			resigned(t, issuer, p, func(c *credential.Credential) { c.NotAfter = noon.Add(-time.Hour) })
		}},
		{terminal.Untrusted, func(p *credential.Presentation) { p.Credential.Signature[3] ^= 1 }},
		{terminal.Denied, func(*credential.Presentation) {
			r.deny = lists.list(t, noon, 1, deny.Switches{}, deny.OfKeyID(1, noon.Add(9*time.Hour)))
		}},
	}
	for i, s := range steps {
		r.deny = nil
		card := presenting(r.phone, func(p *credential.Presentation) {
			for _, e := range steps[:i+1] {
				e.edit(p)
			}
		})
		// The list is chosen before the tap, as a reader's is.
		probe := credential.Presentation{}
		for _, e := range steps[:i+1] {
			if e.want == terminal.Denied {
				e.edit(&probe)
			}
		}
		if _, err := r.reader(t).Tap(t.Context(), card, 300); !errors.Is(err, s.want) {
			t.Errorf("step %d: %v, want %v", i, err, s.want)
		}
	}
	if r.phone.Live() != wallettest.Slots {
		t.Error("a refusal burned a slot")
	}
}

// TestProof07Ladder: an old list costs amounts first, then every phone that
// cannot prove itself.
func TestProof07Ladder(t *testing.T) {
	d, lists := newDevice(t), newLister(t)
	const none, phone, element, online = 0, 1, 2, 3 // no proof, with one, a secure element, a phone that the issuer keeps off vehicles
	for name, tc := range map[string]struct {
		class  deny.Class
		age    time.Duration
		amount token.Amount
		shows  int
		want   terminal.Refusal // "": accepted
	}{
		"fresh":                       {deny.Gate, 30 * time.Minute, 1000, none, ""},
		"stale, a small fare":         {deny.Gate, 31 * time.Minute, 500, none, ""},
		"stale, more":                 {deny.Gate, 31 * time.Minute, 510, none, terminal.OverCap},
		"stale, more, with proof":     {deny.Gate, 31 * time.Minute, 510, phone, terminal.OverCap},
		"a vehicle, 23 hours":         {deny.Vehicle, 23 * time.Hour, 1000, phone, ""},
		"a vehicle without proof":     {deny.Vehicle, time.Minute, 100, none, terminal.NoProof},
		"a day, no proof":             {deny.Gate, 25 * time.Hour, 100, none, terminal.NoProof},
		"a day, proof":                {deny.Gate, 25 * time.Hour, 500, phone, ""},
		"a day, proof, more":          {deny.Gate, 25 * time.Hour, 510, phone, terminal.OverCap},
		"a day, a vehicle, more":      {deny.Vehicle, 25 * time.Hour, 510, phone, terminal.OverCap},
		"a merchant's list is stale":  {deny.Merchant, 31 * time.Minute, 510, none, terminal.OverCap},
		"an element in a vehicle":     {deny.Vehicle, 23 * time.Hour, 1000, element, ""},
		"an element after a day":      {deny.Gate, 25 * time.Hour, 500, element, ""},
		"an element, more":            {deny.Gate, 25 * time.Hour, 510, element, terminal.OverCap},
		"kept off vehicles":           {deny.Vehicle, time.Minute, 100, online, terminal.NoProof},
		"kept off vehicles, a gate":   {deny.Gate, time.Minute, 100, online, ""},
		"a list that is not yet made": {deny.Gate, -10 * time.Minute, 100, none, terminal.NoProof},
	} {
		t.Run(name, func(t *testing.T) {
			r := softRig(t)
			r.class, r.deny = tc.class, lists.list(t, noon.Add(-tc.age), 77, deny.Switches{})
			card := presenting(r.phone, func(p *credential.Presentation) {
				if tc.shows == none {
					return
				}
				resigned(t, r.issuer.Keys.Signer, p, func(c *credential.Credential) {
					c.Risk, c.DeviceKey = credential.Risk(credential.TierA, tc.shows != online), d.point(t)
					if tc.shows == element {
						c.Risk, c.DeviceKey = credential.Risk(credential.TierElement, true), [33]byte{}
					}
				})
				if tc.shows != element {
					d.prove(t, p, noon, time.Minute)
				}
			})
			tap, err := r.reader(t).Tap(t.Context(), card, tc.amount)
			if tc.want != "" && !errors.Is(err, tc.want) || tc.want == "" && err != nil {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			if err == nil && (tap.ListVersion != 77 || tap.Proof != (tc.shows == phone || tc.shows == online)) {
				t.Errorf("the record says list %d, proof %v", tap.ListVersion, tap.Proof)
			}
		})
	}
}

// exchange sends a command that must be answered 9000.
func exchange(t testing.TB, to apdu.Transmitter, c apdu.Command, n int) []byte {
	t.Helper()
	b, err := apdu.Exchange(t.Context(), to, c, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// begin selects a phone and initialises a purchase of 300 fen.
func begin(t testing.TB, r *rig) (s cryptogram.SAMInit, shown credential.Presentation) {
	t.Helper()
	if _, err := apdu.Send(t.Context(), r.phone, apdu.Command{INS: 0xA4, P1: 4, Data: []byte{0xA0, 0, 0, 6, 0x32, 1, 1, 5}, Ne: 256}); err != nil {
		t.Fatal(err)
	}
	shown, err := credential.ParsePresentation(exchange(t, r.phone, apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0xDF, P2: 1, Ne: 256},
		credential.PresentationSize))
	if err != nil {
		t.Fatal(err)
	}
	data := append(binary.BigEndian.AppendUint32([]byte{1}, 300), number[:]...)
	b := exchange(t, r.phone, apdu.Command{CLA: 0x80, INS: 0x50, P1: 3, P2: 2, Data: data, Ne: 15}, 15)
	asn := wallettestASN(t)
	return cryptogram.SAMInit{Rand: [4]byte(b[11:]), Seq: binary.BigEndian.Uint16(b[4:]), Amount: 300, Type: cryptogram.PurchaseCAPP,
		At: cryptogram.DateTimeOf(noon), KeyVersion: b[9], Algorithm: b[10],
		Factors: []keyref.Factor{shown.UD.Bytes(), keyref.Factor(asn[2:]), wallettest.IssuerID}}, shown
}

// debit has the module make MAC1 and shows it to the phone.
func debit(t testing.TB, r *rig, s cryptogram.SAMInit, edit func(mac1 []byte)) ([]byte, error) {
	t.Helper()
	b := exchange(t, r.module, apdu.Command{CLA: 0x80, INS: 0x70, Data: s.Bytes(), Ne: 8}, 8)
	data := append(append(b[:4:4], s.At[:]...), b[4:]...)
	edit(data[11:])
	return apdu.Exchange(t.Context(), r.phone, apdu.Command{CLA: 0x80, INS: 0x54, P1: 1, Data: data, Ne: 8}, 8)
}

// TestProof08UDLies: no reader's check is needed to catch a lie in a use
// descriptor. With any field changed, module and phone have different keys.
func TestProof08UDLies(t *testing.T) {
	onEstates(t, func(t *testing.T, r *rig) {
		for name, lie := range map[string]func(u *credential.UD){
			"hour":        func(u *credential.UD) { u.HourExp++ },
			"earlier":     func(u *credential.UD) { u.HourExp-- },
			"counter":     func(u *credential.UD) { u.Ctr++ },
			"cap":         func(u *credential.UD) { u.Cap *= 2 },
			"class":       func(u *credential.UD) { u.Class = credential.Large },
			"key version": func(u *credential.UD) { u.KeyVer++ },
		} {
			s, shown := begin(t, r)
			lie(&shown.UD)
			s.Factors[0] = shown.UD.Bytes()
			var status apdu.StatusError
			if _, err := debit(t, r, s, func([]byte) {}); !errors.As(err, &status) || status.SW != apdu.BadMAC {
				t.Errorf("%s: %v", name, err)
			}
			if r.phone.Live() != wallettest.Slots {
				t.Fatalf("%s: %d slots live", name, r.phone.Live())
			}
		}
		s, _ := begin(t, r)
		answer, err := debit(t, r, s, func([]byte) {})
		if err != nil {
			t.Fatalf("the truth: %v", err)
		}
		exchange(t, r.module, apdu.Command{CLA: 0x80, INS: 0x72, Data: answer[4:]}, 0)
	})
}

// TestProof09MAC1Wrong: a terminal that cannot prove itself burns nothing; a
// phone that dies between its commit and its answer has paid nobody, and its
// slot never pays again.
func TestProof09MAC1Wrong(t *testing.T) {
	onEstates(t, func(t *testing.T, r *rig) {
		for _, bit := range []int{0, 9, 18, 31} { // a phone may close its window after ten bad ones
			s, _ := begin(t, r)
			var status apdu.StatusError
			_, err := debit(t, r, s, func(mac1 []byte) { mac1[bit/8] ^= 1 << (bit % 8) })
			if !errors.As(err, &status) || status.SW != apdu.BadMAC || r.phone.Live() != wallettest.Slots {
				t.Fatalf("bit %d: %v, %d slots live", bit, err, r.phone.Live())
			}
		}
	})
	t.Run("crash", func(t *testing.T) { crashed(t, softRig(t)) })
}

// crashed lets the phone die after its commit, and starts it again.
func crashed(t *testing.T, r *rig) {
	d, err := bundle.NewDevice(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := d.PublicJWK()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := r.issuer.Service.Bundle(t.Context(), wallettest.Caller, wallettest.Ref, jwk, access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	start := func() *bundle.Card {
		t.Helper()
		b, err := d.Open(sealed.JWE)
		if err != nil {
			t.Fatal(err)
		}
		j, err := bundle.OpenFile(dir, sealed.ID)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.Close() })
		c, err := bundle.NewCard(b, bundle.Config{Journal: j, Now: func() time.Time { return r.now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	phone := start()
	dead := false
	dies := between{phone, func(cmd apdu.Command, out []byte) []byte {
		if dead = dead || cmd.INS == 0x54; dead {
			return nil // committed, and gone for good
		}
		return out
	}}
	first := sealed.CtrFirst
	if _, err := r.reader(t).Tap(t.Context(), dies, 300); !errors.Is(err, terminal.Unreadable) || r.queue.Pending() != 0 {
		t.Fatalf("%v, %d taps wait", err, r.queue.Pending())
	}
	phone.Close()
	if phone = start(); phone.Live() != wallettest.Slots-1 {
		t.Fatalf("%d slots live after the crash", phone.Live())
	}
	if _, err := apdu.Exchange(t.Context(), phone, apdu.Command{CLA: 0x80, INS: 0x5A, P2: 9, Data: []byte{byte(first >> 8), byte(first)}, Ne: 8}, 8); err == nil {
		t.Error("the dead slot's proof is given out after the crash")
	}
	tap, err := r.reader(t).Tap(t.Context(), phone, 300)
	if err != nil || tap.Seq != first+1 {
		t.Errorf("the next tap uses slot %d, not %d: %v", tap.Seq, first+1, err)
	}
}

// TestProof10Size: all that a phone shows fits the answer to one short APDU.
func TestProof10Size(t *testing.T) {
	r := softRig(t)
	longest := 0
	measured := between{r.phone, func(cmd apdu.Command, out []byte) []byte {
		if cmd.INS == 0xCA {
			longest = len(out) - 2
		}
		return out
	}}
	if _, err := r.reader(t).Tap(t.Context(), measured, 300); err != nil {
		t.Fatal(err)
	}
	if longest != 212 { // a short APDU answers 256
		t.Errorf("a phone shows %d bytes", longest)
	}
}

// TestFailRecords: of taps that were refused, those leave a record in which the
// phone had answered: its TAC tells the issuer who lied. They never look like
// taps that paid.
func TestFailRecords(t *testing.T) {
	for name, tc := range map[string]struct {
		ins    byte
		answer []byte
		want   terminal.Refusal
	}{
		"module refuses MAC2": {0x72, []byte{0x93, 0x02}, terminal.BadMAC2},
		"module broke":        {0x72, []byte{0x65, 0x81}, terminal.Module},
	} {
		t.Run(name, func(t *testing.T) {
			r := softRig(t)
			path := filepath.Join(t.TempDir(), "taps")
			r.queue = openQueue(t, path, noon)
			r.module = between{r.module, func(cmd apdu.Command, out []byte) []byte {
				if cmd.INS == tc.ins {
					return tc.answer
				}
				return out
			}}
			if _, err := r.reader(t).Tap(t.Context(), r.phone, 300); !errors.Is(err, tc.want) {
				t.Fatalf("%v", err)
			}
			_ = r.queue.Close()
			r.queue = openQueue(t, path, noon) // also after a restart
			up := &clearing{}
			if _, err := r.queue.Flush(t.Context(), number, up); err != nil || len(up.got) != 1 {
				t.Fatalf("%d records, %v", len(up.got), err)
			}
			if got := up.got[0]; got.Fail != tc.want || got.TAC == [4]byte{} || got.Seq != 1 {
				t.Errorf("the record: %q, slot %d", got.Fail, got.Seq)
			}
			if r.queue.Seen(wallettestASN(t), 1) {
				t.Error("a failed tap keeps the slot's owner out")
			}
		})
	}
}

// asking is a service that a merchant asks.
type asking struct {
	err   error
	asked int
}

func (a *asking) Authorize(context.Context, terminal.Tap) error { a.asked++; return a.err }

func TestMerchantAsksFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		class deny.Class
		err   error
		asked int
		want  error
	}{
		"yes":             {deny.Merchant, nil, 1, nil},
		"no":              {deny.Merchant, terminal.Declined, 1, terminal.Declined},
		"nobody answers":  {deny.Merchant, errors.New("no network"), 1, nil},
		"a gate does not": {deny.Gate, terminal.Declined, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := softRig(t)
			a := &asking{err: tc.err}
			rd, err := terminal.NewReader(t.Context(), terminal.Config{Module: r.module, Policy: r.policy, Queue: r.queue, Class: tc.class,
				Online: a, Now: func() time.Time { return r.now }})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rd.Tap(t.Context(), r.phone, 300); !errors.Is(err, tc.want) || a.asked != tc.asked || r.queue.Pending() != 1 {
				t.Errorf("%v, asked %d times, %d taps wait", err, a.asked, r.queue.Pending())
			}
		})
	}
}

func TestPolicyOf(t *testing.T) {
	r := softRig(t)
	p := deny.Policy{AID: []byte{1, 2, 3, 4, 5}, Tolerance: time.Minute, Proof: []deny.Class{deny.Vehicle},
		Ranges: []deny.Range{{Prefix: "310420", Length: 19, Levels: 3}, {Prefix: "6212", Length: 16, Levels: 2}}, Issuers: r.policy.Issuers}
	for class, proof := range map[deny.Class]bool{deny.Gate: false, deny.Vehicle: true, deny.Merchant: false} {
		got := terminal.PolicyOf(p, class)
		if got.RequireProof != proof || len(got.Tokens) != 1 || got.Tokens[0].Prefix != "310420" || got.Skew != time.Minute || len(got.Issuers) != 1 {
			t.Errorf("%c: %+v", class, got)
		}
	}
	if _, err := terminal.NewReader(t.Context(), terminal.Config{Module: r.module, Queue: r.queue, Policy: r.policy, Class: 'Z'}); err == nil {
		t.Error("a class that does not exist")
	}
}

// BenchmarkTap measures what a reader itself computes for one tap: all but
// the card and the disk, with a list of 100,000 entries and a device proof.
func BenchmarkTap(b *testing.B) {
	r, d, lists := softRig(b), newDevice(b), newLister(b)
	entries := make([]deny.Entry, 100_000)
	for i := range entries {
		entries[i] = deny.OfSAM([6]byte{1, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, noon.Add(time.Hour))
	}
	r.deny = lists.list(b, noon, 1, deny.Switches{}, entries...)
	r.policy.RequireProof = true
	card := presenting(r.phone, func(p *credential.Presentation) {
		resigned(b, r.issuer.Keys.Signer, p, func(c *credential.Credential) { c.DeviceKey = d.point(b) })
		d.prove(b, p, noon, time.Minute)
	})
	answers := map[byte][]byte{}
	record := between{card, func(cmd apdu.Command, out []byte) []byte { answers[cmd.INS] = out; return out }}
	if _, err := r.reader(b).Tap(b.Context(), record, 300); err != nil {
		b.Fatal(err)
	}
	r.queue = openQueue(b, filepath.Join(b.TempDir(), "taps"), noon)
	rd := r.reader(b)
	answers[0x54] = []byte{0x93, 0x02} // everything but the comparison of MAC2 and the write to the queue is done by then
	for b.Loop() {
		if _, err := rd.Tap(b.Context(), replaying(answers), 300); !errors.Is(err, terminal.Card) {
			b.Fatal(err)
		}
	}
}

// replaying is a card that repeats its answers.
type replaying map[byte][]byte

func (r replaying) Transmit(_ context.Context, command []byte) ([]byte, error) {
	return r[command[1]], nil
}
