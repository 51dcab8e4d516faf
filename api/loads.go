package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/token"
)

// Loads moves money between accounts and physical cards.
type Loads interface {
	Begin(ctx context.Context, c access.Caller, card cardhost.Card, o load.Order, mac1 [4]byte, a access.Attempt) (load.Begun, error)
	Order(ctx context.Context, c access.Caller, id string) (load.Record, error)
	Orders(ctx context.Context, c access.Caller, f load.Filter) ([]load.Record, error)
	Confirm(ctx context.Context, c access.Caller, id string, card cardhost.Card, tac [4]byte) (load.Record, error)
	Reverse(ctx context.Context, c access.Caller, id string, card cardhost.Card, shown load.Shown, mac1 [4]byte) (load.Record, error)
	// Matters lists the orders that wait for a decision, and Decide makes one.
	Matters(ctx context.Context, c access.Caller, q load.Search) ([]load.Matter, error)
	Decide(ctx context.Context, c access.Caller, d load.Decision) (load.Matter, error)
	// Decided returns the order of a decision that was made already, and whether it was.
	Decided(ctx context.Context, c access.Caller, d load.Decision) (load.Matter, bool, error)
}

func (s *server) loadCard(ctx context.Context, q *request) (any, error) {
	var in wire.CardLoadOrder
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	o := orderIn(q, load.Credit, &in.CardOrder)
	o.Amount, o.Type = in.Amount, cryptogram.Type(in.TxnType)
	return s.beginLoad(ctx, q, &in.CardOrder, o)
}

func (s *server) unloadCard(ctx context.Context, q *request) (any, error) {
	var in wire.CardUnloadOrder
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	o := orderIn(q, load.Debit, &in.CardOrder)
	o.Amount = in.Amount
	return s.beginLoad(ctx, q, &in.CardOrder, o)
}

func (s *server) limitCard(ctx context.Context, q *request) (any, error) {
	var in wire.CardLimitOrder
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	o := orderIn(q, load.Overdraft, &in.CardOrder)
	var err error
	if o.OldLimit, err = cryptogram.NewLimit(in.OldLimit); err != nil {
		return nil, err
	}
	if o.NewLimit, err = cryptogram.NewLimit(in.NewLimit); err != nil {
		return nil, err
	}
	return s.beginLoad(ctx, q, &in.CardOrder, o)
}

func orderIn(q *request, k load.Kind, w *wire.CardOrder) load.Order {
	return load.Order{Kind: k, Account: token.WalletID(q.param("id")), Rand: w.Rand, Seq: w.OnlineSeq, Balance: w.Balance,
		Terminal: w.TermID, At: moment(w.Date, w.Time)}
}

func (s *server) beginLoad(ctx context.Context, q *request, w *wire.CardOrder, o load.Order) (any, error) {
	b, err := s.Loads.Begin(ctx, q.caller, cardIn(&w.Card), o, w.MAC1, q.attempt)
	if err != nil {
		return nil, err
	}
	out := loadOut(b.Record)
	mac2 := wire.Hex4(b.MAC2)
	out.MAC2 = &mac2
	return withStatus{http.StatusCreated, out}, nil
}

func (s *server) cardLoad(ctx context.Context, q *request) (any, error) {
	return loadAnswer(s.Loads.Order(ctx, q.caller, q.param("load")))
}

// cardLoads lists an account's orders. The cursor is the id of the last one.
func (s *server) cardLoads(ctx context.Context, q *request) (any, error) {
	limit, err := q.page()
	if err != nil {
		return nil, err
	}
	if err := loadQuery(q.query); err != nil {
		return nil, err
	}
	f := load.Filter{Account: token.WalletID(q.param("id")), State: load.State(q.query["state"]), Before: q.query["cursor"], Limit: limit}
	found, err := s.Loads.Orders(ctx, q.caller, f)
	if err != nil {
		return nil, err
	}
	out := wire.CardLoads{Loads: make([]wire.CardLoad, len(found))}
	for i, r := range found {
		out.Loads[i] = loadOut(r)
	}
	if len(found) == limit {
		out.Next = found[limit-1].ID
	}
	return out, nil
}

// loadQuery refuses what no list of orders can be asked for.
func loadQuery(query map[string]string) error {
	if s := query["state"]; s != "" && !slices.Contains(load.States, load.State(s)) {
		return &wire.FieldError{Path: "state", Text: "must be a state of loads"}
	}
	if c := query["cursor"]; c != "" && !load.ValidID(c) {
		return badCursor()
	}
	return nil
}

// loadMatters lists what waits for a decision. The cursor is the id of the last
// one.
func (s *server) loadMatters(ctx context.Context, q *request) (any, error) {
	limit, err := q.page()
	if err == nil {
		err = loadQuery(q.query)
	}
	if err != nil {
		return nil, err
	}
	found, err := s.Loads.Matters(ctx, q.caller, load.Search{Load: q.query["load"], Account: token.WalletID(q.query["account"]),
		State: load.State(q.query["state"]), After: q.query["cursor"], Limit: limit})
	if err != nil {
		return nil, err
	}
	out := wire.LoadMatters{Loads: make([]wire.LoadMatter, len(found))}
	for i, m := range found {
		out.Loads[i] = matterOut(m)
	}
	if len(found) == limit {
		out.Next = found[limit-1].ID
	}
	return out, nil
}

func (s *server) decideLoad(ctx context.Context, q *request) (any, error) {
	d, err := decisionIn(q)
	if err != nil {
		return nil, err
	}
	m, err := s.Loads.Decide(ctx, q.caller, d)
	if err != nil {
		return nil, err
	}
	return matterOut(m), nil
}

// decidedLoad answers a decision that was made already.
func (s *server) decidedLoad(ctx context.Context, q *request) (any, error) {
	d, err := decisionIn(q)
	if err != nil {
		return nil, err
	}
	m, ok, err := s.Loads.Decided(ctx, q.caller, d)
	if err != nil || !ok {
		return nil, err
	}
	return matterOut(m), nil
}

func decisionIn(q *request) (load.Decision, error) {
	var in wire.LoadDecision
	if err := wire.Decode(q.body, &in); err != nil {
		return load.Decision{}, err
	}
	return load.Decision{Load: in.Load, In: load.State(in.State), Verdict: load.Verdict(in.Decision), Reason: in.Reason, Evidence: in.Evidence}, nil
}

func matterOut(m load.Matter) wire.LoadMatter {
	out := wire.LoadMatter{CardLoad: loadOut(m.Record), Requestor: string(m.Requestor), Purse: uint8(m.Purse()), Balance: m.Balance,
		TermID: m.Terminal, Misses: m.Misses, Waits: m.Open, Decisions: make([]wire.LoadDecided, len(m.Decisions))}
	for i, d := range m.Decisions {
		out.Decisions[i] = wire.LoadDecided{State: string(d.In), Decision: string(d.Verdict), Reason: d.Reason, Evidence: d.Evidence,
			Client: d.By, At: d.At.UTC()}
	}
	return out
}

func (s *server) confirmLoad(ctx context.Context, q *request) (any, error) {
	var in wire.CardProof
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return loadAnswer(s.Loads.Confirm(ctx, q.caller, q.param("load"), cardIn(&in.Card), in.TAC))
}

func (s *server) reverseLoad(ctx context.Context, q *request) (any, error) {
	var in wire.CardShown
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	shown := load.Shown{Rand: in.Rand, Seq: in.OnlineSeq, Balance: in.Balance, Amount: in.Amount}
	return loadAnswer(s.Loads.Reverse(ctx, q.caller, q.param("load"), cardIn(&in.Card), shown, in.MAC1))
}

func loadAnswer(r load.Record, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return loadOut(r), nil
}

func loadOut(r load.Record) wire.CardLoad {
	return wire.CardLoad{ID: r.ID, Account: string(r.Account), Kind: string(r.Kind), State: string(r.State), Amount: r.Amount,
		NewLimit: r.NewLimit.Fen(), OnlineSeq: r.Seq, Date: wire.Date(r.At[:4]), Time: wire.Time(r.At[4:]), Probe: r.Probe,
		CreatedAt: r.CreatedAt.UTC(), ChangedAt: r.ChangedAt.UTC()}
}
