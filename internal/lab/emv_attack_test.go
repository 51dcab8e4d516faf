package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/token"
)

// emvBank is a running service with an issuer, and one of its cards.
type emvBank struct {
	*lab.Lab
	cards   *softkey.Ring
	digits  string
	profile emv.Profile
}

type fields = map[string]any

func newEMVBank(t *testing.T, inMemory bool) *emvBank {
	t.Helper()
	b := &emvBank{cards: &softkey.Ring{}, digits: "621212345678901", profile: emv.Profiles["visa-10"]}
	b.digits += string(token.LuhnDigit(b.digits))
	keys := map[keyref.Ref][]byte{}
	for u, v := range map[keyref.Usage]string{keyref.ACMaster: "a master of EMV!", keyref.IntegrityMaster: "of script MACs..", keyref.ConfidentialityMaster: "of secret data.."} {
		ref := keyref.Ref{Realm: "bank", Usage: u, Version: 1}
		keys[ref] = []byte(v)
		if err := b.cards.ImportScratch(t.Context(), ref, keys[ref]); err != nil {
			t.Fatal(err)
		}
	}
	b.Lab = lab.New(t, lab.Options{Keys: keys, Config: func(c *assembly.Config) {
		c.EMV = assembly.EMV{CardKeysInMemory: inMemory, Issuers: []assembly.EMVIssuer{{Realm: "bank", Prefixes: []string{"6212", "6299"},
			Profiles: []string{"visa-10", "mchip-20"}, Keys: []keyref.Usage{keyref.IntegrityMaster, keyref.ConfidentialityMaster}, ATCAhead: 10}}}
	}})
	return b
}

// pays is a good transaction of the card with a counter.
func (b *emvBank) pays(t *testing.T, atc byte) fields {
	t.Helper()
	card, err := emv.NewCard(b.digits, "01")
	if err != nil {
		t.Fatal(err)
	}
	d, data := emv.Data{}, fields{}
	for _, f := range []struct {
		tag string
		n   int
	}{{"9F02", 6}, {"9F03", 6}, {"9F1A", 2}, {"95", 5}, {"5F2A", 2}, {"9A", 3}, {"9C", 1}, {"9F37", 4}, {"82", 2}, {"CVR", 4}} {
		d[f.tag] = make([]byte, f.n)
		data[f.tag] = fmt.Sprintf("%X", d[f.tag])
	}
	d["9F36"] = []byte{0, atc}
	data["9F36"] = fmt.Sprintf("%X", d["9F36"])
	ac, err := b.profile.AC(t.Context(), b.cards, keyref.Ref{Realm: "bank", Usage: keyref.ACMaster, Version: 1}, card, d)
	if err != nil {
		t.Fatal(err)
	}
	return fields{"pan": b.digits, "psn": "01", "profile": "visa-10", "cryptogram": fmt.Sprintf("%X", ac), "data": data}
}

func (b *emvBank) asks(t *testing.T, id, path string, body fields) lab.Answer {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return b.Send(t, "POST", path, b.Bearer(t, id), text)
}

// reason is what the audit record says of a request that was refused.
func (b *emvBank) reason(t *testing.T, request string) (reason string) {
	t.Helper()
	text, err := os.ReadFile(b.Config.Path(b.Config.Audit.File))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e struct{ Request, Reason string }
		if json.Unmarshal(line, &e) == nil && e.Request == request && e.Reason != "" {
			reason = e.Reason
		}
	}
	return reason
}

// seal enciphers text to the key that the service serves.
func (b *emvBank) seal(t *testing.T, text string) string {
	t.Helper()
	key := firstKey(t, json.RawMessage(b.Send(t, "GET", "/.well-known/intake.json", nil, nil).Body), nil)
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := enc.Encrypt([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := o.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEMVAttacked sends what an attacker or a broken host would: each is one
// clear problem outside, and one precise reason in the record.
func TestEMVAttacked(t *testing.T) {
	b := newEMVBank(t, false)
	tok := newToken(t, b.Lab, cardRequest())
	if a := b.asks(t, "issuer", "/v1/emv/arqc", b.pays(t, 5)); a.Status != 200 {
		t.Fatalf("a good one: %d %s", a.Status, a.Body)
	}
	set := func(name string, v any) func(fields) { return func(f fields) { f[name] = v } }
	data := func(name string, v any) func(fields) {
		return func(f fields) { f["data"] = maps.Clone(f["data"].(fields)); f["data"].(fields)[name] = v }
	}
	for name, x := range map[string]struct {
		path, id string
		atc      byte
		change   func(fields)
		status   int
		kind     string
		reason   string
	}{
		"a short field":       {"/v1/emv/arqc", "issuer", 6, data("9F02", "0000000000"), 400, "malformed", ""},
		"a long counter":      {"/v1/emv/arqc", "issuer", 6, data("9F36", "000006"), 400, "malformed", ""},
		"a field is missing":  {"/v1/emv/arqc", "issuer", 6, data("9F37", nil), 400, "malformed", ""},
		"a short cryptogram":  {"/v1/emv/arqc", "issuer", 6, set("cryptogram", "01020304050607"), 400, "malformed", ""},
		"no cryptogram":       {"/v1/emv/arqc", "issuer", 6, func(f fields) { delete(f, "cryptogram") }, 400, "malformed", ""},
		"both data and de55":  {"/v1/emv/arqc", "issuer", 6, set("de55", "9F36020006"), 400, "malformed", ""},
		"an unknown profile":  {"/v1/emv/arqc", "issuer", 6, set("profile", "visa-99"), 422, "profile-unknown", "profile"},
		"another's profile":   {"/v1/emv/arqc", "issuer", 6, set("profile", "visa-18"), 422, "profile-unknown", "profile"},
		"an unknown version":  {"/v1/emv/arqc", "issuer", 6, set("key_version", 9), 422, "realm-unknown", "key-version"},
		"nobody's number":     {"/v1/emv/arqc", "issuer", 6, set("pan", "4761739001010119"), 422, "realm-unknown", "issuer"},
		"over another amount": {"/v1/emv/arqc", "issuer", 6, data("9F02", "000000000001"), 403, "refused", "cryptogram"},
		"another card's":      {"/v1/emv/arqc", "issuer", 6, set("psn", "02"), 403, "refused", "cryptogram"},
		"replayed":            {"/v1/emv/arqc", "issuer", 5, nil, 409, "counter-replayed", "counter-replayed"},
		"jumped":              {"/v1/emv/arqc", "issuer", 200, nil, 409, "counter-jumped", "counter-jumped"},
		"digits of Arabic":    {"/v1/emv/arqc", "issuer", 6, data("9F02", "\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661"), 400, "malformed", ""},
		"a card in Arabic":    {"/v1/emv/arqc", "issuer", 6, set("pan", "\u0666\u0662\u0661\u0662\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669\u0660\u0661\u0662"), 400, "malformed", ""},
		"below zero":          {"/v1/emv/arqc", "issuer", 6, data("9F02", "-00000000001"), 400, "malformed", ""},
		"an amount as number": {"/v1/emv/arqc", "issuer", 6, data("9F02", -1), 400, "malformed", ""},
		"version below zero":  {"/v1/emv/arqc", "issuer", 6, set("key_version", -1), 400, "malformed", ""},
		"a giant version":     {"/v1/emv/arqc", "issuer", 6, set("key_version", json.Number("1e30")), 400, "malformed", ""},
		"a giant field":       {"/v1/emv/arqc", "issuer", 6, data("9F10", strings.Repeat("00", 5000)), 400, "malformed", ""},
		"odd hex":             {"/v1/emv/arqc", "issuer", 6, data("9F37", "0000000"), 400, "malformed", ""},
		"a giant profile":     {"/v1/emv/arqc", "issuer", 6, set("profile", strings.Repeat("x", 5000)), 400, "malformed", ""},
		"by a reader":         {"/v1/emv/arqc", "terminal", 6, nil, 403, "denied", "denied"},
		"a token as a card":   {"/v1/emv/arqc", "issuer", 6, set("pan", tok.Number), 422, "card-is-token", "card-is-token"},
		"a token, no counter": {"/v1/emv/verify", "issuer", 6, set("pan", tok.Number), 422, "slot-token", "slot-token"},
		"a token, explained":  {"/v1/emv/explain", "issuer", 6, set("pan", tok.Number), 422, "slot-token", "slot-token"},
	} {
		body := b.pays(t, x.atc)
		if x.change != nil {
			x.change(body)
		}
		a := b.asks(t, x.id, x.path, body)
		if a.Status != x.status || a.Type != x.kind {
			t.Errorf("%s: %d %s, want %d %s: %s", name, a.Status, a.Type, x.status, x.kind, a.Body)
		}
		if r := b.reason(t, a.Request); r != x.reason {
			t.Errorf("%s: recorded %q, want %q", name, r, x.reason)
		}
	}
	a := b.asks(t, "issuer", "/v1/emv/values", fields{"pan": b.digits, "kind": "cvv", "expiry": "2912", "service_code": "101"})
	if a.Status != 422 || a.Type != "realm-unknown" || b.reason(t, a.Request) != "key" {
		t.Errorf("a value without its key: %d %s, recorded %q", a.Status, a.Type, b.reason(t, a.Request))
	}
	if a := b.asks(t, "issuer", "/v1/emv/arqc", b.pays(t, 6)); a.Status != 200 {
		t.Errorf("a good one after all that: %d %s", a.Status, a.Body)
	}
	noSecrets(t, b.Lab, b.digits)
}

// results are the kinds of problem of a batch, each in its place; none for what
// was verified.
func results(t *testing.T, a lab.Answer) (kinds []string) {
	t.Helper()
	var got struct {
		Results []struct {
			Problem *struct{ Type string }
		}
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != 200 {
		t.Fatalf("a batch: %d %s", a.Status, a.Body)
	}
	for _, r := range got.Results {
		kind := ""
		if r.Problem != nil {
			kind = r.Problem.Type[strings.LastIndexByte(r.Problem.Type, ':')+1:]
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// TestEMVBatches: up to 500 at once, each by itself; checking takes no counter,
// authorising takes each value once, also within a batch.
func TestEMVBatches(t *testing.T) {
	b := newEMVBank(t, false)
	tok := newToken(t, b.Lab, cardRequest())
	of := func(items ...fields) fields { return fields{"transactions": items} }
	good, changed, slot := b.pays(t, 5), b.pays(t, 6), b.pays(t, 7)
	changed["psn"], slot["pan"] = "02", tok.Number
	a := b.asks(t, "issuer", "/v1/emv/verify/batch", of(good, changed, good))
	if got := results(t, a); !slices.Equal(got, []string{"", "refused", ""}) || b.reason(t, a.Request) != "cryptogram" {
		t.Errorf("%q, recorded %q", got, b.reason(t, a.Request))
	}
	if strings.Contains(string(a.Body), "psn") {
		t.Errorf("a mismatch says what is wrong: %s", a.Body)
	}
	a = b.asks(t, "issuer", "/v1/emv/verify/batch", of(slot, good))
	if got := results(t, a); !slices.Equal(got, []string{"slot-token", ""}) || b.reason(t, a.Request) != "slot-token" {
		t.Errorf("%q, recorded %q", got, b.reason(t, a.Request))
	}
	if a := b.asks(t, "terminal", "/v1/emv/explain", changed); a.Status != 403 || a.Type != "denied" {
		t.Errorf("explained to a reader: %d %s", a.Status, a.Body)
	}
	if a := b.asks(t, "issuer", "/v1/emv/explain", changed); a.Status != 200 || !strings.Contains(string(a.Body), `"psn"`) {
		t.Errorf("explained: %d %s", a.Status, a.Body)
	}
	a = b.asks(t, "issuer", "/v1/emv/arqc/batch", of(good, good, b.pays(t, 6)))
	if got := results(t, a); !slices.Equal(got, []string{"", "counter-replayed", ""}) {
		t.Errorf("authorised: %q", got)
	}
	if a := b.asks(t, "terminal", "/v1/emv/verify/batch", of(good)); a.Status != 403 || a.Type != "denied" || b.reason(t, a.Request) != "denied" {
		t.Errorf("asked by a reader: %d %s", a.Status, a.Body)
	}
	if got := results(t, b.asks(t, "issuer", "/v1/emv/verify/batch", of(slices.Repeat([]fields{good}, 500)...))); len(got) != 500 || slices.Max(got) != "" {
		t.Errorf("500 at once: %q", got)
	}
	for _, n := range []int{0, 501} {
		if a := b.asks(t, "issuer", "/v1/emv/verify/batch", of(slices.Repeat([]fields{good}, n)...)); a.Status != 400 || a.Type != "malformed" {
			t.Errorf("%d at once: %d %s", n, a.Status, a.Body)
		}
	}
	noSecrets(t, b.Lab, b.digits)
}

// TestPINOverHTTP: a card gets its new PIN, nobody sees it on the way, and what
// was sealed by another is of no use.
func TestPINOverHTTP(t *testing.T) {
	b := newEMVBank(t, true)
	tok := newToken(t, b.Lab, cardRequest())
	script := func(who fields, rule, sealed string) fields {
		f := fields{"profile": "visa-10", "atc": "0007", "cryptogram": "0102030405060708", "rule": rule,
			"commands": []fields{{"header": "8424000218", "pin_jwe": sealed, "encipher": "visa"}}}
		maps.Copy(f, who)
		return f
	}
	card, slot := fields{"pan": b.digits, "psn": "01"}, fields{"token_reference_id": tok.Ref}
	pin := b.seal(t, `{"new_pin":"739105","client_id":"issuer"}`)
	both := b.seal(t, `{"new_pin":"739105","current_pin":"1234","client_id":"issuer"}`)
	theirs := b.seal(t, `{"new_pin":"739105","client_id":"bank-2"}`)
	for name, x := range map[string]struct {
		body   fields
		status int
		kind   string
		reason string
	}{
		"Visa's rule":     {script(card, "visa", pin), 200, "", ""},
		"with the old":    {script(card, "visa", both), 200, "", ""},
		"common":          {script(card, "common", pin), 200, "", ""},
		"common, the old": {script(card, "common", both), 422, "intake", "pin-text"},
		"another's":       {script(card, "visa", theirs), 422, "intake", "pin-text"},
		"a card sealed":   {script(card, "visa", b.seal(t, `{"pan":"`+b.digits+`","expiry":"3012"}`)), 422, "intake", "pin-text"},
		"changed":         {script(card, "visa", pin[:len(pin)-4]+"AAAA"), 422, "intake", "sealed"},
		"a token's":       {script(slot, "common", pin), 422, "slot-token", "slot-token"},
		"a token, Visa":   {script(slot, "visa", pin), 422, "slot-token", "slot-token"},
	} {
		a := b.asks(t, "issuer", "/v1/emv/scripts", x.body)
		if a.Status != x.status || a.Type != x.kind || b.reason(t, a.Request) != x.reason {
			t.Errorf("%s: %d %s, recorded %q: %s", name, a.Status, a.Type, b.reason(t, a.Request), a.Body)
		}
	}
	a := b.asks(t, "issuer", "/v1/emv/scripts/batch", fields{"scripts": []fields{script(card, "visa", pin), script(card, "visa", theirs), {"pan": "1"}}})
	if a.Status != 400 {
		t.Errorf("a batch with a script of another form: %d %s", a.Status, a.Body)
	}
	a = b.asks(t, "issuer", "/v1/emv/scripts/batch", fields{"scripts": []fields{script(card, "visa", pin), script(card, "visa", theirs)}})
	var got struct {
		Results []struct {
			Commands []json.RawMessage
			Problem  *struct{ Type string }
		}
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != 200 || len(got.Results) != 2 || len(got.Results[0].Commands) != 1 || got.Results[1].Problem == nil {
		t.Errorf("a batch: %d %s", a.Status, a.Body)
	}
	noSecrets(t, b.Lab, b.digits, "739105")
}
