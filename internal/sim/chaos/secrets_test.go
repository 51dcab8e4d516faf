//go:build linux

package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/tdes"
	"github.com/tapvault/tapvault/internal/trace/tracetest"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
	"github.com/tapvault/tapvault/token"
)

// marks are values that may stand nowhere, by what they are.
type marks map[string][]byte

func (m marks) digits(what, number string) {
	m[what] = []byte(number)
	if len(number)%2 == 0 {
		packed, err := hex.DecodeString(number)
		if err == nil {
			m[what+", packed"] = packed
		}
	}
}

// finder finds marks in one pass over a text.
type finder struct {
	first [1 << 16]bool // whether a form begins with these two bytes
	forms map[[4]byte][]form
}

type form struct {
	what  string
	value []byte
}

func (m marks) finder() *finder {
	f := &finder{forms: map[[4]byte][]form{}}
	for what, value := range m {
		for _, v := range everywhere(value) {
			f.first[binary.LittleEndian.Uint16(v)] = true
			f.forms[[4]byte(v)] = append(f.forms[[4]byte(v)], form{what, v})
		}
	}
	return f
}

// found lists the marks that stand in text.
func (f *finder) found(text []byte) (what []string) {
	for i := range max(len(text)-3, 0) {
		if !f.first[binary.LittleEndian.Uint16(text[i:])] {
			continue
		}
		for _, x := range f.forms[[4]byte(text[i:])] {
			if bytes.HasPrefix(text[i:], x.value) && !slices.Contains(what, x.what) {
				what = append(what, x.what)
			}
		}
	}
	return what
}

// search reports every mark that stands in text.
func (f *finder) search(t *testing.T, place string, text []byte) {
	t.Helper()
	for _, what := range f.found(text) {
		t.Errorf("%s holds %s", place, what)
	}
}

// alone counts numbers that stand in text with no digit beside them. Six digits
// stand in many a file by chance, but not all six-digit numbers of a list do.
func alone(text []byte, numbers []string) (n int) {
	digit := func(at int) bool { return at >= 0 && at < len(text) && text[at] >= '0' && text[at] <= '9' }
	for _, number := range numbers {
		for at := 0; ; at++ {
			i := bytes.Index(text[at:], []byte(number))
			if i < 0 {
				break
			}
			if at += i; !digit(at-1) && !digit(at+len(number)) {
				n++
				break
			}
		}
	}
	return n
}

// TestSearch: what is looked for would be found.
func TestSearch(t *testing.T) {
	m := marks{}
	m.digits("a number", "6212735192648031")
	m["a key"] = []byte("sixteen bytes ..")
	m["a MAC"] = []byte{0x2B, 0x6D, 0x86, 0x4A}
	f := m.finder()
	for _, text := range []string{"pan 6212735192648031", "\x00\x62\x12\x73\x51\x92\x64\x80\x31\x00", "0x3180649251731262, ", "goroutine 7: f(0x206e656574786973)",
		"7369787465656e206279746573202e2e", "SIXTEEN sixteen bytes ..", "7369787465656E206279746573202E2E",
		"f({0x62, 0x12, 0x73, 0x51, 0x92, ...})", "[54 50 49 50 55 51 53 49]", "6\x002\x001\x002\x007\x003\x005\x001\x009\x002\x006\x004\x008\x000\x003\x001\x00",
		"eyJwYW4iOiI2MjEyNzM1MTkyNjQ4MDMxIn0", "\x26\x21\x37\x15\x29\x46\x08\x13", "0x2b, 0x6d, 0x86, 0x4a", `{"mac2":"2B6D864A"}`} {
		if len(f.found([]byte(text))) == 0 {
			t.Errorf("%q is not found", text)
		}
	}
	if got := f.found([]byte("6212735192648032 and 735192")); len(got) != 0 {
		t.Errorf("found %v", got)
	}
	if n := alone([]byte(`1735192 735192 {"pin":"913572"} 9135721`), []string{"735192", "913572", "444444"}); n != 2 {
		t.Errorf("%d numbers stand alone", n)
	}
}

// TestSecrets runs the service with marked cards, keys, PINs and callers, kills
// one process under load and crashes another, and searches every byte that is
// left behind: logs with the trace of the crash, metrics, audit record,
// checkpoints, temporary files, both database servers with their write-ahead logs,
// and the memory of the process, where no master and no card's key may be found.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "tapvault")
	if out, err := exec.Command("go", "build", "-o", bin, "../../../cmd/tapvault").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	coresAllowed(t)
	w := &marked{keys: &softkey.Ring{}, masters: marks{}, files: marks{}, collector: tracetest.New(t)}
	c := Config{Bin: bin, Dir: filepath.Join(dir, "home"), Nodes: 2, Callers: 4, prepare: w.prepare,
		env: []string{"GOTRACEBACK=crash", "TMPDIR=" + filepath.Join(dir, "home", "tmp")}}
	f, err := newFleet(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	w.live(t, f)
	w.pins(t, f)
	w.memory(t, f.nodes[1])
	w.metrics(t, f.nodes[1])
	w.traces(t)
	w.crash(t, f)
	w.searchFiles(t, f)
}

// coresAllowed lets processes that this one starts leave cores, if they do not
// forbid it themselves.
func coresAllowed(t *testing.T) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: was.Max, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &was) })
}

// prepare makes what must be there before a process runs.
func (w *marked) prepare(ctx context.Context, f *fleet) error {
	return errors.Join(os.Mkdir(filepath.Join(f.home, "tmp"), 0o700), w.masterKeys(ctx, f))
}

// secretPINs are right and wrong PINs of phones.
var secretPINs = []string{"735192", "918274", "402857", "849261", "572938", "163849", "927405", "385716"}

// pins gives phones PINs, and has right and wrong ones verified.
func (w *marked) pins(t *testing.T, f *fleet) {
	t.Helper()
	by := sim.Issuing{Issuer: f.nodes[1].client, Wallet: f.nodes[1].phones}
	for i := 0; i < len(secretPINs); i += 2 {
		digits := fmt.Sprintf("6212%011d", 91519264803+i*7919)
		digits += string(token.LuhnDigit(digits))
		w.files.digits(fmt.Sprintf("the card number of phone %d", i), digits)
		p, err := by.Phone(t.Context(), sim.Spec{Card: digits, PIN: secretPINs[i]})
		if err != nil {
			t.Fatal(err)
		}
		w.files[fmt.Sprintf("the stretched PIN of phone %d", i)] = p.Secret(secretPINs[i])
		w.files.digits(fmt.Sprintf("the token of phone %d", i), p.Number)
		for n, want := range []bool{true, false} {
			if ok, err := p.VerifyPIN(t.Context(), secretPINs[i+n]); ok != want || err != nil {
				t.Fatalf("PIN %d of phone %d: %v, %v", n, i, ok, err)
			}
		}
	}
}

// crash kills one process and crashes the other while callers call both.
func (w *marked) crash(t *testing.T, f *fleet) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	defer stop()
	done := make([]atomic.Int64, len(f.nodes))
	for i, n := range f.nodes {
		for k := range 4 {
			calls.Go(func() {
				for at := k; ctx.Err() == nil; at++ {
					if w.once(ctx, n.client, at) == nil {
						done[i].Add(1)
					}
				}
			})
		}
	}
	for i, s := range []syscall.Signal{syscall.SIGABRT, syscall.SIGKILL} {
		for end := time.Now().Add(patience); done[i].Load() < 20; {
			if err := wait(ctx, 10*time.Millisecond); err != nil || time.Now().After(end) {
				t.Fatalf("process %d serves nothing: %s", i, f.nodes[i].said())
			}
		}
		n := f.nodes[i]
		n.mu.Lock()
		n.held = true
		cmd, ended := n.cmd, n.ended
		n.mu.Unlock()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatalf("process %d does not end", i)
		}
		if how := cmd.ProcessState.Sys().(syscall.WaitStatus); !how.Signaled() || how.Signal() != s || how.CoreDump() {
			t.Errorf("process %d ended as %v, a core: %v", i, cmd.ProcessState, how.CoreDump())
		}
	}
	trace, err := os.ReadFile(f.nodes[0].config + ".log")
	if err != nil || !bytes.Contains(trace, []byte("SIGABRT")) || bytes.Count(trace, []byte("\ngoroutine ")) < 5 {
		t.Errorf("no trace of a crash was left: %v, %d bytes", err, len(trace))
	}
}

// once asks for a token of a marked card and has a marked purchase checked.
func (w *marked) once(ctx context.Context, c *client.Client, n int) error {
	if err := c.VerifyPurchase(ctx, w.purchases[n%len(w.purchases)]); err != nil {
		return err
	}
	_, err := c.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits(w.cards[n%len(w.cards)]), PANExpiry: "4912", Location: "03"})
	return err
}

// marked is what is looked for.
type marked struct {
	keys    *softkey.Ring
	masters marks // keys of classes 1 and 2
	files   marks // what no file may hold besides
	known   string

	collector *tracetest.Collector

	cards     []string
	purchases []wire.PurchaseVerify
}

// masterKeys brings masters whose values are known here into the realm of cards.
func (w *marked) masterKeys(ctx context.Context, f *fleet) error {
	module, err := softhsmconfig.Module()
	if err != nil {
		return err
	}
	t, err := hsm.Open(ctx, hsm.Config{Module: module, Token: "tapvault", PIN: hsm.PINFile(filepath.Join(f.home, "secrets", "hsm-user.pin"))})
	if err != nil {
		return err
	}
	for i, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.LoadMaster, keyref.TACMaster, keyref.UnloadMaster, keyref.OverdraftMaster} {
		ref, value := keyref.Ref{Realm: "transit", Usage: u, Version: 2}, fmt.Appendf(nil, "master no %d \x91\xB3\xD5\xF7", 2*i) // not only in parity do they differ
		if err := errors.Join(t.Import(ctx, ref, slices.Clone(value)), w.keys.ImportScratch(ctx, ref, slices.Clone(value))); err != nil {
			return errors.Join(err, t.Close())
		}
		w.masters["the master "+ref.Label()] = value
	}
	if err := t.Close(); err != nil {
		return err
	}
	config := filepath.Join(f.home, "tapvault.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	text = fmt.Appendf(text, "\ntraces:\n  endpoint: %s\n  ca_file: %s\n  sample: 1\n", w.collector.URL, w.collector.CAFile)
	return os.WriteFile(config, []byte(strings.Replace(string(text), "key_versions: {1: 1}", "key_versions: {1: 1, 2: 2}", 1)), 0o600)
}

// traces searches what a collector was told until now, of everything that was
// done before.
func (w *marked) traces(t *testing.T) {
	t.Helper()
	w.collector.Until(t, "traces of all that was done", func(all []tracetest.Span) bool {
		done := map[string]bool{}
		for _, s := range all {
			done[s.Name] = true
		}
		return done["requestToken"] && done["detokenizeDirect"] && done["purchaseVerify"] && done["hsm"] && done["store transaction"] && done["audit record"]
	})
	sent := w.collector.Bytes()
	w.files.finder().search(t, "what the collector was told", sent)
	w.masters.finder().search(t, "what the collector was told", sent)
	if n := alone(sent, secretPINs); n > 0 || bytes.Contains(sent, []byte(w.known)) {
		t.Errorf("the collector was told %d PINs of phones, the reference of a token: %v", n, bytes.Contains(sent, []byte(w.known)))
	}
}

// live has the service do what it does, with marked values.
func (w *marked) live(t *testing.T, f *fleet) {
	t.Helper()
	ctx, c := t.Context(), f.nodes[1].client
	for i := range 40 {
		digits := fmt.Sprintf("6212%011d", 73519264803+i*7919)
		digits += string(token.LuhnDigit(digits))
		got, err := c.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits(digits), PANExpiry: "4912", Location: "03"})
		if err != nil {
			t.Fatal(err)
		}
		w.files.digits(fmt.Sprintf("card number %d", i), digits)
		w.files.digits(fmt.Sprintf("token number %d", i), got.Number)
		w.known, w.cards = got.Ref, append(w.cards, digits)
		if _, err := c.DetokenizeDirect(ctx, wire.DirectRequest{Ref: got.Ref, Purpose: "settlement"}); err != nil {
			t.Fatal(err)
		}
		w.pay(t, c, i)
	}
	bad := "6212735192648039"
	if _, err := c.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits(bad), PANExpiry: "4912", Location: "03"}); err == nil {
		t.Error("a number with a wrong check digit was taken")
	}
	w.files.digits("a refused card number", bad)
	bearer, err := c.AccessToken(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.files["an access token"] = []byte(bearer)
	pin, err := os.ReadFile(filepath.Join(f.home, "secrets", "hsm-user.pin"))
	if err != nil {
		t.Fatal(err)
	}
	w.files["the HSM's PIN"] = fmt.Appendf(nil, "%q", bytes.TrimSpace(pin))
}

// pay has a purchase of a card checked whose keys are known here.
func (w *marked) pay(t *testing.T, c *client.Client, n int) {
	t.Helper()
	q := wire.PurchaseVerify{Purchase: wire.Purchase{Card: wire.Card{Realm: "transit", Issuer: wire.Hex8{0x10, 7: 1}, ASN: wire.Hex10{2: 0x33, 9: byte(n)}, KeyVersion: 2},
		Amount: 200, TxnType: 6, Date: wire.Date{0x20, 0x26, 1, 2}, Time: wire.Time{8, 0x30, 0}}}
	master := keyref.Ref{Realm: "transit", Usage: keyref.PurchaseMaster, Version: 2}
	var issuer, card keyref.Factor
	copy(issuer[:], q.Card.Issuer[:])
	copy(card[:], q.Card.ASN[2:])
	path, err := master.Path(issuer, card)
	if err != nil {
		t.Fatal(err)
	}
	p := cryptogram.Purchase{Amount: 200, Type: 6}
	copy(p.At[:4], q.Date[:])
	copy(p.At[4:], q.Time[:])
	_, mac2, err := cryptogram.PurchaseMACs(t.Context(), w.keys, path, p)
	if err != nil {
		t.Fatal(err)
	}
	q.MAC2 = mac2
	if err := c.VerifyPurchase(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	w.purchases = append(w.purchases, q)
	w.files[fmt.Sprintf("MAC2 of card %d", n)] = slices.Clone(mac2[:])
	level := diversified(w.masters["the master "+master.Label()], issuer)
	w.masters[fmt.Sprintf("the issuer's key of card %d", n)] = level
	key := diversified(level, card)
	w.masters[fmt.Sprintf("the key of card %d", n)] = key
	// What is looked for is what the service used.
	own := &softkey.Ring{}
	if err := own.ImportScratch(t.Context(), purse, slices.Clone(key)); err != nil {
		t.Fatal(err)
	}
	short, err := purse.Path()
	if err != nil {
		t.Fatal(err)
	}
	if _, same, err := cryptogram.PurchaseMACs(t.Context(), own, short, p); err != nil || same != mac2 {
		t.Fatalf("the key of card %d is another: %v", n, err)
	}
}

// diversified is one level below a key: the factor and its complement,
// enciphered.
func diversified(key []byte, f keyref.Factor) []byte {
	in := slices.Clone(f[:])
	for _, b := range f {
		in = append(in, ^b)
	}
	out := make([]byte, 16)
	block, err := tdes.New(key)
	if err != nil {
		return nil
	}
	block.Encrypt(out[:8], in[:8])
	block.Encrypt(out[8:], in[8:])
	return out
}

// memory reads all that a process may write of its own memory.
func (w *marked) memory(t *testing.T, n *node) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", n.pid()))
	if err != nil {
		if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
			t.Log("the memory of the process cannot be read even by who runs it, as it should be")
			return
		}
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", n.pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	sure, total, masters := false, 0, w.masters.finder()
	lines := bufio.NewScanner(bytes.NewReader(maps))
	for lines.Scan() {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") || to-from > 1<<30 {
			continue
		}
		area := make([]byte, to-from)
		k, _ := mem.ReadAt(area, from) // parts may not be there
		total += k
		sure = sure || bytes.Contains(area[:k], []byte(n.addr))
		masters.search(t, "memory, "+lines.Text(), area[:k])
	}
	if !sure || total < 1<<20 {
		t.Errorf("%d bytes of memory were read, and not even its own address was found", total)
	}
}

func (w *marked) metrics(t *testing.T, n *node) {
	t.Helper()
	resp, err := n.http.Get("https://" + n.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || len(text) < 1000 {
		t.Fatalf("metrics: %d, %v", resp.StatusCode, err)
	}
	w.files.finder().search(t, "metrics", text)
	w.masters.finder().search(t, "metrics", text)
}

// searchFiles reads every file that was left behind, but for those whose
// purpose is to hold a secret.
func (w *marked) searchFiles(t *testing.T, f *fleet) {
	t.Helper()
	roots := []string{f.home}
	for _, s := range f.servers {
		roots = append(roots, filepath.Dir(s.Socket()))
	}
	files, masters := w.files.finder(), w.masters.finder()
	read, found, logs, cores := 0, false, false, false
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // servers come and go with files
				return nil
			}
			if err != nil {
				return err
			}
			if d.IsDir() && slices.Contains([]string{"secrets", "clients", "shim"}, d.Name()) {
				return fs.SkipDir
			}
			if !d.Type().IsRegular() {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // gone meanwhile
			}
			read++
			logs = logs || filepath.Base(path) == "service-1.yaml.log"
			found = found || bytes.Contains(text, []byte(w.known))
			if strings.HasSuffix(path, ".log") { // a trace says of some words that it is not sure
				text = bytes.ReplaceAll(text, []byte("?"), nil)
			}
			files.search(t, path, text)
			masters.search(t, path, text)
			if n := alone(text, secretPINs); n > len(secretPINs)/2 {
				t.Errorf("%s holds PINs of phones: %d of %d", path, n, len(secretPINs))
			}
			cores = cores || strings.HasPrefix(filepath.Base(path), "core")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if cores {
		t.Error("a core was left")
	}
	if read < 500 || !found || !logs {
		t.Errorf("%d files were read, the reference of a token found: %v, the log among them: %v", read, found, logs)
	}
}
