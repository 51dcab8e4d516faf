package api

import (
	"context"
	"errors"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

// events lists what happened to tokens and wallets. A caller that acts for one requestor
// sees that one's.
func (s *server) events(ctx context.Context, q *request) (any, error) {
	f, err := q.eventFilter()
	if err != nil {
		return nil, err
	}
	after, err := s.places.parse(q.query["cursor"])
	if err != nil {
		return nil, err
	}
	limit, err := q.page()
	if err != nil {
		return nil, err
	}
	if f, err = s.ownEvents(ctx, q.caller, f); err != nil {
		return nil, err
	}
	found, err := s.Events.List(ctx, f, after, limit)
	if err != nil {
		return nil, placed(err, "cursor")
	}
	out := wire.EventList{Events: make([]wire.Event, len(found))}
	for i, e := range found {
		out.Events[i], after = eventOut(e), e.Position
	}
	out.Next = s.places.format(after)
	return out, nil
}

func (q *request) eventFilter() (f event.Filter, err error) {
	if ref := q.query["ref"]; ref != "" {
		if f.Ref = token.Ref(ref); !f.Ref.Valid() {
			return f, &wire.FieldError{Path: "ref", Text: "must be a token reference"}
		}
	}
	if w := q.query["wallet"]; w != "" {
		if f.Wallet = token.WalletID(w); !f.Wallet.Valid() || f.Ref != "" {
			return f, &wire.FieldError{Path: "wallet", Text: "must be a wallet's id, and no token reference beside it"}
		}
	}
	if r := q.query["requestor"]; r != "" {
		if f.Requestor, err = token.ParseRequestor(r); err != nil {
			return f, at("requestor", err)
		}
	}
	return f, nil
}

func eventOut(e event.Event) wire.Event {
	return wire.Event{ID: e.ID, Type: string(e.Type), Ref: string(e.Ref), Wallet: string(e.Wallet), Requestor: string(e.Requestor),
		Seq: e.Seq, At: e.At.UTC(), Data: e.Data, Unreadable: e.Unreadable}
}

// placed names the field that a position stands in when no event has had it.
func placed(err error, field string) error {
	if errors.Is(err, event.ErrAhead) {
		return &wire.FieldError{Path: field, Text: "stands behind the last event: the service was put back to an earlier day; go on from an earlier cursor"}
	}
	return err
}

// ranges says what is left of the token ranges.
func (s *server) ranges(ctx context.Context, q *request) (any, error) {
	if err := s.Gate.Allow(ctx, q.caller, access.RangeRead, "ranges"); err != nil {
		return nil, err
	}
	all, err := s.Ranges(ctx)
	if err != nil {
		return nil, err
	}
	return wire.Ranges{Ranges: append([]wire.Capacity{}, all...)}, nil
}

// Public keys: of the intake, of webhooks, of signed results.

func (s *server) intakeKeys(context.Context, *request) (any, error)  { return s.Intake.KeySet() }
func (s *server) webhookKeys(context.Context, *request) (any, error) { return s.WebhookKeys() }
func (s *server) resultKeys(context.Context, *request) (any, error)  { return s.ResultKeys() }
