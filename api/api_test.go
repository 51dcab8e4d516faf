package api

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/intake"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/wallet"
)

// cardDigits pass their check digit. No log line, problem or record may hold
// them; one answer does.
const (
	cardDigits  = "6222021234567894"
	tokenDigits = "6235290123456781"

	par = "V0010013019229000000000000001"
)

var now = time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC)

// backend plays every service: it answers plausibly, fails with err, or
// panics. What the services really do is tested with them, and end to end in
// internal/lab; here it is the edge that is tested.
type backend struct {
	err     error
	panics  any
	wait    chan struct{}
	mu      sync.Mutex
	attempt access.Attempt
	reason  string
	request tokenize.Request

	requests []tokenize.Request
	set      token.Attributes
	decision token.Decision
	notice   token.Notice
	filter   token.Filter
	events   event.Filter
	cursor   string
	after    int64
	limit    int
	replace  tokenize.Replace
	asked    token.PAN
	queries  []detokenize.Query

	query   detokenize.Query
	taps    []account.Tap
	ill     bool // the second tap cannot be judged
	proof   cardhost.PurchaseProof
	record  cryptogram.Receipted
	entries []audit.Entry
	heard   heard // by wallets
}

func (b *backend) act() error {
	if b.wait != nil {
		<-b.wait
	}
	if b.panics != nil {
		panic(b.panics)
	}
	return b.err
}

func (b *backend) token() (token.Token, error) {
	n, err := token.ParseNumber(tokenDigits)
	if err != nil {
		return token.Token{}, err
	}
	return token.Token{Ref: "r1", Number: n, Requestor: "50120834693", PAR: par,
		PANLast4: "7894", Expiry: "2607", Location: "03", State: token.Requested, NotBefore: now, NotAfter: now.Add(18 * time.Hour),
		CreatedAt: now, ChangedAt: now, PSN: "01", FormFactor: token.FormWatch, Device: "watch:7",
		Assurance: token.Assurance{Method: "10", Data: "issuer app"}, Suspenders: []token.Suspender{token.ByIssuer},
		Decision: token.DecisionApproved, Controls: token.Controls{Channels: []token.Channel{token.Contactless}, MaxCount: 3},
		Renews: "r0", RenewedBy: "r2", Provisioned: &token.Notice{Result: token.Success, At: now}}, b.act()
}

func (b *backend) Exchange(_ context.Context, assertion string, wanted ...access.Action) (identity.Grant, error) {
	if assertion == "stranger" {
		return identity.Grant{}, identity.ErrUnknown
	}
	if slices.Contains(wanted, access.KeyRead) {
		return identity.Grant{}, identity.ErrScope
	}
	return identity.Grant{Client: "issuer", Token: "a.b.c", ExpiresIn: 10 * time.Minute, Scopes: access.ForRole(access.Issuer)}, b.act()
}

func (b *backend) Check(_ context.Context, bearer string) (access.Caller, error) {
	role := map[string]access.Role{"good": access.Issuer, "terminal": access.Terminal, "operator": access.Operator}[bearer]
	if role == "" {
		return access.Caller{}, fmt.Errorf("reading access token: %w: precise reason", identity.ErrRefused)
	}
	return access.Caller{ID: "c", Role: role, Scopes: access.ForRole(role), Requestor: "50120834693"}, nil
}

func (b *backend) Metadata() ([]byte, error) { return new(identity.Service).Metadata() }

func (b *backend) KeySet() ([]byte, error) {
	return []byte(`{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"k","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`), b.act()
}

func (b *backend) Request(_ context.Context, _ access.Caller, r tokenize.Request) (token.Token, error) {
	b.request, b.attempt = r, r.Attempt
	return b.token()
}

func (b *backend) Token(context.Context, access.Caller, token.Ref) (token.Token, error) {
	return b.token()
}

func (b *backend) Move(_ context.Context, _ access.Caller, m tokenize.Move) (token.Token, error) {
	b.reason = strings.TrimLeft(string(m.By)+" "+string(m.Verb)+" "+m.Reason, " ")
	return b.token()
}

func (b *backend) RequestBatch(_ context.Context, _ access.Caller, rs []tokenize.Request, a access.Attempt) ([]tokenize.Result, error) {
	b.requests, b.attempt = rs, a
	out := make([]tokenize.Result, len(rs))
	for i := range out {
		if rs[i].PAN.IsZero() {
			out[i].Err = token.ErrMalformed
		} else {
			out[i].Token, out[i].Err = b.token()
		}
	}
	return out, b.act()
}

func (b *backend) Renew(context.Context, access.Caller, token.Ref, access.Attempt) (token.Token, error) {
	return b.token()
}

func (b *backend) Update(_ context.Context, _ access.Caller, _ token.Ref, set token.Attributes, a access.Attempt) (token.Token, error) {
	b.set, b.attempt = set, a
	return b.token()
}

func (b *backend) Decide(_ context.Context, _ access.Caller, _ token.Ref, d token.Decision, a access.Attempt) (token.Token, error) {
	b.decision, b.attempt = d, a
	return b.token()
}

func (b *backend) Notify(_ context.Context, _ access.Caller, _ token.Ref, n token.Notice, a access.Attempt) (token.Token, error) {
	b.notice, b.attempt = n, a
	return b.token()
}

func (b *backend) Search(_ context.Context, _ access.Caller, f token.Filter, cursor string, limit int) (token.Page, string, error) {
	b.filter, b.cursor, b.limit = f, cursor, limit
	t, err := b.token()
	return token.Page{Tokens: []token.Token{t}, Unreadable: []token.Ref{t.Ref}}, "next", err
}

func (b *backend) ReplaceCard(_ context.Context, _ access.Caller, r tokenize.Replace) (token.Card, error) {
	b.replace, b.attempt = r, r.Attempt
	return token.Card{PAR: par, Last4: "7894", Living: 2}, b.act()
}

func (b *backend) PAR(_ context.Context, _ access.Caller, pan token.PAN) (token.PAR, error) {
	b.asked = pan
	return par, b.act()
}

func (b *backend) Direct(_ context.Context, _ access.Caller, q detokenize.Query, _ string) (detokenize.Answer, error) {
	b.query = q
	return b.answer()
}

func (b *backend) Batch(_ context.Context, _ access.Caller, qs []detokenize.Query, _ string) ([]detokenize.Item, error) {
	return b.items(qs)
}

func (b *backend) DirectBatch(_ context.Context, _ access.Caller, qs []detokenize.Query, _ string) ([]detokenize.Item, error) {
	return b.items(qs)
}

func (b *backend) BatchFits(context.Context, access.Caller, access.Action, int, string) error {
	return nil
}

func (b *backend) items(qs []detokenize.Query) ([]detokenize.Item, error) {
	b.queries = qs
	out := make([]detokenize.Item, len(qs))
	for i, q := range qs {
		if q.Number.IsZero() && q.Ref == "" {
			out[i].Err = detokenize.ErrQuery
		} else {
			out[i].Answer, out[i].Err = b.answer()
		}
	}
	return out, b.act()
}

// sealedCard is what the backend's intake opens.
const sealedCard = "eyJhbGciOiJFQ0RILUVTK0EyNTZLVyJ9.a.b.c.d"

func (b *backend) Open(_ context.Context, client, sealed string) (intake.Card, error) {
	if sealed != sealedCard || client != "c" {
		return intake.Card{}, intake.ErrSealed
	}
	pan, err := token.ParsePAN(cardDigits)
	if err != nil {
		return intake.Card{}, err
	}
	return intake.Card{PAN: pan, Expiry: "2912"}, b.act()
}

func (b *backend) List(_ context.Context, f event.Filter, after int64, limit int) ([]event.Event, error) {
	b.events, b.after, b.limit = f, after, limit
	return []event.Event{{ID: "ev1", Type: event.Suspended, Ref: "r1", Requestor: "50120834693", At: now,
		Data: map[string]string{"suspender": "ISSUER"}, Seq: 2, Position: 100}}, b.act()
}

func (b *backend) Detokenize(_ context.Context, _ access.Caller, q detokenize.Query, _ string) (detokenize.Answer, error) {
	b.query = q
	return b.answer()
}

func (b *backend) answer() (detokenize.Answer, error) {
	pan, err := token.ParsePAN(cardDigits)
	if err != nil {
		return detokenize.Answer{}, err
	}
	return detokenize.Answer{Ref: "r1", PAN: pan, Expiry: "2912", TapID: "t1", PAR: par, Requestor: "50120834693"}, b.act()
}

func (b *backend) Bundle(_ context.Context, _ access.Caller, ref token.Ref, key []byte, a access.Attempt) (wallet.Bundle, error) {
	b.attempt = a
	if !json.Valid(key) {
		return wallet.Bundle{}, errors.New("the device key is no JSON")
	}
	return wallet.Bundle{ID: "b1", Ref: ref, JWE: "a.b.c.d.e", Slots: 2, NotAfter: now}, b.act()
}

func (b *backend) Ack(context.Context, access.Caller, token.Ref, string, []byte) (token.Token, error) {
	return b.token()
}

func (b *backend) Progress(_ context.Context, _ access.Caller, _ string, _ [6]byte, until time.Time) (time.Time, error) {
	return until, b.err
}

func (b *backend) Upload(_ context.Context, _ access.Caller, _ string, taps []account.Tap) ([]account.Result, error) {
	b.taps = taps
	out := make([]account.Result, len(taps))
	for i := range out {
		out[i] = account.Result{TapID: "t1", Outcome: account.Posted}
		if i == 1 && b.ill {
			out[i] = account.Result{Outcome: account.Deferred, Reason: account.Unreadable}
		}
	}
	return out, b.act()
}

func (b *backend) PurchaseMAC1(context.Context, access.Caller, cardhost.Card, cryptogram.Purchase) ([4]byte, error) {
	return [4]byte{0xD4, 0x57, 0x37, 0xC5}, b.act()
}

func (b *backend) PurchaseVerify(_ context.Context, _ access.Caller, _ cardhost.Card, _ cryptogram.Purchase, p cardhost.PurchaseProof) error {
	b.proof = p
	return b.act()
}

func (b *backend) PurchaseVerifyBatch(_ context.Context, _ access.Caller, all []cardhost.PurchaseCheck) ([]error, error) {
	errs := make([]error, len(all))
	for i, q := range all {
		if q.Proof.MAC2 == [4]byte{} {
			errs[i] = cryptogram.ErrMismatch
		}
	}
	return errs, b.act()
}

func (b *backend) TACVerify(_ context.Context, _ access.Caller, _ cardhost.Card, r cryptogram.Receipted, _ [4]byte) error {
	b.record = r
	return b.act()
}

func (b *backend) Load(context.Context, access.Caller, cardhost.Card, cryptogram.Load, [4]byte) ([4]byte, error) {
	return [4]byte{1}, b.act()
}

func (b *backend) Unload(context.Context, access.Caller, cardhost.Card, cryptogram.Unload, [4]byte) ([4]byte, error) {
	return [4]byte{2}, b.act()
}

func (b *backend) UnloadVerify(context.Context, access.Caller, cardhost.Card, cryptogram.Unload, [4]byte) error {
	return b.act()
}

func (b *backend) Overdraft(context.Context, access.Caller, cardhost.Card, cryptogram.Overdraft, [4]byte) ([4]byte, error) {
	return [4]byte{3}, b.act()
}

func (b *backend) Keys(context.Context, access.Caller) ([]keyref.Info, error) {
	ref := keyref.Ref{Realm: "transit", Usage: keyref.PurchaseMaster, Version: 1}
	spec, _ := ref.Usage.Spec()
	seal := keyref.Ref{Usage: keyref.PANSeal, Version: 1}
	sealSpec, _ := seal.Usage.Spec()
	return []keyref.Info{{Ref: ref, Spec: spec, Check: &keyref.CheckValue{0xA1, 2, 3}, State: "ACTIVE", Tokens: []string{"1", "2"}},
		{Ref: seal, Spec: sealSpec, Local: true, State: "ACTIVE"}}, b.act()
}

func (b *backend) Record(_ context.Context, e audit.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, e)
	return b.err
}

// edge is the API over a backend.
type edge struct {
	t       *testing.T
	handler http.Handler
	back    *backend
	logs    *bytes.Buffer
	spec    *openapi3.T
	down    error // what the store answers to readyz
}

func newEdge(t *testing.T, change ...func(*Config)) *edge {
	t.Helper()
	e := &edge{t: t, back: &backend{}, logs: &bytes.Buffer{}}
	cfg := Config{
		AttemptKey: bytes.Repeat([]byte{7}, 32),
		Accounts:   accounts{e.back}, Oversight: accounts{e.back}, Lifecycle: e.back, Directory: e.back, Cards: e.back, Direct: e.back, Intake: e.back, Events: e.back, Streams: e.streams(),
		DenyList: denyBackend{e.back}, DenyKeys: e.back.KeySet,
		WebhookKeys: e.back.KeySet, ResultKeys: e.back.KeySet,
		Devices: phones{e.back}, PINs: phones{e.back}, Syncer: phones{e.back}, Elements: elements{e.back}, SyncKeys: e.back.KeySet,
		Ranges: func(context.Context) ([]wire.Capacity, error) {
			return []wire.Capacity{{Name: "day", Prefix: "623529", Length: 16, Luhn: true, Issuing: true, Size: 1e9, Fresh: 1e9, DaysLeft: 400}}, e.back.act()
		},
		Identity: e.back, Tokens: e.back, Detokenizer: e.back, Wallet: e.back, Taps: e.back, Purchases: e.back, LoadHost: e.back, Loads: loads{e.back}, IssuerHost: issuers{e.back}, CardValues: emvCards{e.back}, CardScripts: emvCards{e.back}, Cryptograms: emvCards{e.back},
		Approvals: approvals{e.back}, Auditor: auditors{e.back}, AuditKeys: e.back.KeySet,
		Inventory: e.back, Gate: audit.Gate{Recorder: e.back},
		Parameters: func() wire.Parameters {
			return wire.Parameters{AID: "A000000632010105", KeyVersion: 1, KeyVersions: []int{1}, CapFen: 1000, ToleranceSec: 120,
				Ranges: []wire.Range{{Prefix: "623529", Length: 16, Luhn: true}}, CredentialKeys: []wire.PublicKey{{KeyType: "EC", Curve: "P-256",
					X: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", Y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}}
		},
		Ready: []Part{{Name: "hsm", Check: func(context.Context) error { return nil }}, {Name: "store", Check: func(context.Context) error { return e.down }},
			{Name: "hsm-2", Spare: true, Check: func(context.Context) error { return errors.New("out") }}},
		Log: slog.New(slog.NewJSONHandler(e.logs, nil)),
		Now: func() time.Time { return now },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, "tapvault_http_requests_total 1\n")
		}),
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if e.handler, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if e.spec, err = openapi3.NewLoader().LoadFromData(document); err != nil {
		t.Fatal(err)
	}
	return e
}

// sample is a request that succeeds.
type sample struct {
	method, path, route, body string
	status                    int
}

const (
	card     = `"card":{"realm":"transit","issuer":"1000000010000001","asn":"00003104870000000017","key_version":1,"algorithm_id":0}`
	purchase = card + `,"rand":"584633C9","offline_seq":0,"amount":1,"txn_type":6,"term_id":"001122334455","term_seq":0,"date":"20161216","time":"134600"`
	unload   = card + `,"rand":"C4121FC6","online_seq":60082,"balance":105864,"amount":74675,"term_id":"0857DFFEFC74","date":"20350610","time":"123316"`
	tapBody  = `{"term_id":"001122334455","issuer":"1000000010000001","payment_token":"` + tokenDigits + `","ud":"00E1F40001006431","rand":"584633C9",` +
		`"offline_seq":1,"amount":300,"txn_type":9,"term_seq":41,"date":"20260724","time":"081530","key_version":1,"algorithm_id":0,"balance":2000,` +
		`"mac1":"D45737C5","mac2":"66B54A6B","tac":"8AF270DC","list_version":7}`
	newDigits = "6212345600001234"
	loginBody = "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=x"
)

func samples() []sample {
	const post, get = "POST", "GET"
	return []sample{
		{post, "/oauth2/token", "", loginBody, 200},
		{get, "/.well-known/oauth-authorization-server", "", "", 200},
		{get, "/.well-known/jwks.json", "", "", 200},
		{get, "/.well-known/intake.json", "", "", 200},
		{get, "/.well-known/webhooks.json", "", "", 200},
		{get, "/.well-known/results.json", "", "", 200},
		{get, "/.well-known/denylist.json", "", "", 200},
		{get, "/.well-known/audit.json", "", "", 200},
		{get, "/.well-known/sync.json", "", "", 200},
		{get, "/openapi.json", "", "", 200},
		{get, "/docs", "", "", 200},
		{get, "/healthz", "", "", 200},
		{get, "/readyz", "", "", 200},
		{get, "/metrics", "", "", 200},
		{post, "/v1/tokens", "", `{"pan":"` + cardDigits + `","pan_expiry":"2912","token_location":"03","service_day":"2026-07-24"}`, 201},
		{get, "/v1/tokens?last4=7894&state=ACTIVE&limit=20", "/v1/tokens", "", 200},
		{post, "/v1/tokens/batch", "", `{"tokens":[{"pan":"` + cardDigits + `","pan_expiry":"2912","token_location":"03"},{"pan_jwe":"` + sealedCard + `","token_location":"03"}]}`, 200},
		{get, "/v1/tokens/r1", "/v1/tokens/{ref}", "", 200},
		{post, "/v1/tokens/r1/renew", "/v1/tokens/{ref}/renew", "", 201},
		{post, "/v1/tokens/r1/attributes", "/v1/tokens/{ref}/attributes", `{"token_assurance":{"method":"11"},"domain_controls":{"mcc":["4111"],"max_sum":9000},"not_after":"2026-07-25T19:00:00Z"}`, 200},
		{post, "/v1/tokens/r1/decision", "/v1/tokens/{ref}/decision", `{"decision":"STEP_UP"}`, 200},
		{post, "/v1/tokens/r1/notice", "/v1/tokens/{ref}/notice", `{"result":"FAILURE","reason":"no lock"}`, 200},
		{post, "/v1/tokens/r1/suspend", "/v1/tokens/{ref}/suspend", `{"reason":"lost"}`, 200},
		{post, "/v1/tokens/r1/resume", "/v1/tokens/{ref}/resume", "", 200},
		{post, "/v1/tokens/r1/delete", "/v1/tokens/{ref}/delete", `{}`, 200},
		{post, "/v1/tokens/r1/bundles", "/v1/tokens/{ref}/bundles",
			`{"device_key":{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}`, 201},
		{post, "/v1/tokens/r1/ack", "/v1/tokens/{ref}/ack", `{"bundle_id":"b1","mac":"` + strings.Repeat("0A", 32) + `"}`, 200},
		{post, "/v1/devices", "", `{"wallet_id":"` + sampleWallet + `","wrap_key":` + sampleKey + `,"sign_key":` + sampleKey + `,"attestation":` + sampleAttestation + `}`, 201},
		{post, "/v1/devices/" + sampleDevice + "/attestation", "/v1/devices/{device}/attestation", sampleAttestation, 200},
		{post, "/v1/elements", "", `{"wallet_id":"` + sampleWallet + `","serial":"0102030405060708","modulus":"C0FF","attestation":` + sampleAttestation + `}`, 201},
		{get, "/v1/elements/" + sampleDevice, "/v1/elements/{element}", "", 200},
		{post, "/v1/elements/" + sampleDevice + "/scripts", "/v1/elements/{element}/scripts", `{"verb":"ISSUE","token_reference_id":"r1","pin_jwe":"` + sealedCard + `"}`, 201},
		{post, "/v1/elements/" + sampleDevice + "/courier", "/v1/elements/{element}/courier", `{"receipt":"E201"}`, 200},
		{post, "/v1/wallets/" + sampleWallet + "/pin", "/v1/wallets/{wallet}/pin", `{"pin_jwe":"` + sealedCard + `","holder":["13800001111"]}`, 201},
		{post, "/v1/wallets/" + sampleWallet + "/pin/verify", "/v1/wallets/{wallet}/pin/verify", `{"pin_jwe":"` + sealedCard + `"}`, 200},
		{post, "/v1/wallets/" + sampleWallet + "/pin/change", "/v1/wallets/{wallet}/pin/change", `{"old_pin_jwe":"` + sealedCard + `","pin_jwe":"` + sealedCard + `"}`, 200},
		{post, "/v1/wallets/" + sampleWallet + "/pin/reset", "/v1/wallets/{wallet}/pin/reset", `{}`, 200},
		{post, "/v1/sync", "", `{"device_id":"` + sampleDevice + `","sync":"a.b.c"}`, 200},
		{post, "/v1/cards/replace", "", `{"pan":"` + cardDigits + `","new_pan":"` + newDigits + `","new_pan_expiry":"3012"}`, 200},
		{post, "/v1/par", "", `{"pan":"` + cardDigits + `"}`, 200},
		{post, "/v1/detokenize/batch", "", `{"purpose":"settlement","queries":[{"token_reference_id":"r1","tap_id":"t1"},{"payment_token":"` + tokenDigits + `","tap":` + tapBody + `}]}`, 200},
		{post, "/v1/detokenize/direct", "", `{"token_reference_id":"r1","where":{"merchant":"shop-1","channel":"ecommerce"},"amount":300,"purchase":"order-17","purpose":"authorisation"}`, 200},
		{post, "/v1/detokenize/direct/batch", "", `{"purpose":"dispute","queries":[{"token_reference_id":"r1"}]}`, 200},
		{get, "/v1/events?cursor=pARMB3P74NDHD5GRHF6PRDZ2ZF4&limit=5", "/v1/events", "", 200},
		{get, "/v1/events/stream?cursor=pARMB3P74NDHD5GRHF6PRDZ2ZF4", "/v1/events/stream", "", 200},
		{get, "/v1/ranges", "", "", 200},
		{post, "/v1/detokenize", "", `{"token_reference_id":"r1","tap_id":"t1","purpose":"settlement"}`, 200},
		{post, "/v1/terminals/001122334455/taps", "/v1/terminals/{terminal}/taps", `{"taps":[` + tapBody + `]}`, 200},
		{post, "/v1/terminals/001122334455/progress", "/v1/terminals/{terminal}/progress", `{"term_id":"001122334455","until":"2026-07-24T19:00:00Z"}`, 200},
		{get, "/v1/terminals/parameters", "", "", 200},
		{get, "/v1/terminals/policy", "", "", 200},
		{post, "/v1/terminals/001122334455/authorize", "/v1/terminals/{terminal}/authorize", `{"tap":` + tapBody + `}`, 200},
		{get, "/v1/denylist/snapshot", "", "", 200},
		{get, "/v1/denylist/delta?from=7", "/v1/denylist/delta", "", 200},
		{post, "/v1/denylist/entries", "", `{"entry":{"kind":"MIN_CTR","token_reference_id":"r1","min_ctr":9,"until":"2026-07-25T00:00:00Z"},"reason":"copied"}`, 200},
		{post, "/v1/cryptograms/purchase/mac1", "", `{` + purchase + `}`, 200},
		{post, "/v1/cryptograms/purchase/verify", "", `{` + purchase + `,"mac2":"66B54A6B","tac":"8AF270DC"}`, 200},
		{post, "/v1/cryptograms/purchase/verify/batch", "", `{"purchases":[{` + purchase + `,"mac2":"66B54A6B"},{` + purchase + `,"mac2":"00000000"}]}`, 200},
		{post, "/v1/cryptograms/tac/verify", "", `{` + card + `,"tac":"FA00066D","load":{"online_seq":0,"balance":0,"amount":8192,"txn_type":2,"term_id":"001122334455","date":"20161216","time":"105800"}}`, 200},
		{post, "/v1/cryptograms/load", "", `{` + card + `,"rand":"C903814D","online_seq":0,"balance":0,"amount":8192,"txn_type":2,"term_id":"001122334455","date":"20161216","time":"105800","mac1":"03976C22"}`, 200},
		{post, "/v1/cryptograms/unload", "", `{` + unload + `,"mac1":"7BF6A2E6"}`, 200},
		{post, "/v1/cryptograms/unload/verify", "", `{` + unload + `,"mac3":"901096D5"}`, 200},
		{post, "/v1/cryptograms/overdraft", "", `{` + card + `,"rand":"C4121FC6","online_seq":60082,"balance":105864,"old_limit":120,"new_limit":23807,"term_id":"0857DFFEFC74","date":"20350610","time":"123316","mac1":"DBC07D9F"}`, 200},
		{post, "/v1/accounts/" + account1 + "/loads", "/v1/accounts/{id}/loads", `{` + ordered + `,"amount":700,"txn_type":1}`, 201},
		{post, "/v1/accounts/" + account1 + "/unloads", "/v1/accounts/{id}/unloads", `{` + ordered + `,"amount":700}`, 201},
		{post, "/v1/accounts/" + account1 + "/overdrafts", "/v1/accounts/{id}/overdrafts", `{` + ordered + `,"old_limit":0,"new_limit":500}`, 201},
		{get, "/v1/accounts/" + account1 + "/loads?state=STARTED", "/v1/accounts/{id}/loads", "", 200},
		{get, "/v1/loads?state=SUSPENSE&limit=1", "/v1/loads", "", 200},
		{post, "/v1/loads/decisions", "/v1/loads/decisions", `{"load":"` + load1 + `","state":"SUSPENSE","decision":"REVERSE","reason":"read at the desk","evidence":"case-7"}`, 200},
		{get, "/v1/loads/" + load1, "/v1/loads/{load}", "", 200},
		{post, "/v1/loads/" + load1 + "/confirm", "/v1/loads/{load}/confirm", `{` + card + `,"tac":"FA00066D"}`, 200},
		{post, "/v1/loads/" + load1 + "/reverse", "/v1/loads/{load}/reverse", `{` + card + `,"rand":"C903814D","online_seq":1,"balance":0,"amount":1,"mac1":"03976C22"}`, 200},
		{post, "/v1/emv/arqc", "", `{` + emvBody + `,"answer":{"csu":"00820000","proprietary":"01"}}`, 200},
		{post, "/v1/emv/arqc/batch", "", `{"transactions":[{` + emvBody + `},{"token_reference_id":"r1","profile":"visa-18","de55":"9F36020007","cryptogram":"61EDCC708B4C97B4"}]}`, 200},
		{post, "/v1/emv/verify", "", `{` + emvBody + `}`, 200},
		{post, "/v1/emv/verify/batch", "", `{"transactions":[{` + emvBody + `},{"token_reference_id":"r1","profile":"visa-18","de55":"9F36020007","cryptogram":"61EDCC708B4C97B4"}]}`, 200},
		{post, "/v1/emv/values", "", `{` + valueBody + `}`, 200},
		{post, "/v1/emv/values/verify", "", `{` + valueBody + `,"value":"01234"}`, 200},
		{post, "/v1/emv/values/batch", "", `{"values":[{` + valueBody + `}]}`, 200},
		{post, "/v1/emv/values/verify/batch", "", `{"values":[{` + valueBody + `,"value":"01234"}]}`, 200},
		{post, "/v1/emv/scripts", "", scriptBody, 200},
		{post, "/v1/emv/scripts/batch", "", `{"scripts":[` + scriptBody + `]}`, 200},
		{post, "/v1/emv/token-cryptograms", "", `{` + purchaseText + `}`, 200},
		{post, "/v1/emv/token-cryptograms/verify", "", `{` + purchaseText + `,"token_requestor_id":"50120834693","cryptogram":"` + strings.Repeat("A", 28) + `"}`, 200},
		{post, "/v1/emv/phones/verify", "", phoneBody, 200},
		{post, "/v1/emv/explain", "", `{` + emvBody + `}`, 200},
		{post, "/v1/approvals", "", `{"verb":"vault-export","method":"RUN","path":"export","body":"{\"file\":\"x\"}","reason":"a test"}`, 201},
		{get, "/v1/approvals?limit=1", "/v1/approvals", "", 200},
		{get, "/v1/approvals/" + sampleApproval, "/v1/approvals/{approval}", "", 200},
		{post, "/v1/approvals/" + sampleApproval + "/approve", "/v1/approvals/{approval}/approve", `{"digest":"` + strings.Repeat("0A", 32) + `"}`, 200},
		{post, "/v1/approvals/" + sampleApproval + "/cancel", "/v1/approvals/{approval}/cancel", "", 200},
		{get, "/v1/audit/checkpoint", "", "", 200},
		{get, "/v1/audit/inclusion?line=2&size=3", "/v1/audit/inclusion", "", 200},
		{get, "/v1/audit/consistency?from=2&to=3", "/v1/audit/consistency", "", 200},
		{get, "/v1/audit/records?cursor=0&limit=5", "/v1/audit/records", "", 200},
		{get, "/v1/keys", "", "", 200},
		{post, "/v1/wallets", "", `{"holder":"REAL_NAME","overdraft_allowance":5000}`, 201},
		{get, "/v1/wallets/" + theWallet, "/v1/wallets/{wallet}", "", 200},
		{post, "/v1/wallets/" + theWallet + "/tokens", "/v1/wallets/{wallet}/tokens", `{"token_reference_id":"tr` + theWallet[2:] + `","device_id":"dv` + theWallet[2:] + `"}`, 200},
		{post, "/v1/wallets/" + theWallet + "/restore", "/v1/wallets/{wallet}/restore", `{"reason":"identified anew"}`, 200},
		{post, "/v1/wallets/" + theWallet + "/close", "/v1/wallets/{wallet}/close", "", 200},
		{get, "/v1/wallets/" + theWallet + "/balances", "/v1/wallets/{wallet}/balances", "", 200},
		{get, "/v1/wallets/" + theWallet + "/taps", "/v1/wallets/{wallet}/taps", "", 200},
		{get, "/v1/wallets/" + theWallet + "/risk", "/v1/wallets/{wallet}/risk", "", 200},
		{post, "/v1/accounts/" + theWallet + "/events", "/v1/accounts/{id}/events", `{"event_id":"e1","type":"TOP_UP","amount":5000}`, 200},
		{get, "/v1/cases?limit=1", "/v1/cases", "", 200},
		{get, "/v1/recon/2026-07-24", "/v1/recon/{date}", "", 200},
	}
}

// find returns the sample of a route.
func find(t *testing.T, path string) sample {
	t.Helper()
	for _, s := range samples() {
		if s.path == path || s.route == path {
			return s
		}
	}
	t.Fatalf("no sample of %s", path)
	return sample{}
}

func (s sample) template() string {
	if s.route != "" {
		return s.route
	}
	return s.path
}

// request builds the sample's request as a good client sends it.
func (s sample) request() *http.Request {
	r := httptest.NewRequest(s.method, "https://tapvault.example"+s.path, strings.NewReader(s.body))
	r.Header.Set("Authorization", "Bearer good")
	switch {
	case strings.HasPrefix(s.path, "/v1/terminals/"):
		r.Header.Set("Authorization", "Bearer terminal")
	case s.path == "/v1/ranges", strings.HasPrefix(s.path, "/v1/denylist/"):
		r.Header.Set("Authorization", "Bearer operator")
	}
	switch {
	case s.path == "/oauth2/token":
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Del("Authorization")
	case s.method == "POST":
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "k1")
	}
	return r
}

// hasty reads until the first pause: a stream would go on.
type hasty struct {
	*httptest.ResponseRecorder
	leave func()
}

// Flush implements http.Flusher.
func (h hasty) Flush() { h.ResponseRecorder.Flush(); h.leave() }

// do sends a request of sample s, holds the answer to the description, and
// looks for what no answer but one may hold.
func (e *edge) do(s sample, r *http.Request) *httptest.ResponseRecorder {
	e.t.Helper()
	w := httptest.NewRecorder()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	e.handler.ServeHTTP(hasty{w, cancel}, r.WithContext(ctx))
	e.conforms(s, w)
	for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Cache-Control", "X-Request-Id"} {
		if w.Header().Get(name) == "" {
			e.t.Errorf("%s %s: no %s", s.method, s.path, name)
		}
	}
	if strings.Contains(w.Body.String(), cardDigits) && (!strings.HasPrefix(s.path, "/v1/detokenize") || w.Code != 200) {
		e.t.Errorf("%s answers the card number", s.path)
	}
	return w
}

// conforms checks status, content type and body against the description.
func (e *edge) conforms(s sample, w *httptest.ResponseRecorder) {
	e.t.Helper()
	item := e.spec.Paths.Find(s.template())
	if item == nil || item.GetOperation(s.method) == nil {
		return // a path or method that does not exist
	}
	answer := item.GetOperation(s.method).Responses.Status(w.Code)
	if answer == nil {
		e.t.Errorf("%s %s: status %d is not described", s.method, s.template(), w.Code)
		return
	}
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	media := answer.Value.Content[kind]
	if media == nil {
		e.t.Errorf("%s %s: %d of type %q is not described", s.method, s.template(), w.Code, kind)
		return
	}
	if !strings.HasSuffix(kind, "json") {
		return
	}
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		e.t.Errorf("%s %s: %v", s.method, s.template(), err)
		return
	}
	if err := media.Schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()); err != nil {
		e.t.Errorf("%s %s: %d: %v\n%s", s.method, s.template(), w.Code, err, w.Body)
	}
}

// problem sends r and expects a problem of the given kind.
func (e *edge) problem(s sample, r *http.Request, status int, kind string) wire.Problem {
	e.t.Helper()
	w := e.do(s, r)
	var p wire.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		e.t.Fatalf("%s %s: %v: %s", s.method, s.path, err, w.Body)
	}
	form := "application/problem+json"
	if s.template() == loginPath {
		form = "application/json" // RFC 6749 section 5.2
	}
	if w.Code != status || p.Status != status || p.Type != problemBase+kind || w.Header().Get("Content-Type") != form {
		e.t.Errorf("%s %s: %d %s, want %d %s (%s)", s.method, s.path, w.Code, p.Type, status, kind, p.Detail)
	}
	if p.Title == "" || p.Next == "" || p.Instance != "urn:tapvault:request:"+w.Header().Get("X-Request-Id") {
		e.t.Errorf("%s %s: %+v", s.method, s.path, p)
	}
	return p
}

func TestEveryOperation(t *testing.T) {
	e := newEdge(t)
	for _, s := range samples() {
		if w := e.do(s, s.request()); w.Code != s.status {
			t.Errorf("%s %s: %d %s", s.method, s.path, w.Code, w.Body)
		}
	}
	if e.logs.Len() > 0 {
		t.Errorf("good requests leave lines: %s", e.logs)
	}
}

func TestAnswers(t *testing.T) {
	e := newEdge(t)
	body := func(path string) string {
		s := find(t, path)
		return strings.TrimSpace(e.do(s, s.request()).Body.String())
	}
	for path, want := range map[string]string{
		"/v1/detokenize":                  `{"token_reference_id":"r1","token_requestor_id":"50120834693","payment_account_reference":"` + par + `","pan":"` + cardDigits + `","pan_expiry":"2912","tap_id":"t1"}`,
		"/v1/events":                      `{"events":[{"event_id":"ev1","type":"token.suspended","token_reference_id":"r1","token_requestor_id":"50120834693","seq":2,"at":"2026-07-24T09:00:00Z","data":{"suspender":"ISSUER"}}],"next_cursor":"pARMB3P74NDHD5GRHF6PRDZ2ZF4"}`,
		"/v1/par":                         `{"payment_account_reference":"` + par + `"}`,
		"/v1/cards/replace":               `{"payment_account_reference":"` + par + `","pan_last4":"7894","living_tokens":2}`,
		"/v1/cryptograms/purchase/verify": `{"verified":true}`,
		"/v1/cryptograms/purchase/mac1":   `{"mac1":"D45737C5"}`,
		"/v1/cryptograms/unload":          `{"mac2":"02000000"}`,
		"/v1/terminals/{terminal}/taps":   `{"results":[{"tap_id":"t1","outcome":"POSTED"}]}`,
		"/v1/tokens/{ref}/bundles":        `{"bundle_id":"b1","bundle":"a.b.c.d.e","slots":2,"not_after":"2026-07-24T09:00:00Z"}`,
	} {
		if got := body(path); got != want {
			t.Errorf("%s:\n got %s\nwant %s", path, got, want)
		}
	}
	if got := body("/v1/keys"); !strings.Contains(got, `"role":"encrypt+decrypt"`) || !strings.Contains(got, `"check_value":"A10203"`) || strings.Count(got, `"tokens":["1","2"]`) != 1 {
		t.Error(got)
	}
}

// TestDeferredTaps: a tap that cannot be judged is told to readers that say they keep it; others would drop it, and are
// told that the whole batch failed.
func TestDeferredTaps(t *testing.T) {
	e := newEdge(t)
	e.back.ill = true
	s := find(t, "/v1/terminals/{terminal}/taps")
	upload := func(more string) (int, string) {
		s.body = `{"taps":[` + tapBody + "," + tapBody + `]` + more + `}`
		w := e.do(s, s.request())
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	const want = `{"results":[{"tap_id":"t1","outcome":"POSTED"},{"tap_id":"","outcome":"DEFERRED","reason":"UNREADABLE"}]}`
	if code, got := upload(`,"may_defer":true`); code != 200 || got != want {
		t.Errorf("%d %s, want %s", code, got, want)
	}
	for _, more := range []string{"", `,"may_defer":false`} {
		if code, got := upload(more); code != 503 || !strings.Contains(got, ":store-unavailable") || !strings.Contains(got, "may_defer") {
			t.Errorf("%q: %d %s", more, code, got)
		}
	}
}

// TestRequestsArrive looks at what the services were asked.
func TestRequestsArrive(t *testing.T) {
	e := newEdge(t)
	for _, s := range samples() {
		e.do(s, s.request())
	}
	b := e.back
	if b.request.PAN.Reveal() != cardDigits || b.request.PANExpiry != "2912" || b.request.Day == nil || b.request.Requestor != "" || b.request.Location != token.LocationDevice {
		t.Errorf("token request: %+v", b.request)
	}
	if b.query.Ref != "r1" || b.query.TapID != "t1" || b.query.Tap != nil {
		t.Errorf("query: %+v", b.query)
	}
	if len(b.taps) != 1 || b.taps[0].Number.Digits() != tokenDigits || b.taps[0].At.String() != "20260724081530" || b.taps[0].UD.Ctr != 1 || b.taps[0].Amount != 300 {
		t.Errorf("tap: %+v", b.taps)
	}
	if b.proof.MAC1 != nil || b.proof.TAC == nil || *b.proof.TAC != [4]byte{0x8A, 0xF2, 0x70, 0xDC} {
		t.Errorf("proof: %+v", b.proof)
	}
	if l, ok := b.record.(cryptogram.Load); !ok || l.Amount != 8192 || l.Type != 2 {
		t.Errorf("record: %+v", b.record)
	}
	if b.reason != "delete " {
		t.Errorf("reason: %q", b.reason)
	}
	s := find(t, "/v1/tokens/{ref}/bundles")
	want := hmac.New(sha256.New, bytes.Repeat([]byte{7}, 32)) // newEdge's
	want.Write([]byte("POST\n/v1/tokens/r1/bundles\n" + s.body))
	if e.do(s, s.request()); b.attempt.Key != "k1" || b.attempt.Digest != [32]byte(want.Sum(nil)) {
		t.Errorf("attempt: %+v", b.attempt)
	}
}
