//go:build linux

package chaos

import (
	"bufio"
	"bytes"
	"context"
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
	"testing"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/tdes"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
	"github.com/tapvault/tapvault/token"
)

// marks are values that may stand nowhere, by what they are.
type marks map[string][]byte

// everywhere is how a value could stand in bytes.
func everywhere(value []byte) (forms [][]byte) {
	forms = append(forms, value)
	h := hex.EncodeToString(value)
	return append(forms, []byte(h), []byte(strings.ToUpper(h)))
}

func (m marks) digits(what, number string) {
	m[what] = []byte(number)
	if len(number)%2 == 0 {
		packed, err := hex.DecodeString(number)
		if err == nil {
			m[what+", packed"] = packed
		}
	}
}

// search reports every mark that stands in text.
func (m marks) search(t *testing.T, place string, text []byte, raw bool) {
	t.Helper()
	for what, value := range m {
		forms := everywhere(value)
		if raw {
			forms = forms[:1]
		}
		for _, f := range forms {
			if bytes.Contains(text, f) {
				t.Errorf("%s holds %s", place, what)
			}
		}
	}
}

// TestSecrets runs the service with marked cards, keys and callers, kills it in
// the middle, and searches every byte that is left behind: logs, metrics, audit
// record, checkpoints, both database servers with their write-ahead logs, and
// the memory of the process, where no master and no card's key may be found.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "tapvault")
	if out, err := exec.Command("go", "build", "-o", bin, "../../../cmd/tapvault").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w := &marked{keys: &softkey.Ring{}, masters: marks{}, files: marks{}}
	c := Config{Bin: bin, Dir: filepath.Join(dir, "home"), Nodes: 2, Callers: 2, prepare: w.masterKeys}
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
	w.memory(t, f.nodes[1])
	w.metrics(t, f.nodes[1])
	w.searchFiles(t, f)
}

// marked is what is looked for.
type marked struct {
	keys    *softkey.Ring
	masters marks // keys of classes 1 and 2
	files   marks // what no file may hold besides
	known   string
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
	return os.WriteFile(config, []byte(strings.Replace(string(text), "key_versions: {1: 1}", "key_versions: {1: 1, 2: 2}", 1)), 0o600)
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
		w.known = got.Ref
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
	sure, total := false, 0
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
		w.masters.search(t, "memory, "+lines.Text(), area[:k], false)
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
	w.files.search(t, "metrics", text, false)
	w.masters.search(t, "metrics", text, false)
}

// searchFiles reads every file that was left behind, but for those whose
// purpose is to hold a secret.
func (w *marked) searchFiles(t *testing.T, f *fleet) {
	t.Helper()
	roots := []string{f.home}
	for _, s := range f.servers {
		roots = append(roots, filepath.Dir(s.Socket()))
	}
	read, found, logs := 0, false, false
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
			w.files.search(t, path, text, false)
			w.masters.search(t, path, text, false)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 500 || !found || !logs {
		t.Errorf("%d files were read, the reference of a token found: %v, the log among them: %v", read, found, logs)
	}
}
