package applet_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // as the HSM enciphers
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/element/applet"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/mask"
)

var (
	aid    = []byte{0xA0, 0, 0, 6, 0x32, 1, 1, 5}
	serial = message.Serial{1, 2, 3, 4, 5, 6, 7, 8}
	script = message.Key{9, 9, 9}
	dpk    = [16]byte{1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4}
	dtk    = [16]byte{5, 1, 1, 1, 6, 2, 2, 2, 7, 3, 3, 3, 8, 4, 4, 4}
	noon   = time.Date(2026, 4, 1, 4, 0, 0, 0, time.UTC)
)

// stand is an element with the issuer, and the reader, that it talks to.
type stand struct {
	t      testing.TB
	issuer *ecdsa.PrivateKey
	key    *rsa.PrivateKey
	memory *applet.Banks
	e      *applet.Element
	number token.Number
}

var factoryKey = func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}()

func newStand(t testing.TB) *stand {
	t.Helper()
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, err := token.ParseNumber("6299123456789012")
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{t: t, issuer: issuer, key: factoryKey, memory: &applet.Banks{}, number: n}
	s.power()
	return s
}

// power takes the element's power and gives it again.
func (s *stand) power() {
	s.t.Helper()
	var err error
	if s.e, err = applet.New(applet.Config{Serial: serial, Key: s.key, Issuer: &s.issuer.PublicKey, AID: aid, Memory: s.memory}); err != nil {
		s.t.Fatal(err)
	}
}

// send sends one command to the selected element.
func (s *stand) send(c apdu.Command) ([]byte, apdu.Status) {
	s.t.Helper()
	raw, err := s.e.Transmit(s.t.Context(), c.Bytes())
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := apdu.ParseResponse(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Data, r.SW
}

func (s *stand) sel() { s.send(apdu.Command{INS: 0xA4, P1: 4, Data: aid, Ne: 256}) }

func (s *stand) verify(pin string) apdu.Status {
	s.sel()
	_, sw := s.send(apdu.Command{INS: 0x20, Data: []byte(pin)})
	return sw
}

func (s *stand) oaep(plain, label []byte, sum2 bool) []byte {
	s.t.Helper()
	h := sha1.New()
	if sum2 {
		h = sha256.New()
	}
	out, err := rsa.EncryptOAEP(h, rand.Reader, &s.key.PublicKey, plain, label)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *stand) sign(d [32]byte) (sig [64]byte, err error) {
	r, v, err := ecdsa.Sign(rand.Reader, s.issuer, d[:])
	if err != nil {
		return sig, err
	}
	r.FillBytes(sig[:32])
	v.FillBytes(sig[32:])
	return sig, nil
}

// issue makes the script that gives the element its token.
func (s *stand) issue(seq uint32, pin string) []byte {
	s.t.Helper()
	p, err := mask.ParsePIN([]byte(pin))
	if err != nil {
		s.t.Fatal(err)
	}
	whole := func(k [16]byte) []byte { return append(k[:16:16], k[:8]...) }
	a := message.Application{Issuer: [8]byte{0x10}, ASN: s.number.ASN(), KeyVersion: 2, AID: aid,
		Purchase: s.oaep(whole(dpk), nil, false), TAC: s.oaep(whole(dtk), nil, false),
		Secret: s.oaep(message.Secret(&script, p, true), message.Label(serial, seq), true)}
	m := message.Script{Verb: message.Issue, Serial: serial, Seq: seq, Body: a.Bytes()}
	sig, err := s.sign(m.Digest())
	if err != nil {
		s.t.Fatal(err)
	}
	return m.Signed(sig)
}

// limit makes the script that gives it n slots from counter first on.
func (s *stand) limit(seq uint32, first uint16, runs ...message.Run) []byte {
	s.t.Helper()
	c := credential.Credential{IssuerID: [4]byte{0x10}, KeyID: 1, Number: s.number, NotBefore: noon, NotAfter: noon.Add(7 * 24 * time.Hour),
		Risk: credential.Risk(credential.TierElement, true), CtrFirst: first}
	for _, r := range runs {
		c.CtrCount += r.Count
		c.MaxTap = max(c.MaxTap, r.Cap)
		c.Limit += r.Cap * token.Amount(r.Count)
	}
	c, err := c.Sign(s.sign)
	if err != nil {
		s.t.Fatal(err)
	}
	l := message.Limit{First: first, Runs: runs, Credential: c}
	return message.Script{Verb: message.SetLimit, Serial: serial, Seq: seq, Body: l.Bytes()}.MAC(script)
}

func order(v message.Verb, seq uint32) []byte {
	return message.Script{Verb: v, Serial: serial, Seq: seq}.MAC(script)
}

func (s *stand) deliver(b []byte) error { return applet.Deliver(s.t.Context(), s.e, aid, b) }

func (s *stand) obeys(b []byte) {
	s.t.Helper()
	if err := s.deliver(b); err != nil {
		s.t.Fatalf("an order is refused: %v", err)
	}
}

func (s *stand) refuses(b []byte, why string) {
	s.t.Helper()
	before := s.word()
	if err := s.deliver(b); err == nil {
		s.t.Errorf("%s: obeyed", why)
	}
	if after := s.word(); after.Seq != before.Seq || after.Balance != before.Balance || after.Tries != before.Tries {
		s.t.Errorf("%s: refused, and something changed", why)
	}
}

// word is what the element says of itself.
func (s *stand) word() message.Receipt {
	s.t.Helper()
	b, err := applet.Fetch(s.t.Context(), s.e, aid)
	if err != nil {
		return message.Receipt{}
	}
	r, err := message.ParseReceipt(b, serial, script)
	if err != nil {
		s.t.Fatalf("reading a receipt: %v", err)
	}
	return r
}

// ready is an element with a token, the PIN 482915 and slots.
func ready(t testing.TB, runs ...message.Run) *stand {
	s := newStand(t)
	s.obeys(s.issue(1, "482915"))
	if len(runs) > 0 {
		s.obeys(s.limit(2, 10, runs...))
	}
	return s
}

// answers of a reader's module.
type tapped struct {
	seq  uint16
	mac2 [4]byte
	tac  [4]byte
	sw   apdu.Status
}

// tap pays at a reader whose module shares dpk, and checks what comes back.
func (s *stand) tap(amount uint32) (out tapped) {
	s.t.Helper()
	s.sel()
	show, sw := s.send(apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0xDF, P2: 1, Ne: 256})
	if sw != apdu.OK {
		return tapped{sw: sw}
	}
	shown, err := credential.ParsePresentation(show)
	if err != nil || shown.Credential.Verify(credential.Keys{1: &s.issuer.PublicKey}) != nil || !shown.Credential.Covers(shown.UD) {
		s.t.Fatalf("what it shows does not hold: %v", err)
	}
	term := [6]byte{1, 2, 3}
	init, sw := s.send(apdu.Command{CLA: 0x80, INS: 0x50, P1: 1, P2: 2, Data: append(binary.BigEndian.AppendUint32([]byte{1}, amount), term[:]...), Ne: 15})
	if sw != apdu.OK {
		return tapped{sw: sw}
	}
	p := cryptogram.Purchase{Rand: [4]byte(init[11:]), Seq: binary.BigEndian.Uint16(init[4:]), Amount: amount, Type: cryptogram.PurchasePurse,
		Terminal: term, TermSeq: 7, At: cryptogram.DateTime{0x20, 0x26, 0x04, 0x01, 0x12, 0, 0}}
	var ring softkey.Ring
	defer ring.Close()
	ref := keyref.Ref{Realm: "reader", Usage: keyref.PurchaseMaster, Version: 1}
	if err := ring.ImportScratch(s.t.Context(), ref, dpk[:]); err != nil {
		s.t.Fatal(err)
	}
	path, err := ref.Path(shown.UD.Bytes())
	if err != nil {
		s.t.Fatal(err)
	}
	mac1, mac2, err := cryptogram.PurchaseMACs(s.t.Context(), &ring, path, p)
	if err != nil {
		s.t.Fatal(err)
	}
	data := append(append(binary.BigEndian.AppendUint32(nil, p.TermSeq), p.At[:]...), mac1[:]...)
	b, sw := s.send(apdu.Command{CLA: 0x80, INS: 0x54, P1: 1, Data: data, Ne: 8})
	if sw != apdu.OK {
		return tapped{sw: sw}
	}
	out = tapped{seq: p.Seq, tac: [4]byte(b), mac2: [4]byte(b[4:]), sw: sw}
	if out.mac2 != mac2 {
		s.t.Error("MAC2 does not hold")
	}
	return out
}

var medium = message.Run{Class: credential.Medium, Cap: 1000, Count: 4}

// TestTaps pays with the PIN, and not without it but from slots that need none.
func TestTaps(t *testing.T) {
	s := ready(t, message.Run{Class: credential.Express, Cap: 500, Count: 1}, medium)
	if got := s.tap(300); got.sw != apdu.OK || got.seq != 10 {
		t.Fatalf("without a PIN: %+v", got)
	}
	if got := s.tap(300); got.sw != apdu.Conditions {
		t.Fatalf("without a PIN and a slot that needs none: %+v", got)
	}
	if sw := s.verify("482915"); sw != apdu.OK {
		t.Fatal(sw)
	}
	for i := range uint16(3) {
		if got := s.tap(350); got.sw != apdu.OK || got.seq != 11+i {
			t.Fatalf("tap %d: %+v", i, got)
		}
	}
	if got := s.tap(350); got.sw != apdu.Conditions {
		t.Errorf("a PIN is good for a fourth tap: %+v", got)
	}
	if sw := s.verify("482915"); sw != apdu.OK {
		t.Fatal(sw)
	}
	s.power()
	if got := s.tap(350); got.sw != apdu.Conditions {
		t.Errorf("a PIN outlives the power: %+v", got)
	}
	if r := s.word(); r.Balance != 1000 || len(r.Live) != 1 || len(r.Taps) != 4 || r.Taps[1].Amount != 350 {
		t.Errorf("it says %+v", r)
	}
}

// TestPINBlocks: three wrong ones block, whatever power does, and a script frees.
func TestPINBlocks(t *testing.T) {
	s := ready(t, medium)
	for i, want := range []apdu.Status{0x63C2, 0x63C1, apdu.Blocked, apdu.Blocked} {
		if got := s.verify("482916"); got != want {
			t.Errorf("wrong PIN %d: %v, want %v", i, got, want)
		}
		s.power()
	}
	if got := s.verify("482915"); got != apdu.Blocked {
		t.Errorf("the right PIN after the last try: %v", got)
	}
	s.obeys(order(message.Unblock, 3))
	if got := s.verify("482915"); got != apdu.OK {
		t.Errorf("after the script: %v", got)
	}
	k, err := mask.ParsePIN([]byte("730154"))
	if err != nil {
		t.Fatal(err)
	}
	other := message.Script{Verb: message.Unblock, Serial: serial, Seq: 4, Body: s.oaep(message.Secret(&script, k, true), message.Label(serial, 4), true)}
	s.obeys(other.MAC(script))
	if got := s.verify("730154"); got != apdu.OK {
		t.Errorf("a new PIN: %v", got)
	}
}

// TestScripts refuses what is replayed, out of order, altered or of another
// element, and answers the last one again.
func TestScripts(t *testing.T) {
	s := newStand(t)
	issue := s.issue(1, "482915")
	s.obeys(issue)
	two, three := s.limit(2, 10, medium), s.limit(3, 20, medium)
	s.refuses(three, "a script before its turn")
	s.obeys(two)
	s.obeys(two)
	if r := s.word(); r.Balance != 4000 {
		t.Errorf("delivered twice, obeyed twice: %d", r.Balance)
	}
	s.refuses(issue, "the first script again")
	s.obeys(three)
	s.refuses(two, "an old script")
	s.refuses(s.limit(4, 12, medium), "counters that were given before")
	for i := range three {
		bad := bytes.Clone(s.limit(4, 30, medium))
		bad[i%len(bad)] ^= 1
		s.refuses(bad, "an altered script")
	}
	foreign := message.Script{Verb: message.Erase, Serial: message.Serial{7}, Seq: 4}
	s.refuses(foreign.MAC(script), "a script of another element")
	forged := s.issue(4, "000000")
	forged[len(forged)-1] ^= 1
	s.refuses(forged, "an issue that nobody signed")
	s.obeys(order(message.Erase, 4))
	if got := s.tap(100); got.sw != apdu.Conditions {
		t.Errorf("an erased element pays: %+v", got)
	}
	if r := s.word(); r.State != message.Erased || r.Balance != 0 || r.Seq != 4 {
		t.Errorf("erased, it says %+v", r)
	}
	s.refuses(order(message.Unblock, 5), "a script to an erased element")
}

// TestCutAtEveryStep cuts the power at each write of each step, after every
// number of bytes: what was obeyed or paid once stays so, and nothing happens
// twice.
func TestCutAtEveryStep(t *testing.T) {
	steps := []struct {
		name  string
		begin func(s *stand)
		do    func(s *stand)
		held  func(a, b message.Receipt) bool // before, after
	}{
		{"limit", func(*stand) {}, func(s *stand) { _ = s.deliver(s.limit(3, 20, medium)) }, func(a, b message.Receipt) bool {
			return b.Seq == a.Seq && b.Balance == a.Balance || b.Seq == a.Seq+1 && b.Balance == a.Balance+4000
		}},
		{"pin", func(*stand) {}, func(s *stand) { s.verify("482916") }, func(a, b message.Receipt) bool {
			return b.Tries == a.Tries || b.Tries == a.Tries-1
		}},
		{"tap", func(s *stand) { s.verify("482915") }, func(s *stand) { s.tap(350) }, func(a, b message.Receipt) bool {
			return b.Balance == a.Balance && len(b.Taps) == len(a.Taps) || b.Balance == a.Balance-1000 && len(b.Taps) == len(a.Taps)+1
		}},
		{"erase", func(*stand) {}, func(s *stand) { _ = s.deliver(order(message.Erase, 3)) }, func(a, b message.Receipt) bool {
			return b.State == message.Erased && b.Balance == 0 || b.State == message.Issued && b.Balance == a.Balance
		}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			changed, same := 0, 0
			for write := range 3 {
				for _, part := range []int{0, 1, 7, 11, 12, 50, 400, 1 << 20} {
					s := ready(t, medium)
					step.begin(s)
					before, n := s.word(), 0
					s.memory.Cut = func(int) int {
						if n++; n == write+1 {
							return part
						}
						return -1
					}
					step.do(s)
					s.memory.Cut = nil
					s.power()
					after := s.word()
					if !step.held(before, after) {
						t.Fatalf("cut in write %d after %d bytes: %+v became %+v", write, part, before, after)
					}
					if after.Seq == before.Seq && after.Balance == before.Balance && after.Tries == before.Tries {
						same++
					} else {
						changed++
					}
					// The counter that may have been used is not used again.
					if after.State == message.Issued && s.verify("482915") == apdu.OK {
						if got := s.tap(100); got.sw == apdu.OK {
							for _, u := range after.Taps {
								if u.Seq == got.seq {
									t.Fatalf("counter %d pays twice", got.seq)
								}
							}
						}
					}
				}
			}
			if changed == 0 || same == 0 {
				t.Errorf("%d cuts changed something and %d did not: the cuts miss the step", changed, same)
			}
		})
	}
}

// FuzzElement: whatever is sent, it answers, pays nothing and says nothing else.
func FuzzElement(f *testing.F) {
	s := ready(f, medium)
	f.Add([]byte{0x84, 0xE2, 0x80, 0, 4, 1, 2, 3, 4})
	f.Add([]byte{0x80, 0xE4, 0, 0, 0})
	f.Add([]byte{0, 0x20, 0, 0, 6, 1, 2, 3, 4, 5, 6})
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := s.e.Transmit(t.Context(), b)
		if err != nil || len(out) < 2 || len(out) > 258 {
			t.Fatalf("%x: %x, %v", b, out, err)
		}
	})
}
