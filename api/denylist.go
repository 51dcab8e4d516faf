package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// DenyList tells readers whom not to take.
type DenyList interface {
	Snapshot(ctx context.Context, c access.Caller, tag string) (denylist.Document, error)
	Delta(ctx context.Context, c access.Caller, from uint64, tag string) (denylist.Document, error)
	Policy(ctx context.Context, c access.Caller, tag string) (denylist.Document, error)
	Order(ctx context.Context, c access.Caller, o denylist.Order, a access.Attempt) (denylist.Version, error)
	// Version is the newest version, for who has passed a gate.
	Version(ctx context.Context) (uint64, error)
}

// Standing is how the token of a tap and its wallet stand.
type Standing struct {
	State  account.WalletState // of the wallet; "": the token is in none
	Barred bool                // token or wallet may not pay, whatever a terminal's list says
	Script []byte              // what waits for the device
}

// Wallets knows the wallets behind taps.
type Wallets interface {
	Standing(ctx context.Context, n token.Number, at time.Time) (Standing, error)
}

// Content types of what readers are sent.
const (
	listType   = "application/vnd.tapvault.denylist"
	policyType = "application/vnd.tapvault.terminal-policy"
)

func (s *server) denySnapshot(ctx context.Context, q *request) (any, error) {
	return s.DenyList.Snapshot(ctx, q.caller, q.tag)
}

func (s *server) denyDelta(ctx context.Context, q *request) (any, error) {
	text := q.query["from"]
	from, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strconv.FormatUint(from, 10) != text {
		return nil, &wire.FieldError{Path: "from", Text: "must be a version of the list"}
	}
	return s.DenyList.Delta(ctx, q.caller, from, q.tag)
}

func (s *server) terminalPolicy(ctx context.Context, q *request) (any, error) {
	return s.DenyList.Policy(ctx, q.caller, q.tag)
}

func (s *server) denyKeys(context.Context, *request) (any, error) { return s.DenyKeys() }

func (s *server) denyOrder(ctx context.Context, q *request) (any, error) {
	var in wire.DenyOrder
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	o := denylist.Order{Reason: in.Reason}
	if p := in.Policy; p != nil {
		o.Switches = switchesIn(p)
	} else {
		o.Line = lineIn(in.Entry)
	}
	v, err := s.DenyList.Order(ctx, q.caller, o, q.attempt)
	if err != nil {
		return nil, err
	}
	return wire.DenyVersion{Version: v.Number, PublishedAt: v.At.UTC()}, nil
}

func lineIn(e *wire.DenyEntry) *denylist.Line {
	l := denylist.Line{Ctr: e.MinCtr, Until: e.Until.Truncate(time.Second)}
	switch e.Kind {
	case wire.DenyKeyID:
		l.ID = denylist.ID{Kind: deny.KeyID, Name: strconv.Itoa(int(e.KeyID))}
	case wire.DenyMinCtr:
		l.ID = denylist.ID{Kind: deny.MinCtr, Name: e.Ref}
	case wire.DenySAM:
		l.ID = denylist.ID{Kind: deny.SAM, Name: hex.EncodeToString(e.Terminal[:])}
	}
	return &l
}

func switchesIn(p *wire.DenyPolicy) *deny.Switches {
	s := deny.Switches{Cap: token.Amount(p.Cap)}
	for _, name := range p.Profiles {
		s = s.Disable(map[string]deny.Profile{"P": deny.ProfileP, "X": deny.ProfileX}[name], 0, 0)
	}
	for _, name := range p.Classes {
		s = s.Disable(0, credential.Class(1+strings.Index("ESMX", name)), 0)
	}
	for _, v := range p.KeyVersions {
		s = s.Disable(0, 0, v)
	}
	return &s
}

// authorize judges a tap while the rider waits: exactly as an upload, so that a
// tap that is uploaded later as well is the same tap.
func (s *server) authorize(ctx context.Context, q *request) (any, error) {
	terminal, err := terminalName(q)
	if err != nil {
		return nil, err
	}
	var in wire.Authorize
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	if err := s.Gate.Check(ctx, q.caller, access.TapAuthorize, terminal); err != nil {
		return nil, err
	}
	tap, _ := tapIn(&in.Tap, "tap.") // what no handset can have made is judged too
	stands, err := s.standing(ctx, tap.Number)
	if err != nil {
		return nil, err
	}
	// An offline terminal is paid when it could not know of a suspension. Here it
	// is known, so no service is given, and the record says so.
	tap.Failed = tap.Failed || stands.Barred
	results, err := s.Taps.Upload(ctx, q.caller, terminal, []account.Tap{tap})
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("authorizing a tap: %d results", len(results))
	}
	out := authorized(results[0], tap.Failed)
	if stands, err = s.standing(ctx, tap.Number); err != nil { // what the tap led to has happened by now
		return nil, err
	}
	out.Wallet, out.Script = string(stands.State), strings.ToUpper(hex.EncodeToString(stands.Script))
	return out, nil
}

func (s *server) standing(ctx context.Context, n token.Number) (Standing, error) {
	if s.Wallets == nil || n.IsZero() {
		return Standing{}, nil
	}
	return s.Wallets.Standing(ctx, n, s.Now())
}

// authorized says whether service may be given: when the slot is paid by this
// very record.
func authorized(r account.Result, failed bool) wire.Authorized {
	out := wire.Authorized{Decision: "DECLINED", TapResult: wire.TapResult{TapID: r.TapID, Outcome: string(r.Outcome), Reason: string(r.Reason)}}
	if !failed && (r.Good() || r.Outcome == account.Posted) {
		out.Decision = "ACCEPTED"
	}
	return out
}
