package vault

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/gather"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// Rows that are asked for at the same time are read by one query.

// mostRead bounds the rows that one query asks for, and readLanes how many such
// queries of one kind run at the same time: with more, fewer share each.
const (
	mostRead  = 64
	readLanes = 1
)

// reading holds those who wait for rows.
type reading struct {
	tokens  *gather.Gatherer[token.Ref, tokenView]
	numbers *gather.Gatherer[place, []tokenView]
	cards   *gather.Gatherer[token.Ref, cardRow]
	sealed  *gather.Gatherer[token.Ref, *sealedRow]
	sights  *gather.Gatherer[[]cardPrint, glanced]
}

func (v *Vault) readers() reading {
	return reading{
		tokens:  readTogether(v.readTokens),
		numbers: readTogether(v.readNumbers),
		cards:   readTogether(v.readCards),
		sealed:  readTogether(v.readSealed),
		sights:  readTogether(v.readSights),
	}
}

// readTogether makes a gatherer of a query, which fails for all or finds for
// each what it asked for.
func readTogether[In, Out any](query func(context.Context, []In) ([]gather.Answer[Out], error)) *gather.Gatherer[In, Out] {
	return gather.New(gather.Config[In, Out]{Most: mostRead, Lanes: readLanes,
		Serve: func(ctx context.Context, all []In) []gather.Answer[Out] {
			answers, err := query(ctx, all)
			if err != nil {
				answers = make([]gather.Answer[Out], len(all))
				for i := range answers {
					answers[i].Err = err
				}
			}
			return answers
		}})
}

// padded repeats the last of keys until there are as many as a power of two:
// so few texts of a query are ever prepared.
func padded[K any](keys []K) []K {
	n := 1
	for n < len(keys) {
		n *= 2
	}
	for len(keys) > 0 && len(keys) < n {
		keys = append(keys, keys[len(keys)-1])
	}
	return keys
}

// found answers each of all with the row of its token.
func found[Row any](all []token.Ref, rows map[token.Ref]gather.Answer[Row]) []gather.Answer[Row] {
	answers := make([]gather.Answer[Row], len(all))
	for i, ref := range all {
		var ok bool
		if answers[i], ok = rows[ref]; !ok {
			answers[i].Err = ErrNotFound
		}
	}
	return answers
}

// scanned says what follows from reading one row: where it cannot be read, an error for who
// asked for it, and none for who asked for others at the same time.
func scanned(what, name string, err error) (its, all error) {
	if err = store.Scanned(err); err == nil {
		return nil, nil
	}
	err = fmt.Errorf("%s %s: %w", what, name, err)
	if fault.IsUnreadable(err) {
		return err, nil
	}
	return err, err
}

func refs(all []token.Ref) []string {
	out := make([]string, 0, 2*len(all))
	for _, r := range all {
		out = append(out, string(r))
	}
	return padded(out)
}

func (v *Vault) readTokens(ctx context.Context, all []token.Ref) ([]gather.Answer[tokenView], error) {
	byRef := make(map[token.Ref]gather.Answer[tokenView], len(all))
	err := v.eachView(ctx, "tokens.ref IN ?", func(t tokenView, err error) {
		byRef[token.Ref(t.Row.Ref)] = gather.Answer[tokenView]{Value: t, Err: err}
	}, refs(all))
	return found(all, byRef), err
}

// eachView reads the tokens that where describes. take gets the error of one that cannot be
// read with as much of it as can be: who asked for others is answered.
func (v *Vault) eachView(ctx context.Context, where string, take func(tokenView, error), args ...any) error {
	err := store.Each(v.cfg.DB.Read(ctx), "SELECT "+ofTokens+" FROM tokens "+withCards+" WHERE "+where,
		func(rows *sql.Rows) error {
			var t tokenView
			err := t.scan(rows)
			its, err := scanned("token", t.Row.Ref, err)
			take(t, its)
			return err
		}, args...)
	if err != nil {
		return fmt.Errorf("reading tokens: %w", err)
	}
	return nil
}

// place is where a number stands in its range.
type place struct {
	rangeID string
	serial  int64
}

// readNumbers finds all tokens that ever bore each number; it may be none.
func (v *Vault) readNumbers(ctx context.Context, all []place) ([]gather.Answer[[]tokenView], error) {
	serials := map[string][]int64{}
	for _, p := range all {
		serials[p.rangeID] = append(serials[p.rangeID], p.serial)
	}
	at := map[place]gather.Answer[[]tokenView]{}
	for id, s := range serials {
		err := v.eachView(ctx, "tokens.range_id = ? AND tokens.serial IN ?", func(t tokenView, err error) {
			p := place{id, t.Row.Serial}
			a := at[p]
			a.Value = append(a.Value, t)
			if err != nil { // whose the number was then cannot be told from the others
				a.Err = err
			}
			at[p] = a
		}, id, padded(s))
		if err != nil {
			return nil, err
		}
	}
	answers := make([]gather.Answer[[]tokenView], len(all))
	for i, p := range all {
		answers[i] = at[p]
	}
	return answers, nil
}

const cardsOf = "SELECT tokens.ref, cards.id, cards.pan_index, cards.index_version, cards.expiry_tag, cards.sealed, cards.seal_version, " +
	"cards.par, cards.last4, cards.created_at FROM tokens " + withCards + " WHERE tokens.ref IN ?"

// readCards finds the cards behind tokens.
func (v *Vault) readCards(ctx context.Context, all []token.Ref) ([]gather.Answer[cardRow], error) {
	byRef := make(map[token.Ref]gather.Answer[cardRow], len(all))
	err := store.Each(v.cfg.DB.Read(ctx), cardsOf, func(rows *sql.Rows) error {
		var ref string
		var c cardRow
		err := rows.Scan(&ref, &c.ID, &c.PANIndex, &c.IndexVersion, &c.ExpiryTag, &c.Sealed, &c.SealVersion, &c.PAR, &c.Last4, &c.CreatedAt)
		its, err := scanned("token", ref, err)
		byRef[token.Ref(ref)] = gather.Answer[cardRow]{Value: c, Err: its}
		return err
	}, refs(all))
	if err != nil {
		return nil, fmt.Errorf("reading cards: %w", err)
	}
	return found(all, byRef), nil
}

const standing = "SELECT tokens.ref, tokens.card_id, tokens.range_id, tokens.serial, tokens.requestor, tokens.location, tokens.state, " +
	"tokens.not_before, tokens.not_after, tokens.assurance_method, tokens.assurance_data, tokens.suspenders, tokens.decision, tokens.controls, " +
	"cards.par, cards.sealed, cards.seal_version FROM tokens " + withCards + " WHERE tokens.ref IN ?"

// readSealed finds how tokens stand, and the sealed cards behind them.
func (v *Vault) readSealed(ctx context.Context, all []token.Ref) ([]gather.Answer[*sealedRow], error) {
	byRef := make(map[token.Ref]gather.Answer[*sealedRow], len(all))
	err := store.Each(v.cfg.DB.Read(ctx), standing, func(rows *sql.Rows) error {
		r := new(sealedRow)
		err := rows.Scan(&r.Ref, &r.CardID, &r.RangeID, &r.Serial, &r.Requestor, &r.Location, &r.State,
			&r.NotBefore, &r.NotAfter, &r.AssuranceMethod, &r.AssuranceData, &r.Suspenders, &r.Decision, &r.Controls,
			&r.PAR, &r.Sealed, &r.SealVersion)
		its, err := scanned("token", r.Ref, err)
		byRef[token.Ref(r.Ref)] = gather.Answer[*sealedRow]{Value: r, Err: its}
		return err
	}, refs(all))
	if err != nil {
		return nil, fmt.Errorf("reading tokens and cards: %w", err)
	}
	return found(all, byRef), nil
}

// glanced is what the database knows of a card number. news tells, of a number
// that it does not know, that rows bear a version of the index key which was
// not tried.
type glanced struct {
	card   *cardRow
	former *formerRow
	news   bool
}

// readSights looks for card numbers by their prints. Whether there is news is
// asked after the look, so that what was written meanwhile is not missed.
func (v *Vault) readSights(ctx context.Context, all [][]cardPrint) ([]gather.Answer[glanced], error) {
	answers := make([]gather.Answer[glanced], len(all))
	cards, err := rowsOf(v, ctx, all, func(i int) bool { return true }, cardsAt, cardRow.scan)
	if err != nil {
		return nil, fmt.Errorf("looking for cards: %w", err)
	}
	for i, r := range cards {
		answers[i].Value.card, answers[i].Err = &r.Value, r.Err
	}
	if len(cards) == len(all) {
		return answers, nil
	}
	missed := func(i int) bool { return answers[i].Value.card == nil }
	former, err := rowsOf(v, ctx, all, missed, formerAt, formerRow.scan)
	if err != nil {
		return nil, fmt.Errorf("looking for replaced cards: %w", err)
	}
	news, err := v.news(v.cfg.DB.Read(ctx))
	if err != nil {
		return nil, err
	}
	for i := range answers {
		if r, ok := former[i]; ok {
			answers[i].Value.former, answers[i].Err = &r.Value, r.Err
		} else {
			answers[i].Value.news = news && missed(i)
		}
	}
	return answers, nil
}

const (
	cardsAt = "SELECT pan_index, id, index_version, expiry_tag, sealed, seal_version, par, last4, created_at FROM cards " +
		"WHERE pan_index IN ?"
	formerAt = "SELECT pan_index, id, card_id, index_version, sealed, seal_version, replaced_at FROM former_cards WHERE pan_index IN ?"
)

// scan reads what [cardsAt] asks for.
func (r cardRow) scan(rows *sql.Rows) (_ cardRow, index []byte, id string, err error) {
	err = rows.Scan(&r.PANIndex, &r.ID, &r.IndexVersion, &r.ExpiryTag, &r.Sealed, &r.SealVersion, &r.PAR, &r.Last4, &r.CreatedAt)
	return r, r.PANIndex, r.ID, err
}

// scan reads what [formerAt] asks for.
func (r formerRow) scan(rows *sql.Rows) (_ formerRow, index []byte, id string, err error) {
	err = rows.Scan(&r.PANIndex, &r.ID, &r.CardID, &r.IndexVersion, &r.Sealed, &r.SealVersion, &r.ReplacedAt)
	return r, r.PANIndex, r.ID, err
}

// rowsOf finds rows by the prints of those in all that are wanted, each by its
// place in all. One that cannot be read is an error for who looks for it.
func rowsOf[Row any](v *Vault, ctx context.Context, all [][]cardPrint, wanted func(int) bool, query string,
	scan func(Row, *sql.Rows) (Row, []byte, string, error)) (map[int]gather.Answer[Row], error) {
	var keys [][]byte
	for i, prints := range all {
		for _, p := range prints {
			if wanted(i) {
				keys = append(keys, p.index())
			}
		}
	}
	byIndex := make(map[string]gather.Answer[Row], len(keys))
	err := store.Each(v.cfg.DB.Read(ctx), query, func(rows *sql.Rows) error {
		var none Row
		r, index, id, err := scan(none, rows)
		its, err := scanned("card", id, err)
		byIndex[string(index)] = gather.Answer[Row]{Value: r, Err: its}
		return err
	}, padded(keys))
	if err != nil {
		return nil, err
	}
	at := map[int]gather.Answer[Row]{}
	for i, prints := range all {
		for _, p := range prints {
			if r, ok := byIndex[string(p.index())]; ok && wanted(i) {
				at[i] = r
			}
		}
	}
	return at, nil
}
