package deny

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

var noon = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)

type signer struct {
	key    *ecdsa.PrivateKey
	pinned Keys
}

func newSigner(t testing.TB) signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k, Keys{1: &k.PublicKey}}
}

func (s signer) sign(d [32]byte) (sig [64]byte, err error) {
	r, x, err := ecdsa.Sign(rand.Reader, s.key, d[:])
	if err != nil {
		return sig, err
	}
	r.FillBytes(sig[:32])
	x.FillBytes(sig[32:])
	return sig, nil
}

func head(at time.Time) Head { return Head{KeyID: 1, Issued: at, Until: at.Add(48 * time.Hour)} }

func number(t testing.TB, n int) token.Number {
	t.Helper()
	num, err := token.ParseNumber(fmt.Sprintf("3104%012d", n))
	if err != nil {
		t.Fatal(err)
	}
	return num
}

// of denies tokens first to end, for ten hours.
func of(t testing.TB, numbers ...int) (es []Entry) {
	t.Helper()
	for _, n := range numbers {
		es = append(es, OfToken(number(t, n), noon.Add(10*time.Hour)))
	}
	slices.SortFunc(es, func(a, b Entry) int { return a.Compare(b.Key) })
	return es
}

func (s signer) snapshot(t testing.TB, at time.Time, version uint64, es ...Entry) []byte {
	t.Helper()
	doc, err := Snapshot{Head: head(at), Version: version, Entries: es}.Sign(s.sign)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func (s signer) delta(t testing.TB, d Delta) []byte {
	t.Helper()
	doc, err := d.Sign(s.sign)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func (s signer) open(t testing.TB, doc []byte) *List {
	t.Helper()
	l, err := Open(doc, s.pinned)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDenied(t *testing.T) {
	s := newSigner(t)
	until := noon.Add(time.Hour)
	l := s.open(t, s.snapshot(t, noon, 9, OfToken(number(t, 1), until), OfKeyID(7, until), Below(number(t, 2), 30, until),
		OfSAM([6]byte{1, 2, 3, 4, 5, 6}, until)))
	for name, tc := range map[string]struct{ got, want bool }{
		"token":              {l.Denied(number(t, 1), 5, noon), true},
		"any slot of it":     {l.Denied(number(t, 1), 65535, noon), true},
		"another token":      {l.Denied(number(t, 3), 5, noon), false},
		"below":              {l.Denied(number(t, 2), 29, noon), true},
		"not below":          {l.Denied(number(t, 2), 30, noon), false},
		"key":                {l.KeyDenied(7, noon), true},
		"another key":        {l.KeyDenied(1, noon), false},
		"module":             {l.SAMDenied([6]byte{1, 2, 3, 4, 5, 6}, noon), true},
		"another module":     {l.SAMDenied([6]byte{}, noon), false},
		"the last second":    {l.Denied(number(t, 1), 5, until.Add(-time.Second)), true},
		"the entry has died": {l.Denied(number(t, 1), 5, until), false},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v", name, tc.got)
		}
	}
	if l.Version() != 9 || l.Len() != 4 || !l.Issued().Equal(noon) || len(l.Entries()) != 4 {
		t.Errorf("version %d of %d, issued %v", l.Version(), l.Len(), l.Issued())
	}
	if (&List{}).Denied(number(t, 1), 1, noon) {
		t.Error("an empty list denies")
	}
}

func TestSwitches(t *testing.T) {
	u := credential.UD{Class: credential.Medium, KeyVer: 3}
	for name, tc := range map[string]struct {
		s   Switches
		off bool
	}{
		"nothing":          {Switches{}, false},
		"a cap":            {Switches{Cap: 300}, false},
		"its profile":      {Switches{}.Disable(ProfileP, 0, 0), true},
		"the other":        {Switches{}.Disable(ProfileX, 0, 0), false},
		"its class":        {Switches{}.Disable(0, credential.Medium, 0), true},
		"another class":    {Switches{}.Disable(0, credential.Large, 0), false},
		"its key version":  {Switches{}.Disable(0, 0, 0x43), true},
		"another version":  {Switches{}.Disable(0, 0, 4), false},
		"several of these": {Switches{}.Disable(ProfileX, credential.Express, 3), true},
	} {
		if got := tc.s.Off(ProfileP, u); got != tc.off {
			t.Errorf("%s: %v", name, got)
		}
		b := tc.s.Bytes()
		if back, err := ParseSwitches(b[:]); err != nil || back != tc.s {
			t.Errorf("%s: read back as %+v (%v)", name, back, err)
		}
	}
	for _, b := range [][]byte{{4, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0}, {0, 0x20, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 1, 0, 0, 0, 0}, {0}} {
		if _, err := ParseSwitches(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%X: %v", b, err)
		}
	}
}

func TestLimits(t *testing.T) {
	s := newSigner(t)
	doc := s.snapshot(t, noon, 1)
	l := s.open(t, doc)
	for name, tc := range map[string]struct {
		class Class
		age   time.Duration
		want  Limits
	}{
		"fresh gate":            {Gate, time.Minute, Limits{}},
		"gate at the edge":      {Gate, Stale, Limits{}},
		"stale gate":            {Gate, Stale + time.Second, Limits{Cap: StaleCap}},
		"stale merchant":        {Merchant, Stale + time.Second, Limits{Cap: StaleCap}},
		"vehicle":               {Vehicle, time.Minute, Limits{Proof: true}},
		"vehicle after a day":   {Vehicle, Outdated, Limits{Proof: true}},
		"vehicle after more":    {Vehicle, Outdated + time.Second, Limits{Cap: StaleCap, Proof: true}},
		"outdated gate":         {Gate, Outdated + time.Second, Limits{Cap: StaleCap, Proof: true}},
		"a clock that is a bit": {Gate, -ahead, Limits{}},
		"a clock that is wrong": {Gate, -ahead - time.Second, Limits{Cap: StaleCap, Proof: true}},
	} {
		if got := l.Limits(tc.class, noon.Add(tc.age)); got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := (&List{}).Limits(Gate, noon); got != (Limits{Cap: StaleCap, Proof: true}) {
		t.Errorf("a reader that heard nothing: %+v", got)
	}
	short, err := Snapshot{Head: Head{KeyID: 1, Issued: noon, Until: noon.Add(time.Hour)}, Switches: Switches{Cap: 300}}.Sign(s.sign)
	if err != nil {
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]Limits{time.Minute: {Cap: 300}, 40 * time.Minute: {Cap: 300}, time.Hour: {Cap: 300, Proof: true}} {
		if got := s.open(t, short).Limits(Gate, noon.Add(age)); got != want {
			t.Errorf("after %v: %+v", age, got)
		}
	}
}

func TestTake(t *testing.T) {
	s := newSigner(t)
	l := s.open(t, s.snapshot(t, noon, 5, of(t, 1, 3, 5)...))
	later := noon.Add(5 * time.Minute)
	d := Delta{Head: head(later), From: 5, To: 7, Switches: Switches{Cap: 200}, Adds: of(t, 0, 2, 9), Removes: []Key{of(t, 3)[0].Key, of(t, 4)[0].Key}}
	got, err := l.Take(s.delta(t, d), s.pinned, noon)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Entries(), of(t, 0, 1, 2, 5, 9)) || got.Version() != 7 || got.Switches().Cap != 200 || !got.Issued().Equal(later) {
		t.Errorf("version %d of %d entries", got.Version(), got.Len())
	}
	longer := OfToken(number(t, 1), noon.Add(20*time.Hour))
	d = Delta{Head: head(later), From: 7, To: 8, Adds: []Entry{longer}}
	if got, err = got.Take(s.delta(t, d), s.pinned, noon); err != nil || got.Len() != 5 || !got.Denied(number(t, 1), 1, noon.Add(19*time.Hour)) {
		t.Errorf("an entry that lasts longer: %d entries, %v", got.Len(), err)
	}
	d = Delta{Head: head(noon.Add(11 * time.Hour)), From: 8, To: 8}
	if got, err = got.Take(s.delta(t, d), s.pinned, noon); err != nil || got.Len() != 1 {
		t.Errorf("entries that died: %d are left, %v", got.Len(), err)
	}
	stranger := newSigner(t)
	for name, tc := range map[string]struct {
		doc  []byte
		want error
	}{
		"from another version":  {s.delta(t, Delta{Head: head(noon.Add(12 * time.Hour)), From: 5, To: 9}), ErrOrder},
		"an older delta":        {s.delta(t, Delta{Head: head(noon), From: 8, To: 9}), ErrOrder},
		"an older snapshot":     {s.snapshot(t, noon.Add(12*time.Hour), 7), ErrOrder},
		"one issued before":     {s.snapshot(t, noon, got.Version()), ErrOrder},
		"signed by a stranger":  {stranger.snapshot(t, noon.Add(12*time.Hour), 9), ErrUntrusted},
		"a stranger's delta":    {stranger.delta(t, Delta{Head: head(noon.Add(12 * time.Hour)), From: 8, To: 8}), ErrUntrusted},
		"nothing":               {nil, ErrUntrusted},
		"a policy as snapshot":  {s.policy(t, Policy{}), ErrUntrusted},
		"a key that is unknown": {relabel(s.snapshot(t, noon.Add(12*time.Hour), 9)), ErrUntrusted},
	} {
		if _, err := got.Take(tc.doc, s.pinned, got.Issued()); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err = got.Take(s.snapshot(t, noon.Add(12*time.Hour), 9, of(t, 6)...), s.pinned, noon); err != nil || got.Version() != 9 {
		t.Errorf("a newer snapshot: %v", err)
	}
}

// TestTakeAfterAWrongClock: of two lists the version says which is newer, and of one
// version the date, unless the list that is held is dated after now.
func TestTakeAfterAWrongClock(t *testing.T) {
	s := newSigner(t)
	wrong := s.open(t, s.snapshot(t, noon.Add(30*24*time.Hour), 5))
	for name, tc := range map[string]struct {
		doc  []byte
		now  time.Time
		want error
	}{
		"the same version":                {s.snapshot(t, noon, 5, of(t, 1)...), noon, nil},
		"the same version, when it is so": {s.snapshot(t, noon, 5, of(t, 1)...), wrong.Issued(), ErrOrder},
		"a later version, whenever":       {s.snapshot(t, noon, 6, of(t, 1)...), wrong.Issued(), nil},
		"an earlier version":              {s.snapshot(t, noon, 4, of(t, 1)...), noon, ErrOrder},
		"a quiet delta":                   {s.delta(t, Delta{Head: head(noon), From: 5, To: 5}), noon, ErrOrder},
		"a delta":                         {s.delta(t, Delta{Head: head(noon), From: 5, To: 6, Adds: of(t, 1)}), noon, ErrOrder},
	} {
		next, err := wrong.Take(tc.doc, s.pinned, tc.now)
		if !errors.Is(err, tc.want) || err == nil && (next.Len() != 1 || !next.Issued().Equal(noon)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "list")
	f, err := OpenFile(path, s.pinned)
	src := &shelf{snapshot: s.snapshot(t, wrong.Issued(), 5), deltas: map[uint64][]byte{5: s.delta(t, Delta{Head: head(noon), From: 5, To: 5})}}
	if err == nil {
		err = f.Update(t.Context(), src, noon)
	}
	src.snapshot = s.snapshot(t, noon, 5, of(t, 1)...)
	if err == nil {
		err = f.Update(t.Context(), src, noon)
	}
	if err != nil || f.Current().Len() != 1 || f.Current().Ahead(noon) {
		t.Errorf("a file: %v, %d entries of %v", err, f.Current().Len(), f.Current().Issued())
	}
	if f, err = OpenFile(path, s.pinned); err != nil || f.Current().Len() != 1 {
		t.Errorf("opened again: %v", err)
	}
}

func relabel(doc []byte) []byte { doc[2]++; return doc }

// TestEveryByteIsSigned: no bit of a document can be changed.
func TestEveryByteIsSigned(t *testing.T) {
	s := newSigner(t)
	for name, doc := range map[string][]byte{"snapshot": s.snapshot(t, noon, 5, of(t, 1)...),
		"delta": s.delta(t, Delta{Head: head(noon), From: 0, To: 7, Adds: of(t, 2), Removes: []Key{of(t, 3)[0].Key}})} {
		for i := range doc {
			bad := bytes.Clone(doc)
			bad[i] ^= 1
			if _, err := (&List{}).Take(bad, s.pinned, noon); err == nil {
				t.Errorf("%s: byte %d can be changed", name, i)
			}
		}
	}
}

func TestForm(t *testing.T) {
	s := newSigner(t)
	es := of(t, 1, 2)
	for name, doc := range map[string][]byte{
		"out of order":     s.snapshot(t, noon, 1, es[1], es[0]),
		"twice":            s.snapshot(t, noon, 1, es[0], es[0]),
		"unknown kind":     s.snapshot(t, noon, 1, Entry{Key: Key{Kind: 9}, Expiry: 1}),
		"no digits":        s.snapshot(t, noon, 1, Entry{Key: Key{Token, [10]byte{0xAA}}, Expiry: 1}),
		"no number":        s.snapshot(t, noon, 1, Entry{Key: Key{Token, [10]byte{}}, Expiry: 1}),
		"no expiry":        s.snapshot(t, noon, 1, Entry{Key: es[0].Key}),
		"token with ctr":   s.snapshot(t, noon, 1, Entry{Key: es[0].Key, Ctr: 1, Expiry: 1}),
		"min ctr without":  s.snapshot(t, noon, 1, Below(number(t, 1), 0, noon)),
		"long key id":      s.snapshot(t, noon, 1, Entry{Key: Key{KeyID, [10]byte{1}}, Expiry: 1}),
		"long module":      s.snapshot(t, noon, 1, Entry{Key: Key{SAM, [10]byte{1}}, Expiry: 1}),
		"empty window":     mustSign(t, s, Snapshot{Head: Head{KeyID: 1, Issued: noon, Until: noon}}),
		"bad switches":     mustSign(t, s, Snapshot{Head: head(noon), Switches: Switches{Profiles: 8}}),
		"trailing":         mustSignRaw(t, s, append(unsigned(s.snapshot(t, noon, 1, es...)), 0)),
		"short":            mustSignRaw(t, s, unsigned(s.snapshot(t, noon, 1, es...))[:60]),
		"delta backwards":  s.delta(t, Delta{Head: head(noon), From: 2, To: 1}),
		"delta in place":   s.delta(t, Delta{Head: head(noon), Adds: es}),
		"adds and removes": s.delta(t, Delta{Head: head(noon), To: 1, Adds: es, Removes: []Key{es[1].Key}}),
		"removes disorder": s.delta(t, Delta{Head: head(noon), To: 1, Removes: []Key{es[1].Key, es[0].Key}}),
		"removes nothing":  s.delta(t, Delta{Head: head(noon), To: 1, Removes: []Key{{Kind: 7}}}),
	} {
		if _, err := (&List{}).Take(doc, s.pinned, noon); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustSign(t testing.TB, s signer, x Snapshot) []byte {
	t.Helper()
	doc, err := x.Sign(s.sign)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func unsigned(doc []byte) []byte { return doc[:len(doc)-sigSize] }

func mustSignRaw(t testing.TB, s signer, b []byte) []byte {
	t.Helper()
	doc, err := sign(listDomain, b, s.sign)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestProof10Lookup: what is left is halved by each comparison.
func TestProof10Lookup(t *testing.T) {
	const n = 100_000
	es := make([]Entry, n)
	for i := range es {
		es[i] = OfToken(number(t, 2*i), noon)
	}
	for _, want := range []int{0, 1, n / 2, n - 1, n} {
		count := 0
		at, found := search(es, OfToken(number(t, 2*want), noon).Key, func(a, b Key) int { count++; return a.Compare(b) })
		if count > 17 || found != (want < n) || at != want {
			t.Errorf("entry %d: found %v at %d after %d comparisons", want, found, at, count)
		}
	}
}

func BenchmarkDenyLookup100k(b *testing.B) {
	s := newSigner(b)
	es := make([]Entry, 100_000)
	for i := range es {
		es[i] = OfToken(number(b, 2*i), noon.Add(time.Hour))
	}
	l := s.open(b, s.snapshot(b, noon, 1, es...))
	probes := make([]token.Number, 1024)
	for i := range probes {
		probes[i] = number(b, i*195)
	}
	for i := 0; b.Loop(); i++ {
		l.Denied(probes[i%len(probes)], 5, noon)
	}
}

func (s signer) policy(t testing.TB, p Policy) []byte {
	t.Helper()
	if p.AID == nil {
		p = Policy{Head: head(noon), AID: []byte{1, 2, 3, 4, 5}, Tolerance: 120 * time.Second, Proof: []Class{Vehicle, Merchant},
			Ranges:  []Range{{"6299", 16, 3}, {"6212", 16, 2}},
			Issuers: map[uint16]*ecdsa.PublicKey{1: &s.key.PublicKey, 300: &s.key.PublicKey}}
	}
	doc, err := p.Sign(s.sign)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestPolicy(t *testing.T) {
	s := newSigner(t)
	doc := s.policy(t, Policy{})
	p, err := OpenPolicy(doc, s.pinned, noon)
	if err != nil {
		t.Fatal(err)
	}
	if p.Tolerance != 120*time.Second || !slices.Equal(p.Proof, []Class{Vehicle, Merchant}) || len(p.Ranges) != 2 ||
		p.Ranges[0] != (Range{"6299", 16, 3}) || len(p.Issuers) != 2 || !p.Issuers[300].Equal(&s.key.PublicKey) {
		t.Errorf("%+v", p)
	}
	for i := range doc {
		bad := bytes.Clone(doc)
		bad[i] ^= 1
		if _, err := OpenPolicy(bad, s.pinned, noon); !errors.Is(err, ErrUntrusted) {
			t.Errorf("byte %d can be changed: %v", i, err)
		}
	}
	if _, err := OpenPolicy(doc, s.pinned, p.Until); !errors.Is(err, ErrOrder) {
		t.Errorf("a policy that has ended: %v", err)
	}
	if _, err := OpenPolicy(s.snapshot(t, noon, 1), s.pinned, noon); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a snapshot as policy: %v", err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Policy){
		"no proof at vehicles":  func(p *Policy) { p.Proof = []Class{Gate} },
		"phones without a key":  func(p *Policy) { p.Issuers = nil },
		"a key of another kind": func(p *Policy) { p.Issuers = map[uint16]*ecdsa.PublicKey{1: &other.PublicKey} },
		"one level":             func(p *Policy) { p.Ranges = []Range{{"62", 16, 1}} },
		"a short number":        func(p *Policy) { p.Ranges = []Range{{"62", 12, 3}} },
		"letters":               func(p *Policy) { p.Ranges = []Range{{"6a", 16, 3}} },
		"a leading zero":        func(p *Policy) { p.Ranges = []Range{{"06", 16, 3}} },
		"no prefix":             func(p *Policy) { p.Ranges = []Range{{"", 16, 3}} },
		"a short AID":           func(p *Policy) { p.AID = []byte{1} },
	} {
		q := p
		edit(&q)
		if _, err := q.Sign(s.sign); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// shelf is a source that holds documents.
type shelf struct {
	snapshot []byte
	deltas   map[uint64][]byte // by the version they lead on from
	gone     bool
	down     bool // snapshots do not come through
	asked    []string
}

func (s *shelf) Snapshot(context.Context) ([]byte, error) {
	s.asked = append(s.asked, "snapshot")
	if s.down {
		return nil, errors.New("no network")
	}
	return s.snapshot, nil
}

func (s *shelf) Delta(_ context.Context, from uint64, tag string) ([]byte, error) {
	s.asked = append(s.asked, fmt.Sprint("delta ", from))
	if s.gone {
		return nil, ErrGone
	}
	return s.deltas[from], nil
}

func TestFile(t *testing.T) {
	s := newSigner(t)
	path := filepath.Join(t.TempDir(), "list")
	open := func() *File {
		t.Helper()
		f, err := OpenFile(path, s.pinned)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	src := &shelf{snapshot: s.snapshot(t, noon, 3, of(t, 1)...), deltas: map[uint64][]byte{}}
	update := func(version uint64, entries int) {
		t.Helper()
		if err := f.Update(t.Context(), src, noon); err != nil {
			t.Fatal(err)
		}
		if again := open(); f.Current().Version() != version || f.Current().Len() != entries ||
			again.Current().Tag() != f.Current().Tag() || !slices.Equal(again.Current().Entries(), f.Current().Entries()) {
			t.Errorf("version %d of %d entries; on disk version %d", f.Current().Version(), f.Current().Len(), again.Current().Version())
		}
	}
	update(3, 1)
	update(3, 1) // nothing is newer
	src.deltas[3] = s.delta(t, Delta{Head: head(noon.Add(time.Minute)), From: 3, To: 4, Adds: of(t, 2)})
	update(4, 2)
	for n := range 400 { // quiet minutes do not fill the disk
		src.deltas[4] = s.delta(t, Delta{Head: head(noon.Add(time.Duration(n+2) * time.Minute)), From: 4, To: 4})
		update(4, 2)
	}
	if len(f.docs) != 3 {
		t.Errorf("%d documents are kept", len(f.docs))
	}
	src.gone, src.snapshot = true, s.snapshot(t, noon.Add(9*time.Hour), 50, of(t, 7, 8, 9)...)
	update(50, 3)
	if got := src.asked[len(src.asked)-2:]; !slices.Equal(got, []string{"delta 4", "snapshot"}) {
		t.Errorf("asked for %v", got)
	}
	for name, doc := range map[string][]byte{"older": s.snapshot(t, noon, 3), "strange": newSigner(t).snapshot(t, noon.Add(10*time.Hour), 51), "empty": nil} {
		if err := f.Take(doc, noon.Add(9*time.Hour)); err == nil || open().Current().Version() != 50 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSnapshotThatDoesNotCome: a reader asks for a snapshot now and then, so that its file
// stays short. Where a list of megabytes does not come through it hears denials all the
// same, from deltas, as long as they lead on.
func TestSnapshotThatDoesNotCome(t *testing.T) {
	s := newSigner(t)
	f, err := OpenFile(filepath.Join(t.TempDir(), "list"), s.pinned)
	if err != nil {
		t.Fatal(err)
	}
	src := &shelf{snapshot: s.snapshot(t, noon, 1), deltas: map[uint64][]byte{}}
	if err := f.Update(t.Context(), src, noon); err != nil {
		t.Fatal(err)
	}
	src.down = true
	for v := uint64(1); v < maxDeltas+5; v++ {
		src.deltas[v] = s.delta(t, Delta{Head: head(noon.Add(time.Duration(v) * time.Second)), From: v, To: v + 1, Adds: of(t, int(v))})
		if err := f.Update(t.Context(), src, noon); err != nil || f.Current().Version() != v+1 {
			t.Fatalf("version %d is held, want %d: %v", f.Current().Version(), v+1, err)
		}
	}
	src.gone = true
	if err := f.Update(t.Context(), src, noon); err == nil {
		t.Error("nothing came, and that is no error")
	}
	src.down, src.snapshot = false, s.snapshot(t, noon.Add(time.Hour), maxDeltas+5, of(t, 7)...)
	if err := f.Update(t.Context(), src, noon.Add(time.Hour)); err != nil || len(f.docs) != 1 || f.Current().Len() != 1 {
		t.Errorf("a snapshot came: %d documents, %d entries, %v", len(f.docs), f.Current().Len(), err)
	}
}

// TestFileCut: whatever a process leaves behind when it dies is the old list or
// the new one; what somebody else put there is no list.
func TestFileCut(t *testing.T) {
	s := newSigner(t)
	path := filepath.Join(t.TempDir(), "list")
	f, err := OpenFile(path, s.pinned)
	if err == nil {
		err = f.Take(s.snapshot(t, noon, 3, of(t, 1)...), noon)
	}
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole { // died while the new file was written beside the old one
		if err := os.WriteFile(path+".new", whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err = OpenFile(path, s.pinned); err != nil || f.Current().Version() != 3 {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if err := f.Take(s.snapshot(t, noon.Add(time.Minute), 4), noon); err != nil || f.Current().Version() != 4 {
		t.Errorf("after a cut: %v", err)
	}
	for name, b := range map[string][]byte{"cut": whole[:len(whole)-1], "changed": append(bytes.Clone(whole[:40]), bytes.Repeat([]byte{1}, len(whole)-40)...),
		"two": append(bytes.Clone(whole), whole...), "a length of none": {0, 0, 0, 0}, "a stranger's": printFile([][]byte{newSigner(t).snapshot(t, noon, 9)})} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(path, s.pinned); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	s := newSigner(f)
	f.Add(s.snapshot(f, noon, 5, of(f, 1)...))
	f.Add(s.delta(f, Delta{Head: head(noon), To: 7, Adds: of(f, 2), Removes: []Key{of(f, 3)[0].Key}}))
	f.Add(s.policy(f, Policy{}))
	// Printing what was read gives the same bytes, with the signature they had.
	f.Fuzz(func(t *testing.T, doc []byte) {
		keep := func([32]byte) ([64]byte, error) { return [64]byte(doc[len(doc)-sigSize:]), nil }
		var back []byte
		var err error
		if x, perr := ParseSnapshot(doc); perr == nil {
			back, err = x.Sign(keep)
		} else if x, perr := ParseDelta(doc); perr == nil {
			back, err = x.Sign(keep)
		} else if x, perr := ParsePolicy(doc); perr == nil {
			back, err = x.Sign(keep)
		} else {
			return
		}
		if err != nil || !bytes.Equal(back, doc) {
			t.Fatalf("%X prints as %X (%v)", doc, back, err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	for _, e := range append(of(f, 1), OfKeyID(7, noon), OfSAM([6]byte{1}, noon), Below(number(f, 3), 9, noon)) {
		f.Add(e.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ParseEntry(b); err == nil && !bytes.Equal(e.Append(nil), b) {
			t.Fatalf("%X prints as %X", b, e.Append(nil))
		}
		if k, err := ParseKey(b); err == nil && !bytes.Equal(k.Append(nil), b) {
			t.Fatalf("%X prints as %X", b, k.Append(nil))
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add(printFile([][]byte{{1, 2, 3}, {4}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if docs, err := parseFile(b); err == nil && !bytes.Equal(printFile(docs), b) {
			t.Fatalf("%X prints as %X", b, printFile(docs))
		}
	})
}
