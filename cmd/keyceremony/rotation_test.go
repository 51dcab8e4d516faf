package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/sim"
)

var shanghai = time.FixedZone("UTC+8", 8*3600)

// traffic is purchases that do not stop while keys are rotated: phones are given
// slots and pay at a reader, and cards pay by cryptograms.
type traffic struct {
	*testing.T
	lab    *lab.Lab
	reader *sim.Reader
	module *hsm.Token // the reader's
	old    bool       // phones of the first version still pay
	cards  atomic.Uint32
	mu     sync.Mutex
	phones []*sim.Handset
	paid   map[byte]int // taps that were posted, by key version
	proved map[byte]int // purchases of cards, by key version
	made   int
}

// pays waits until n more taps and purchases of a key version went well.
func (x *traffic) pays(version byte, n int) {
	x.Helper()
	taps, cards := x.counted(version)
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline) && !x.Failed(); time.Sleep(20 * time.Millisecond) {
		if t, c := x.counted(version); t >= taps+n && c >= cards+n {
			return
		}
	}
	t, c := x.counted(version)
	x.Fatalf("version %d: %d taps and %d purchases went well, %d more were waited for", version, t-taps, c-cards, n)
}

// counted is how many taps and purchases of a key version went well.
func (x *traffic) counted(version byte) (taps, cards int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.paid[version], x.proved[version]
}

// phone gives somebody a token and slots.
func (x *traffic) phone() *sim.Handset {
	x.made++
	digits := fmt.Sprintf("6212%011d", x.made)
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i]-'0') * (1 + (i+1)%2)
		sum += d/10 + d%10
	}
	tok, err := x.lab.Client(x, "issuer").RequestToken(context.Background(), wire.TokenRequest{
		PAN: wire.NewDigits(fmt.Sprint(digits, (10-sum%10)%10)), PANExpiry: "3012", Location: "03"})
	if err != nil {
		x.Errorf("requesting a token: %v", err)
		return nil
	}
	h, err := sim.Provision(context.Background(), x.lab.Client(x, "wallet"), tok.Ref, sim.HandsetConfig{Dir: x.TempDir()})
	if err != nil {
		x.Errorf("provisioning: %v", err)
		return nil
	}
	return h
}

// ride lets a new phone pay, and one that has been about for a while.
func (x *traffic) ride(ctx context.Context) {
	h := x.phone()
	if h == nil {
		return
	}
	x.mu.Lock()
	x.phones = append(x.phones, h)
	riders := []*sim.Handset{h}
	if n := len(x.phones); x.old && n > 3 {
		riders = append(riders, x.phones[n/2])
	}
	x.mu.Unlock()
	var versions []byte
	for _, r := range riders {
		if r.Live() == 0 {
			continue
		}
		tap, err := x.reader.Tap(ctx, r, 150)
		if err != nil {
			x.Errorf("a tap failed: %v", err)
			return
		}
		versions = append(versions, tap.KeyVer)
	}
	got, err := x.reader.Upload(ctx)
	if err != nil || len(got) != len(versions) {
		x.Errorf("uploading: %d of %d, %v", len(got), len(versions), err)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, r := range got {
		if r.Outcome != "POSTED" {
			x.Errorf("a tap under version %d: %s %s", versions[i], r.Outcome, r.Reason)
		}
		x.paid[versions[i]]++
	}
}

// purchase is one of a card: the service's MAC1 is that of the reader's module,
// whose MAC2 it takes.
func (x *traffic) purchase(ctx context.Context, version byte, n uint32) error {
	at := time.Now().In(shanghai)
	w := wire.Purchase{Card: wire.Card{Realm: lab.Realm, KeyVersion: version, Issuer: wire.Hex8{0x10, 0, 0, 0, 0, 0, 0, 1}, ASN: wire.Hex10{0, 0, 0x31, 4, 0, 0, 0, 0, 0, 9}},
		Rand: wire.Hex4{1, 2, byte(n >> 8), byte(n)}, Amount: 100, TxnType: 6, TermID: wire.Hex6{0x31, 0, 0, 0, 0, 1}, TermSeq: n,
		Date: wire.Date{0x20, 0x26, 0x05, 0x20}, Time: wire.Time{0x12, 0, byte(at.Second()%10 + at.Second()/10*16)}}
	p := cryptogram.Purchase{Rand: w.Rand, Amount: w.Amount, Type: cryptogram.Type(w.TxnType), Terminal: w.TermID, TermSeq: n}
	copy(p.At[:4], w.Date[:])
	copy(p.At[4:], w.Time[:])
	terminal := x.lab.Client(x, "terminal")
	mac1, err := terminal.PurchaseMAC1(ctx, w)
	if err != nil {
		return err
	}
	path, err := (keyref.Ref{Realm: lab.Realm, Usage: keyref.PurchaseMaster, Version: version}).Path(keyref.Factor(w.Card.Issuer), keyref.Factor(w.Card.ASN[2:]))
	if err != nil {
		return err
	}
	macs, err := x.module.ProcessMAC(ctx, path, p.ProcessInput(), p.MAC1Input(), p.MAC2Input())
	if err != nil {
		return err
	}
	if wire.Hex4(macs[0]) != mac1 {
		return fmt.Errorf("version %d: the service and the module disagree", version)
	}
	return terminal.VerifyPurchase(ctx, wire.PurchaseVerify{Purchase: w, MAC2: macs[1]})
}

// flow keeps purchases going until stop is called.
func (x *traffic) flow() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil && !x.Failed() {
			x.ride(context.Background())
		}
	})
	wg.Go(func() {
		for n := uint32(1); ctx.Err() == nil && !x.Failed(); n++ {
			versions := x.cards.Load()
			for v := byte(1); v <= 2; v++ {
				if versions&(1<<v) == 0 {
					continue
				}
				if err := x.purchase(context.Background(), v, n); err != nil {
					x.Errorf("a purchase of a card under version %d: %v", v, err)
					continue
				}
				x.mu.Lock()
				x.proved[v]++
				x.mu.Unlock()
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// parameters waits until the service tells readers that a version issues, and
// which they hold.
func (x *traffic) parameters(issues uint8, held ...int) {
	x.Helper()
	var p wire.Parameters
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if p, err = x.lab.Client(x, "terminal").Parameters(context.Background()); err != nil {
			x.Fatal(err)
		}
		if p.KeyVersion == issues && fmt.Sprint(p.KeyVersions) == fmt.Sprint(held) {
			return
		}
	}
	x.Fatalf("version %d issues, readers hold %v; want %d, %v", p.KeyVersion, p.KeyVersions, issues, held)
}

// rotation is a room in which ceremonies rotate the masters of a service that runs, and of
// its readers' module.
type rotation struct {
	*room
	service, psam string // labels of their tokens
}

// of lists keys as a script has them.
func of(keys ...string) string { return "keys: [" + strings.Join(keys, ", ") + "]" }

// held holds a ceremony of the person who knows the user PINs.
func (r *rotation) held(name, kind, token, body string) {
	r.t.Helper()
	file, plan := r.write(name, kind, token, "none", body+"\npins: {user: [dan]}")
	if err := r.hold(file, plan); err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
}

// shared gives both tokens the purchase masters of a version, from one set of letters.
func (r *rotation) shared(version, state string) {
	r.t.Helper()
	const custodians = "custodians: [carol, dan, erin]\n"
	var keys, checked []string
	for _, u := range []string{"mpk", "mpk-s"} {
		keys = append(keys, fmt.Sprintf("{label: transit.%s.%s, state: %s}", u, version, state))
	}
	r.held("letters-"+version, "letters", r.service, custodians+of(keys...))
	for _, u := range []string{"mpk", "mpk-s"} {
		label := "transit." + u + "." + version
		r.letters("letters-"+version, label)
		checked = append(checked, fmt.Sprintf("{label: %s, state: %s, check: %s}", label, state, check(r.story("letters-"+version), label)))
	}
	r.held("module-"+version, "import-components", r.psam, custodians+of(checked...))
}

// first makes the service's keys of version 1.
func (r *rotation) first(l *lab.Lab, config hsm.Config) {
	r.t.Helper()
	r.service, r.psam, r.conf = config.Token, l.PSAM.Token, os.Getenv("SOFTHSM2_CONF")
	l.Config.HSM.Transcripts = filepath.Join(r.dir, "out")
	var keys []string
	for _, ref := range l.Config.Keys() {
		if ref.Usage != keyref.PurchaseMaster && ref.Usage != keyref.SlotPurchaseMaster {
			keys = append(keys, "{label: "+ref.Label()+"}")
		}
	}
	r.held("first", "generate", r.service, of(keys...))
	r.shared("v1", "ACTIVE")
}

// switched makes version 2 of masters the one that issues.
func (r *rotation) switched(name string, labels ...string) {
	r.t.Helper()
	var keys []string
	for _, label := range labels {
		k := fmt.Sprintf("{label: %s.v2, replaces: %s.v1, ", label, label)
		if c := check(r.story("letters-v2"), label+".v2"); c != "" {
			k += "held_by: [{device: " + r.psam + ", check: " + c + "}]}"
		} else {
			k += "evidence: no module holds it}"
		}
		keys = append(keys, k)
	}
	r.held(name, "rotate", r.service, of(keys...))
}

// retired ends version 1 of all masters.
func (r *rotation) retired() {
	r.t.Helper()
	var keys []string
	for _, u := range []string{"mpk", "mtk", "mpk-s", "mtk-s"} {
		keys = append(keys, "{label: transit."+u+".v1, evidence: the last card and phone are gone}")
	}
	r.held("retire", "retire", r.service, of(keys...))
}

// started starts the service, with a reader that phones of version 1 pay at.
func (r *rotation) started(t *testing.T, l *lab.Lab) *traffic {
	t.Helper()
	r.must(l.Start(t))
	module, err := hsm.Open(t.Context(), l.PSAM)
	r.must(err)
	t.Cleanup(func() { _ = module.Close() })
	r.must(module.Require(t.Context(), l.PSAMKeys()...))
	reader, err := sim.NewReader(t.Context(), sim.ReaderConfig{Client: l.Client(t, "terminal"), Keys: module, Realm: lab.Realm,
		Terminal: [6]byte{0x31, 0, 0, 0, 0, 1}, Dir: t.TempDir(), Zone: shanghai})
	r.must(err)
	t.Cleanup(func() { _ = reader.Close() })
	x := &traffic{T: t, lab: l, reader: reader, module: module, old: true, paid: map[byte]int{}, proved: map[byte]int{}}
	x.cards.Store(1 << 1)
	return x
}

// oldest is a phone of the version before that has a slot left, or any.
func (x *traffic) oldest() *sim.Handset {
	for _, h := range x.phones {
		if h.Live() > 0 {
			return h
		}
	}
	return x.phones[0]
}

// TestRotationUnderLoad rotates the masters of purchases, of slots and of cards,
// by ceremonies at a terminal while both pay: nothing fails before the new
// version is pending, while it is, at the switch, and after the retirement, and
// the service is never started again.
func TestRotationUnderLoad(t *testing.T) {
	r := &rotation{room: newRoom(t)}
	r.typed["user PIN/dan"] = hsmtest.PIN
	x := r.started(t, lab.Prepare(t, lab.Options{Birth: r.first}))
	stop := x.flow()
	defer func() { stop() }()
	x.pays(1, 10)
	if err := x.purchase(t.Context(), 2, 1); err == nil {
		t.Error("a version that nobody made verifies")
	}

	r.shared("v2", "PENDING") // while purchases go on
	r.held("tac-v2", "generate", r.service, of("{label: transit.mtk.v2, state: PENDING}", "{label: transit.mtk-s.v2, state: PENDING}"))
	x.parameters(1, 1, 2)
	r.must(x.reader.Learn(t.Context()))
	r.must(x.module.RequireLate(t.Context(), keyref.Ref{Realm: lab.Realm, Usage: keyref.PurchaseMaster, Version: 2}))
	x.cards.Store(1<<1 | 1<<2) // cards of the next version are tried out: it verifies already
	x.pays(1, 10)
	if n, _ := x.counted(2); n != 0 {
		t.Errorf("%d slots were given under a version that is pending", n)
	}

	r.switched("rotate-half", "transit.mpk-s")
	x.pays(1, 5)
	r.switched("rotate", "transit.mtk-s", "transit.mpk", "transit.mtk")
	x.parameters(2, 2, 1)
	x.pays(2, 20)
	x.pays(1, 5) // old phones and cards go on paying

	stop()
	before, old := x.paid[1], x.oldest()
	x.old = false
	x.cards.Store(1 << 2)
	stop = x.flow()
	r.retired()
	x.parameters(2, 2)
	x.pays(2, 10)
	stop()
	stop = func() {}
	if x.paid[1] != before {
		t.Error("slots were given under the version that is retiring")
	}
	if err := x.purchase(t.Context(), 1, 1); err == nil {
		t.Error("a card of a retired version pays")
	}
	if _, err := x.reader.Tap(t.Context(), old, 150); err == nil {
		got, err := x.reader.Upload(t.Context())
		if err != nil || len(got) != 1 || got[0].Outcome != "REJECTED" {
			t.Errorf("a tap of a retired version: %v %v", got, err)
		}
	}
	t.Logf("taps by version: %v, purchases of cards: %v, none failed", x.paid, x.proved)
}
