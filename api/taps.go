package api

import (
	"context"
	"strings"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// errDeferred reports taps that cannot be judged to a reader that did not say that it keeps them.
var errDeferred = fault.New(fault.StoreDown, "some of these taps cannot be judged, because what is stored for them cannot be read; the others are kept. "+
	"Send all again later, or with may_defer, which answers each by itself")

func (s *server) uploadTaps(ctx context.Context, q *request) (any, error) {
	terminal, err := terminalName(q)
	if err != nil {
		return nil, err
	}
	var in wire.Taps
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	taps := make([]account.Tap, len(in.Taps))
	for i := range in.Taps {
		// A record that no handset can have made is judged with the others: if it
		// spoilt the batch, a reader that keeps it would never get past it.
		taps[i], _ = tapIn(&in.Taps[i], "")
	}
	results, err := s.Taps.Upload(ctx, q.caller, terminal, taps)
	if err != nil {
		return nil, err
	}
	out := wire.TapResults{Results: make([]wire.TapResult, len(results))}
	for i, r := range results {
		if r.Outcome == account.Deferred && !in.MayDefer {
			return nil, errDeferred // a reader that does not know of it would drop the tap
		}
		out.Results[i] = wire.TapResult{TapID: r.TapID, Outcome: string(r.Outcome), Reason: string(r.Reason)}
	}
	return out, nil
}

// progress takes a terminal's word on how far it has uploaded.
func (s *server) progress(ctx context.Context, q *request) (any, error) {
	terminal, err := terminalName(q)
	if err != nil {
		return nil, err
	}
	var in wire.Progress
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	far, err := s.Taps.Progress(ctx, q.caller, terminal, in.TermID, *in.Until)
	if err != nil {
		return nil, err
	}
	return wire.Progressed{Until: far}, nil
}

// terminalName reads the terminal, or group, in the path.
func terminalName(q *request) (string, error) {
	terminal := q.param("terminal")
	// A terminal number is 12 hex digits, which may look like a short card's.
	if !wire.IsName(terminal) && (len(terminal) != 12 || strings.Trim(terminal, "0123456789") != "") {
		return "", &wire.FieldError{Path: "terminal", Text: "must be 1 to 64 letters, digits, dots, dashes and underlines"}
	}
	return terminal, nil
}

// tapIn reads a tap that stands under prefix. After an error the tap has no
// number, and judging it answers MALFORMED.
func tapIn(w *wire.Tap, prefix string) (account.Tap, error) {
	number, err := token.ParseNumber(w.Number)
	if err != nil {
		return account.Tap{}, at(prefix+"payment_token", err)
	}
	ud, err := credential.ParseUD(w.UD[:])
	if err != nil {
		return account.Tap{}, &wire.FieldError{Path: prefix + "ud", Text: "is not a use descriptor"}
	}
	return account.Tap{
		Terminal: w.TermID, Issuer: w.Issuer, Number: number, UD: ud, Rand: w.Rand, Seq: w.OfflineSeq,
		Amount: token.Amount(w.Amount), Type: cryptogram.Type(w.TxnType), TermSeq: w.TermSeq, At: moment(w.Date, w.Time),
		KeyVer: w.KeyVersion, AlgID: w.AlgorithmID, Balance: w.Balance,
		MAC1: w.MAC1, MAC2: w.MAC2, TAC: w.TAC, ListVersion: w.ListVersion, Failed: w.Failed,
	}, nil
}

// moment joins date and time as the formulas take them.
func moment(d wire.Date, t wire.Time) (at cryptogram.DateTime) {
	copy(at[:4], d[:])
	copy(at[4:], t[:])
	return at
}

// parameters tells a reader what it must hold to take phones.
func (s *server) parameters(ctx context.Context, q *request) (any, error) {
	if err := s.Gate.Allow(ctx, q.caller, access.TerminalRead, "parameters"); err != nil {
		return nil, err
	}
	p := s.Parameters()
	version, err := s.DenyList.Version(ctx)
	if err != nil {
		return nil, err
	}
	p.ListVersion, p.IssuedAt = version, s.Now().UTC()
	return p, nil
}
