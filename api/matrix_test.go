package api_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
)

// rule is a line of the policy.
type rule struct {
	scope  access.Action
	roles  []access.Role
	also   map[access.Role]access.Action // a second scope that a role needs
	tenant string
}

func (r rule) allows(role access.Role, scopes []access.Action) bool {
	second, more := r.also[role]
	return slices.Contains(r.roles, role) && slices.Contains(scopes, r.scope) && (!more || slices.Contains(scopes, second))
}

func (r rule) open() bool { return r.scope == "open" }

// readPolicy reads the one table that says who may call what.
func readPolicy(t *testing.T) map[string]rule {
	t.Helper()
	f, err := os.Open("testdata/access-policy.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	policy := map[string]rule{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) == 0 || w[0] == "#" {
			continue
		}
		if len(w) != 5 {
			t.Fatalf("access-policy.txt: %q", lines.Text())
		}
		r := rule{scope: access.Action(w[2]), tenant: w[4], also: map[access.Role]access.Action{}}
		for name := range strings.SplitSeq(w[3], ",") {
			if name == "-" {
				continue
			}
			name, second, more := strings.Cut(name, "+")
			if more {
				r.also[access.Role(name)] = access.Action(second)
			}
			if !slices.Contains(access.Roles, access.Role(name)) {
				t.Errorf("access-policy.txt: %q is no role", name)
			}
			r.roles = append(r.roles, access.Role(name))
		}
		if !r.open() && (!slices.Contains(access.Actions, r.scope) || len(r.roles) == 0) || r.open() != (r.roles == nil) {
			t.Errorf("access-policy.txt: %q", lines.Text())
		}
		key := w[0] + " " + w[1]
		if _, ok := policy[key]; ok {
			t.Errorf("access-policy.txt: %s stands twice", key)
		}
		policy[key] = r
	}
	return policy
}

// described lists the operations of openapi.yaml.
func described(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

// sampled is a request that succeeds where its objects exist.
type sampled = api.Sample

// call is one operation as the matrix calls it.
type call struct {
	name string // METHOD and path of openapi.yaml
	rule
	api.Sample
}

// calls joins description, policy and samples: an operation that is missing from
// either of the others fails.
func calls(t *testing.T) (all []call) {
	t.Helper()
	policy, samples := readPolicy(t), map[string]api.Sample{}
	for _, s := range api.Samples() {
		samples[s.Method+" "+s.Route] = s
	}
	for _, name := range described(t) {
		r, ok := policy[name]
		s, sampled := samples[strings.Split(name, "?")[0]]
		if !ok || !sampled {
			t.Errorf("%s is missing from the matrix: give it a line in testdata/access-policy.txt and a sample", name)
			continue
		}
		s.Path = strings.NewReplacer("?cursor="+api.SampleCursor+"&", "?", "?cursor="+api.SampleCursor, "").Replace(s.Path) // another service sealed it
		all = append(all, call{name, r, s})
		delete(policy, name)
	}
	for name := range policy {
		t.Errorf("access-policy.txt: openapi.yaml describes no %s", name)
	}
	if len(all) < 90 {
		t.Errorf("the matrix holds %d operations: has the form of a file changed?", len(all))
	}
	return all
}

// matrix is the service that the cells are tried on.
type matrix struct {
	*lab.Lab
	kid  string
	keys atomic.Int64
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{Lab: lab.New(t, lab.Options{Now: api.SampleTime,
		Config: func(c *assembly.Config) {
			c.Slots.ElementKeyVersion = 2
			c.Quorum = map[string]assembly.Quorum{"vault-export": {Needed: 1, Approvers: []string{"officer"}}}
		}})}
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(m.Send(t, "GET", "/.well-known/jwks.json", nil, nil).Body, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("the service's keys: %v", err)
	}
	m.kid = set.Keys[0].Kid
	return m
}

// mint makes an access token that the service would never give, with its own
// key: a role with a scope that is not its own, a tenant of one's choice.
func (m *matrix) mint(t *testing.T, client string, role access.Role, requestor string, scopes ...access.Action) string {
	t.Helper()
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	now := m.Now()
	claims := map[string]any{"iss": m.Config.Identity.IssuerURL, "aud": []string{m.Config.Identity.Audience}, "sub": client, "client_id": client,
		"jti": fmt.Sprintf("m%d", m.keys.Add(1)), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		"role": string(role), "scope": strings.Join(words, " ")}
	if requestor != "" {
		claims["requestor"] = requestor
	}
	return m.sign(t, map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": m.kid}, claims)
}

// sign signs any header and claims with the service's own key.
func (m *matrix) sign(t *testing.T, header, claims any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	sig, err := m.HSM.Sign(t.Context(), keyref.Ref{Usage: keyref.JWTSign, Version: 1}, sha256.Sum256([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig[:])
}

// requestID is what differs from request to request, in a problem.
var requestID = regexp.MustCompile("urn:tapvault:request:[A-Z2-7]+")

// answered is what the service said, without what differs by request.
type answered struct {
	status int
	kind   string // of a problem
	text   string
}

// send makes a call and reads its answer; of a stream, its head.
func (m *matrix) send(ctx context.Context, c call, path, body, bearer string) (a answered, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, c.Method, m.URL+path, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	if bearer != "" {
		q.Header.Set("Authorization", "Bearer "+bearer)
	}
	if c.Method == http.MethodPost {
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Idempotency-Key", fmt.Sprintf("matrix-%d", m.keys.Add(1)))
		if strings.HasPrefix(path, "/oauth2/") {
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	resp, err := m.HTTP.Do(q)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		return a, nil
	}
	text, err := io.ReadAll(resp.Body)
	text = requestID.ReplaceAll(text, nil)
	if a.text = string(text); resp.Header.Get("Content-Type") == "application/problem+json" || a.status >= 400 && path == "/oauth2/token" {
		var p map[string]any
		err = errors.Join(err, json.Unmarshal(text, &p))
		a.kind, _ = p["type"].(string)
		a.kind = strings.TrimPrefix(a.kind, "urn:tapvault:problem:")
		plain, merr := json.Marshal(p)
		a.text, err = string(plain), errors.Join(err, merr)
	}
	return a, err
}

// cell is one caller and what it may expect of one operation.
type cell struct {
	call
	who     string
	bearer  string
	allowed bool
}

// judge says what is wrong with the answer to a cell, or "".
func (c cell) judge(a answered) string {
	switch {
	case c.open() && a.status != 401 && a.kind != "denied", c.open() && strings.HasPrefix(c.Path, "/oauth2/") && a.status == 401:
		return ""
	case c.open():
		return "an open operation asks who calls"
	case c.bearer == "" && a.status == 401 && a.kind == "unauthenticated":
		return ""
	case c.bearer == "":
		return "is served without a caller"
	case c.allowed && (a.status == 401 || a.kind == "denied"):
		return "is denied and should be allowed"
	case c.allowed && a.status >= 500:
		return "fails"
	case !c.allowed && (a.status != 403 || a.kind != "denied"):
		return "is allowed and should be denied"
	}
	return ""
}

// TestAccessMatrix tries every operation of openapi.yaml as every role with
// every scope, alone and with none and all, over the real edge; what is expected
// stands in testdata/access-policy.txt.
func TestAccessMatrix(t *testing.T) {
	m, all := newMatrix(t), calls(t)
	var cells []cell
	add := func(who string, role access.Role, bearer string, scopes ...access.Action) {
		for _, c := range all {
			cells = append(cells, cell{c, who, bearer, c.allows(role, scopes)})
		}
	}
	add("nobody", "", "")
	for _, role := range access.Roles {
		client := string(role)
		requestor := ""
		if role == access.Issuer {
			requestor = "50110000001"
		}
		for _, scope := range access.Actions {
			// What a client can have, it gets by logging in.
			bearer := ""
			if slices.Contains(access.ForRole(role), scope) {
				var err error
				if bearer, err = m.ClientFor(t, client, string(scope)).AccessToken(t.Context()); err != nil {
					t.Fatalf("logging in as %s for %s: %v", client, scope, err)
				}
			} else {
				if _, err := m.ClientFor(t, client, string(scope)).AccessToken(t.Context()); err == nil {
					t.Errorf("%s is given %s", client, scope)
				}
				bearer = m.mint(t, client, role, requestor, scope)
			}
			add(fmt.Sprintf("%s with %s", role, scope), role, bearer, scope)
		}
		add(fmt.Sprintf("%s with no scope", role), role, m.mint(t, client, role, requestor))
		add(fmt.Sprintf("%s with all scopes", role), role, m.mint(t, client, role, requestor, access.Actions...), access.Actions...)
	}
	todo := make(chan cell)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for c := range todo {
				a, err := m.send(t.Context(), c.call, c.Path, c.Body, c.bearer)
				if err != nil {
					t.Errorf("%s as %s: %v", c.name, c.who, err)
				} else if wrong := c.judge(a); wrong != "" {
					t.Errorf("%s as %s: %s: %d %s", c.name, c.who, wrong, a.status, a.text)
				}
			}
		})
	}
	for _, c := range cells {
		todo <- c
	}
	close(todo)
	workers.Wait()
	t.Logf("%d cells: %d operations", len(cells), len(all))
}

// TestTenants: whoever acts for another tenant gets, byte for byte, what it gets
// for an object that does not exist.
func TestTenants(t *testing.T) {
	m, all := newMatrix(t), calls(t)
	objects, unknown := m.furnish(t)
	differ := 0
	for _, c := range all {
		if c.tenant == "-" {
			continue
		}
		real, ok := objects[c.tenant]
		if !ok {
			t.Errorf("access-policy.txt: %s: %q is no kind of object", c.name, c.tenant)
			continue
		}
		for _, role := range c.roles {
			scopes := access.Actions
			foreign := m.mint(t, "other-issuer", role, "50110000002", scopes...)
			own := m.mint(t, "wallet", role, "50110000001", scopes...)
			ask := func(bearer, id string) answered {
				path, body := c.naming(id)
				if path == c.Path && body == c.Body {
					t.Fatalf("%s: the sample names no %s", c.name, c.tenant)
				}
				a, err := m.send(t.Context(), c, path, body, bearer)
				if err != nil {
					t.Fatal(err)
				}
				a.text = strings.ReplaceAll(a.text, id, "ID")
				return a
			}
			theirs, none := ask(foreign, real), ask(foreign, unknown[c.tenant])
			if theirs != none {
				t.Errorf("%s as another tenant's %s: %d %s\nfor an unknown %s: %d %s", c.name, role, theirs.status, theirs.text, c.tenant, none.status, none.text)
			}
			if ours := ask(own, real); ours.kind == "denied" && !strings.Contains(ours.text, "who asks may not approve") || ours.status == 401 {
				t.Errorf("%s as its own %s: %d %s", c.name, role, ours.status, ours.text)
			} else if ours != none {
				differ++
			}
		}
	}
	if differ < 40 { // else the objects were not there to be found
		t.Errorf("only %d cells tell one's own object from an unknown one", differ)
	}
}

// naming is a call that names an object.
func (c call) naming(id string) (path, body string) {
	old := map[string]string{"token": api.SampleToken, "wallet": api.SampleWallet, "load": api.SampleLoad, "device": api.SampleDevice, "element": api.SampleDevice, "approval": api.SampleApproval}[c.tenant]
	path = strings.Replace(c.Path, "/"+old, "/"+id, 1)
	body = c.Body
	if path == c.Path {
		body = strings.Replace(body, `"`+old+`"`, `"`+id+`"`, 1)
	}
	if name := map[string]string{"GET /v1/tokens": "ref", "GET /v1/events": "ref", "GET /v1/cases": "wallet", "GET /v1/loads": "load"}[c.name]; name != "" {
		path = c.Route + "?" + name + "=" + id
	}
	return path, body
}

// furnish makes an object of each kind for requestor 50110000001 and client
// wallet, and names one of each kind that does not exist.
func (m *matrix) furnish(t *testing.T) (real, unknown map[string]string) {
	t.Helper()
	ctx, issuer, phones := t.Context(), m.Client(t, "issuer"), m.Client(t, "wallet")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tok, err := issuer.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits("6212345678901232"), PANExpiry: "2912", Location: "03"})
	must(err)
	w, err := issuer.OpenWallet(ctx, wire.WalletRequest{})
	must(err)
	_, err = issuer.AccountEvent(ctx, w.ID, wire.AccountEvent{ID: "e1", Type: "TOP_UP", Amount: 20000})
	must(err)
	d, err := phones.Enrol(ctx, wire.Enrolment{Wallet: w.ID, WrapKey: newJWK(t), SignKey: newJWK(t), Attestation: m.attested("TEE")})
	must(err)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	e, err := phones.EnrolElement(ctx, wire.ElementEnrolment{Wallet: w.ID, Serial: wire.Hex8{1}, Modulus: key.N.Bytes(), Attestation: m.attested("SE")})
	must(err)
	// A card shows what a load is begun with.
	card := wire.Card{Realm: lab.Realm, KeyVersion: 1, Issuer: wire.Hex8{0x10, 7: 1}, ASN: wire.Hex10{2: 0x31, 9: 1}}
	at, err := cryptogram.ParseDateTime("20260724", "170000")
	must(err)
	l := cryptogram.Load{Rand: [4]byte{1, 2, 3, 4}, Seq: 1, Balance: 100, Amount: 700, Type: 1, Terminal: [6]byte{1}, At: at}
	scheme := m.Config.Realms[0].Scheme()
	path, err := scheme.Key(keyref.LoadMaster, cryptogram.Card{Issuer: card.Issuer, ASN: card.ASN}, 1, 0)
	must(err)
	mac1, _, err := cryptogram.LoadMACs(ctx, m.HSM, path, l)
	must(err)
	order, err := issuer.LoadCard(ctx, w.ID, wire.CardLoadOrder{CardOrder: wire.CardOrder{Card: card, Rand: l.Rand, OnlineSeq: l.Seq, Balance: l.Balance,
		TermID: l.Terminal, Date: wire.Date{0x20, 0x26, 0x07, 0x24}, Time: wire.Time{0x17}, MAC1: mac1}, Amount: l.Amount, TxnType: 1})
	must(err)
	ask := m.mint(t, "wallet", access.Issuer, "50110000001", access.ApprovalRequest)
	asked, err := m.send(ctx, call{Sample: sampled{Method: "POST"}}, "/v1/approvals", `{"verb":"vault-export","method":"RUN","path":"export","body":"{}"}`, ask)
	must(err)
	var approval wire.Approval
	must(json.Unmarshal([]byte(asked.text), &approval))
	real = map[string]string{"approval": approval.ID, "token": tok.Ref, "wallet": w.ID, "device": d.ID, "element": e.ID, "load": order.ID}
	unknown = map[string]string{}
	for kind, id := range real { // of the same form
		unknown[kind] = id[:len(id)-8] + "AAAA" + id[len(id)-4:]
		if unknown[kind] == id {
			t.Fatal("a very rare id")
		}
	}
	return real, unknown
}

func (m *matrix) attested(level string) wire.Attestation {
	return wire.Attestation{Verdict: "TRUSTED", Level: level, At: m.Now().UTC(), PatchLevel: "2026-06", Boot: "VERIFIED", Locked: true,
		HardwareMAC: true, UseCount: "ANY", SignP95: 60}
}

func newJWK(t *testing.T) wire.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return wire.PublicKey{KeyType: "EC", Curve: "P-256", X: enc(point[1:33]), Y: enc(point[33:])}
}
