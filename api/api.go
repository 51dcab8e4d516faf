// Package api serves the HTTP API described by openapi.yaml.
//
// A handler turns one wire type into a call of one service and the answer back
// into a wire type. Everything else happens once, around all of them: the
// bounds of a request, who calls, the idempotency key, and the mapping of a
// failure to a problem.
package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

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
	"github.com/tapvault/tapvault/internal/trace"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/wallet"
)

// What the handlers need of the services. Each method authorises and records
// before it acts, and is safe for concurrent use.
type (
	// Identity exchanges assertions for access tokens and reads those back.
	Identity interface {
		Exchange(ctx context.Context, assertion string, wanted ...access.Action) (identity.Grant, error)
		Check(ctx context.Context, bearer string) (access.Caller, error)
		KeySet() ([]byte, error)
		Metadata() ([]byte, error)
	}
	// Tokens issues tokens and moves them through their lives.
	Tokens interface {
		Request(ctx context.Context, c access.Caller, r tokenize.Request) (token.Token, error)
		Token(ctx context.Context, c access.Caller, ref token.Ref) (token.Token, error)
		Move(ctx context.Context, c access.Caller, m tokenize.Move) (token.Token, error)
	}
	// Lifecycle is what else happens to tokens.
	Lifecycle interface {
		RequestBatch(ctx context.Context, c access.Caller, rs []tokenize.Request, a access.Attempt) ([]tokenize.Result, error)
		Renew(ctx context.Context, c access.Caller, ref token.Ref, a access.Attempt) (token.Token, error)
		Update(ctx context.Context, c access.Caller, ref token.Ref, set token.Attributes, a access.Attempt) (token.Token, error)
		Decide(ctx context.Context, c access.Caller, ref token.Ref, d token.Decision, a access.Attempt) (token.Token, error)
		Notify(ctx context.Context, c access.Caller, ref token.Ref, n token.Notice, a access.Attempt) (token.Token, error)
	}
	// Directory finds tokens, page by page.
	Directory interface {
		Search(ctx context.Context, c access.Caller, f token.Filter, cursor string, limit int) (found token.Page, next string, err error)
	}
	// Cards knows the cards behind tokens.
	Cards interface {
		ReplaceCard(ctx context.Context, c access.Caller, r tokenize.Replace) (token.Card, error)
		PAR(ctx context.Context, c access.Caller, pan token.PAN) (token.PAR, error)
	}
	// Detokenizer gives card numbers back.
	Detokenizer interface {
		Detokenize(ctx context.Context, c access.Caller, q detokenize.Query, purpose string) (detokenize.Answer, error)
	}
	// Direct gives card numbers back without evidence, and in batches.
	Direct interface {
		Direct(ctx context.Context, c access.Caller, q detokenize.Query, purpose string) (detokenize.Answer, error)
		Batch(ctx context.Context, c access.Caller, qs []detokenize.Query, purpose string) ([]detokenize.Item, error)
		DirectBatch(ctx context.Context, c access.Caller, qs []detokenize.Query, purpose string) ([]detokenize.Item, error)
		// BatchFits says why a batch of n queries would be refused as a whole.
		BatchFits(ctx context.Context, c access.Caller, a access.Action, n int, purpose string) error
	}
	// Intake opens cards that were sealed to the HSM.
	Intake interface {
		Open(ctx context.Context, client, sealed string) (intake.Card, error)
		KeySet() ([]byte, error)
	}
	// Events lists what happened to tokens.
	Events interface {
		List(ctx context.Context, f event.Filter, after int64, limit int) ([]event.Event, error)
	}
	// Wallet provisions handsets.
	Wallet interface {
		Bundle(ctx context.Context, c access.Caller, ref token.Ref, deviceKey []byte, a access.Attempt) (wallet.Bundle, error)
		Ack(ctx context.Context, c access.Caller, ref token.Ref, bundleID string, mac []byte) (token.Token, error)
	}
	// Taps takes what terminals recorded offline.
	Taps interface {
		Upload(ctx context.Context, c access.Caller, terminal string, taps []account.Tap) ([]account.Result, error)
		Progress(ctx context.Context, c access.Caller, name string, terminal [6]byte, until time.Time) (time.Time, error)
	}
	// Purchases answers terminals and back offices for physical cards.
	Purchases interface {
		PurchaseMAC1(ctx context.Context, c access.Caller, card cardhost.Card, p cryptogram.Purchase) ([4]byte, error)
		PurchaseVerify(ctx context.Context, c access.Caller, card cardhost.Card, p cryptogram.Purchase, proof cardhost.PurchaseProof) error
		PurchaseVerifyBatch(ctx context.Context, c access.Caller, all []cardhost.PurchaseCheck) ([]error, error)
		TACVerify(ctx context.Context, c access.Caller, card cardhost.Card, t cryptogram.Receipted, tac [4]byte) error
	}
	// LoadHost answers load hosts for physical cards.
	LoadHost interface {
		Load(ctx context.Context, c access.Caller, card cardhost.Card, l cryptogram.Load, mac1 [4]byte) ([4]byte, error)
		Unload(ctx context.Context, c access.Caller, card cardhost.Card, u cryptogram.Unload, mac1 [4]byte) ([4]byte, error)
		UnloadVerify(ctx context.Context, c access.Caller, card cardhost.Card, u cryptogram.Unload, mac3 [4]byte) error
		Overdraft(ctx context.Context, c access.Caller, card cardhost.Card, o cryptogram.Overdraft, mac1 [4]byte) ([4]byte, error)
	}
	// Inventory lists the HSM's keys.
	Inventory interface {
		Keys(ctx context.Context, c access.Caller) ([]keyref.Info, error)
	}
)

// KeySet prints public keys as a JWK set (RFC 7517).
type KeySet func() ([]byte, error)

// Part is something the service cannot do without.
type Part struct {
	Name  string // hsm, store, audit
	Check func(context.Context) error
	// Spare says that the service can do without it: it is shown, and counts for
	// nothing.
	Spare bool
}

// Config is what the API is made of. Fields without a default are required.
type Config struct {
	Identity    Identity
	Tokens      Tokens
	Lifecycle   Lifecycle
	Directory   Directory
	Cards       Cards
	Detokenizer Detokenizer
	Direct      Direct
	Intake      Intake
	Events      Events // guarded here, as the parameters are
	Streams     Streams
	WebhookKeys KeySet // they check the signatures of webhooks
	ResultKeys  KeySet // they check signed results
	Wallet      Wallet
	Devices     Devices
	PINs        PINs
	Syncer      Syncer
	Elements    Elements
	SyncKeys    KeySet // phones seal what they remember of taps to them
	Taps        Taps
	DenyList    DenyList
	DenyKeys    KeySet  // they check deny lists and terminal policies
	Wallets     Wallets // nil: taps are authorized without a look at wallets
	Accounts    Accounts
	Oversight   Oversight
	Purchases   Purchases
	LoadHost    LoadHost
	Loads       Loads
	IssuerHost  IssuerHost
	CardValues  CardValues
	CardScripts CardScripts
	Cryptograms Cryptograms
	Inventory   Inventory
	Approvals   Approvals
	Auditor     Auditor
	AuditKeys   KeySet // they check checkpoints of the audit record

	// AttemptKey, of 32 bytes or more, keys the digests of requests with an
	// Idempotency-Key, and cursors of the list of events. They are kept, and all
	// processes have to make the same.
	AttemptKey []byte

	Gate       audit.Gate             // guards the terminal parameters, which no service owns
	Parameters func() wire.Parameters // what terminals must hold now; IssuedAt is set for each answer
	// Ranges says what is left of the token ranges; it is guarded here.
	Ranges func(context.Context) ([]wire.Capacity, error)
	Ready  []Part // checked by /readyz

	Metrics http.Handler                                       // nil: /metrics is not served here
	Observe func(route string, status int, took time.Duration) // or [StatusGone]; nil: nobody counts
	Log     *slog.Logger                                       // nil: nothing is logged
	// Trace decides whether a request is recorded, and begins to; parent is the
	// traceparent that came with it. nil: none is.
	Trace func(ctx context.Context, operation, parent string) (context.Context, trace.Span)
	// Limit takes one request from what a client may make, and says how long it
	// has to wait when that is used up; nil: there is no limit.
	Limit       func(ctx context.Context, client string) (wait time.Duration, err error)
	MaxInFlight int              // requests at once; beyond, callers are told to come back; 0: 512
	Now         func() time.Time // nil: time.Now
	Rand        io.Reader        // nil: crypto/rand
}

// server answers requests. Its handlers are in the files named after what
// they serve.
type server struct {
	Config
	busy   chan struct{}
	ready  readiness
	spec   []byte // openapi.json
	docs   []byte // the readable page
	ids    map[string]string
	pool   buffers
	dates  dates
	places positions
}

// New returns the API's handler.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &server{Config: cfg, busy: make(chan struct{}, cfg.MaxInFlight)}
	s.ready.parts, s.ready.now = cfg.Ready, cfg.Now
	var err error
	if s.places, err = newPositions(cfg.AttemptKey); err != nil {
		return nil, err
	}
	if err := s.loadSpec(); err != nil {
		return nil, err
	}
	return s.router(), nil
}

// lacks names the required fields that are not set.
func (c *Config) lacks() (names []string) {
	for name, missing := range map[string]bool{
		"Accounts":    c.Accounts == nil,
		"Approvals":   c.Approvals == nil,
		"AttemptKey":  len(c.AttemptKey) < 32,
		"AuditKeys":   c.AuditKeys == nil,
		"Auditor":     c.Auditor == nil,
		"CardScripts": c.CardScripts == nil,
		"CardValues":  c.CardValues == nil,
		"Cards":       c.Cards == nil,
		"Cryptograms": c.Cryptograms == nil,
		"DenyKeys":    c.DenyKeys == nil,
		"DenyList":    c.DenyList == nil,
		"Detokenizer": c.Detokenizer == nil,
		"Devices":     c.Devices == nil,
		"Direct":      c.Direct == nil,
		"Directory":   c.Directory == nil,
		"Elements":    c.Elements == nil,
		"Events":      c.Events == nil,
		"Gate":        c.Gate.Recorder == nil,
		"Identity":    c.Identity == nil,
		"Intake":      c.Intake == nil,
		"Inventory":   c.Inventory == nil,
		"IssuerHost":  c.IssuerHost == nil,
		"Lifecycle":   c.Lifecycle == nil,
		"LoadHost":    c.LoadHost == nil,
		"Loads":       c.Loads == nil,
		"Oversight":   c.Oversight == nil,
		"PINs":        c.PINs == nil,
		"Parameters":  c.Parameters == nil,
		"Purchases":   c.Purchases == nil,
		"Ranges":      c.Ranges == nil,
		"ResultKeys":  c.ResultKeys == nil,
		"Streams":     c.Streams == nil,
		"SyncKeys":    c.SyncKeys == nil,
		"Syncer":      c.Syncer == nil,
		"Taps":        c.Taps == nil,
		"Tokens":      c.Tokens == nil,
		"Wallet":      c.Wallet == nil,
		"WebhookKeys": c.WebhookKeys == nil,
	} {
		if missing {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// complete refuses a configuration that lacks something, and fills in the defaults.
func (c *Config) complete() error {
	if lacks := c.lacks(); len(lacks) > 0 {
		return fmt.Errorf("api: the configuration lacks %s", strings.Join(lacks, ", "))
	}
	if c.Observe == nil {
		c.Observe = func(string, int, time.Duration) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 512
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return nil
}

// router puts the operations on gin. What gin would do on its own account
// (redirects, client addresses, recovery, logging) is off or replaced.
func (s *server) router() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.RedirectTrailingSlash, g.RedirectFixedPath, g.RemoveExtraSlash = false, false, false
	g.HandleMethodNotAllowed, g.ForwardedByClientIP = true, false
	g.Use(s.around)
	for _, op := range s.operations() {
		g.Handle(op.method, op.path, s.serve(op))
		if op.method == http.MethodGet && op.stream == nil { // whoever asks whether it is there, gets no body
			g.HEAD(op.path, s.serve(op))
		}
	}
	if s.Metrics != nil {
		g.GET(metricsPath, gin.WrapH(s.Metrics))
		g.HEAD(metricsPath, gin.WrapH(s.Metrics))
	}
	g.NoRoute(func(c *gin.Context) { s.fail(c, errNoRoute) })
	g.NoMethod(func(c *gin.Context) { s.fail(c, errMethod) })
	return g
}
