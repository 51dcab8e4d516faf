package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/fault"
)

// Failures that arise here and not in a service.
var (
	errNoRoute    = fault.New(fault.NoRoute, "no operation has this path")
	errMethod     = fault.New(fault.Method, "the operation has another method")
	errTooLarge   = fault.New(fault.TooLarge, "the request is larger than this operation takes")
	errMediaType  = fault.New(fault.MediaType, "the body is not of the type that this operation takes")
	errNoCaller   = fault.New(fault.Unauthenticated, "no access token was presented")
	errFast       = fault.New(fault.TooFast, "this caller has made as many requests as it may for now")
	errOverloaded = fault.New(fault.Overloaded, "too many requests are being served")
	errGone       = fault.New(fault.Overloaded, "the connection ended before the request was answered")
)

// StatusGone is what a request is observed as that failed because its caller left.
// No answer has it.
const StatusGone = 499

// problemBase begins every problem type; the kind ends it.
const problemBase = "urn:tapvault:problem:"

// problem is a row of the table from kinds to problems.
type problem struct {
	status int
	title  string
	next   string // what the caller can do
	again  string // Retry-After, in seconds
}

// problems has a row for every kind.
var problems = map[fault.Kind]problem{
	fault.Internal:        {500, "The service failed", "Report the instance to the operator.", ""},
	fault.Malformed:       {400, "The request cannot be read", "Mend the field that the detail names.", ""},
	fault.TooLarge:        {413, "The request is too large", "Send less at a time.", ""},
	fault.MediaType:       {415, "The body has another type", "Send application/json, or what the operation takes.", ""},
	fault.NoRoute:         {404, "No such operation", "See /docs.", ""},
	fault.Method:          {405, "The operation has another method", "See /docs.", ""},
	fault.Unauthenticated: {401, "The caller is not identified", "Get an access token from " + loginPath + ".", ""},
	fault.Denied:          {403, "The caller may not do this", "Ask the operator for the role and scope.", ""},
	fault.Refused:         {403, "A verification did not hold", "Do not repeat it with the same data; the audit record says which one.", ""},
	fault.Overloaded:      {503, "The service is busy", "Come back with the same Idempotency-Key.", "1"},
	fault.TooFast:         {429, "The caller asks too often", "Come back after the time in Retry-After.", "1"},
	fault.TokenUnknown:    {404, "No such token", "Check the reference; only your own tokens are visible.", ""},
	fault.TokenState:      {409, "The token's state refuses this", "Read the token and decide again.", ""},
	fault.TokenExpired:    {409, "The token has expired", "Request today's token.", ""},
	fault.TokenFuture:     {409, "The token is not good yet", "Wait for its window to open.", ""},
	fault.TokenSuspended:  {409, "The token is suspended", "Resume it first.", ""},
	fault.CardExpired:     {422, "The card has expired", "Ask the holder for the card's replacement.", ""},
	fault.CardIsToken:     {422, "The card number is a token", "Send the number of a card.", ""},
	fault.CardUnknown:     {404, "No such card", "Only cards that tokens were made for are known.", ""},
	fault.CardKnown:       {409, "The new card has tokens of its own", "Delete them, or keep both cards.", ""},
	fault.CardReplaced:    {409, "The card was replaced", "Send the number of the card that replaced it.", ""},
	fault.NoRange:         {422, "No token range fits this card", "Ask the operator for a range of this length.", ""},
	fault.RangeExhausted:  {503, "The token range is used up", "Ask the operator for another range.", "3600"},
	fault.DayOutOfReach:   {422, "The service day is out of reach", "Ask for today or one of the next days.", ""},
	fault.CounterSpent:    {409, "The token has no counters left", "Request a new token.", ""},
	fault.KeyReused:       {422, "The Idempotency-Key was used before", "Use a new key for a new request.", ""},
	fault.Intake:          {422, "What was enciphered cannot be opened", "Encipher the card number or PIN to the key of /.well-known/intake.json.", ""},
	fault.NoClientKey:     {422, "The caller has no encryption key", "Ask the operator to register one, or take the answer over TLS.", ""},
	fault.RealmUnknown:    {422, "No such realm or key of cards", "Check realm, key_version and algorithm_id.", ""},
	fault.SlotToken:       {422, "This is a phone's token", "Upload its taps; they are judged there.", ""},
	fault.TransactionBad:  {422, "These fields make no transaction", "Check the fields against each other.", ""},
	fault.ProfileUnknown:  {422, "No such cryptogram profile", "Name a profile that the issuer uses.", ""},
	fault.CounterReplayed: {409, "The transaction counter was used before", "Decline: the cryptogram was presented before.", ""},
	fault.CounterJumped:   {409, "The transaction counter is out of its window", "Decline, and find out what happened to the card.", ""},
	fault.WalletUnknown:   {404, "No such wallet", "Check its id; only your own wallets are visible.", ""},
	fault.WalletState:     {409, "The wallet's state refuses this", "Read the wallet and decide again.", ""},
	fault.LoadUnknown:     {404, "No such load", "Check the id; only your own requestor's loads are visible.", ""},
	fault.LoadState:       {409, "The load's state refuses this", "Read the load; ask the card again and decide.", ""},
	fault.FundsShort:      {409, "The account does not hold enough", "Top the account up.", ""},
	fault.FundsReserved:   {409, "The money is held for offline payments", "Sync the phone, or wait until its slots expire.", ""},
	fault.ApprovalNeeded:  {403, "Others have to approve this first", "Ask at /v1/approvals; once approved, send exactly the same again.", ""},
	fault.ApprovalUnknown: {404, "No such approval", "Check its id; only what you asked for is visible.", ""},
	fault.ApprovalState:   {409, "The approval is not waiting for this", "Read it and decide again.", ""},
	fault.ListTooOld:      {410, "No delta leads on from this version", "Fetch the snapshot.", ""},
	fault.HSMUnavailable:  {503, "The HSM does not answer", "Come back later.", "5"},
	fault.HSMKey:          {503, "A key is missing or unfit", "Tell the security officer.", "60"},
	fault.StoreDown:       {503, "The database does not answer", "Come back later.", "5"},
	fault.StoreReadOnly:   {503, "The database cannot be written", "Come back later; nothing was written.", "60"},
	fault.StoreFull:       {507, "The database is full", "Come back later; nothing was written.", "60"},
	fault.AuditDown:       {503, "The audit record cannot be written", "Come back later; nothing was done.", "60"},
}

// elsewhere are failures that another process may not have: of a part that this one is
// not ready for, though the others may be.
var elsewhere = map[fault.Kind]bool{fault.HSMUnavailable: true, fault.HSMKey: true, fault.StoreDown: true, fault.StoreReadOnly: true, fault.AuditDown: true}

// describe makes the problem for err, without what belongs to one request.
func describe(err error) (wire.Problem, problem) {
	kind := fault.KindOf(err)
	var bad *wire.FieldError
	var field *emv.FieldError
	var claims *identity.Unfit
	if errors.As(err, &bad) {
		kind = fault.Malformed
	}
	row, ok := problems[kind]
	if !ok {
		kind, row = fault.Internal, problems[fault.Internal]
	}
	p := wire.Problem{Type: problemBase + string(kind), Title: row.title, Status: row.status, Next: row.next}
	switch {
	case bad != nil:
		p.Detail, p.Field = bad.Error(), bad.Path
	case errors.As(err, &field):
		p.Detail, p.Field = field.Error(), field.Field
	case errors.As(err, &claims):
		p.Detail, p.Field = "client_assertion: "+claims.Error(), "client_assertion"
	case kind == fault.Internal, kind == fault.Unauthenticated && !errors.Is(err, errNoCaller):
		// What is inside, and why someone is not believed, is for the log.
	default:
		p.Detail = fault.Text(err)
	}
	return p, row
}

// left reports whether a request failed because its caller ended the connection.
func left(ctx context.Context, err error) bool {
	return errors.Is(ctx.Err(), context.Canceled) && errors.Is(err, context.Canceled)
}

// gone marks a request whose caller left.
const gone = "gone"

// observed is what a request is counted as.
func observed(c *gin.Context) int {
	if c.GetBool(gone) {
		return StatusGone
	}
	return c.Writer.Status()
}

// fail answers the problem for err and logs what the operator must know.
func (s *server) fail(c *gin.Context, err error) {
	ctx := c.Request.Context()
	if left(ctx, err) {
		s.Log.InfoContext(ctx, "the caller left before the answer", "request", audit.RequestID(ctx), "route", c.FullPath(), "error", err.Error())
		c.Set(gone, true)
		err = errGone // for who ended one half of the connection and listens on
	}
	p, row := describe(err)
	id := audit.RequestID(ctx)
	traceProblem(ctx, p.Type)
	p.Instance = "urn:tapvault:request:" + id
	form := "application/problem+json"
	if p.OAuthError = oauthError(c.FullPath(), err, p); p.OAuthError != "" {
		p.OAuthDetail, form = p.Detail, "application/json" // OAuth libraries read no other (RFC 6749 section 5.2)
	}
	switch {
	case row.status >= 500 && !c.GetBool(gone):
		s.Log.ErrorContext(ctx, "request failed", "request", id, "route", c.FullPath(), "problem", p.Type, "error", err.Error())
	case row.status == http.StatusUnauthorized:
		s.Log.WarnContext(ctx, "caller not believed", "request", id, "route", c.FullPath(), "error", err.Error())
		challenge := `Bearer realm="tapvault"`
		if p.OAuthError == "" && !errors.Is(err, errNoCaller) {
			challenge += `, error="invalid_token"` // so that a client gets a new one (RFC 6750 section 3.1)
		}
		c.Header("WWW-Authenticate", challenge)
	}
	if wait := fault.Wait(err); wait > 0 {
		c.Header("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	} else if row.again != "" {
		c.Header("Retry-After", row.again)
	}
	if s.ready.down.Load() && elsewhere[fault.KindOf(err)] {
		c.Header("Connection", "close") // a balancer that passes TLS through can turn only new connections away
	}
	body, merr := json.Marshal(p)
	if merr != nil { // strings and a number: it cannot
		body = []byte(`{"type":"` + problemBase + `internal","title":"The service failed","status":500}`)
	}
	c.Abort()
	c.Data(row.status, form, body)
}
