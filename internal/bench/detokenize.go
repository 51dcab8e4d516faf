package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
)

// Detokenize measures card numbers given back for tokens, to 32 callers at
// once: the right and the purpose recorded on the disk, the token read and
// judged, its card read and opened by the HSM. The limit is the two rows read
// by their primary keys with prepared statements and one opening in the HSM,
// with nothing recorded or judged, by as many callers.
func Detokenize(ctx context.Context, o Options) (Result, error) {
	o = crowded(o)
	r, err := onServers(ctx, func(ctx context.Context, s *server) (Result, error) {
		return detokenizeOn(ctx, o, s)
	})
	r.Name, r.Callers = "detokenize", crowd
	return r, err
}

// tokensKept is how many tokens there are to ask about.
const tokensKept = 512

func detokenizeOn(ctx context.Context, o Options, s *server) (res Result, err error) {
	d, err := newDesk(ctx, o, s)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	refs := make([]token.Ref, tokensKept)
	if _, err := atOnce(len(refs), func(_, i int) error {
		t, err := d.request(ctx, i)
		refs[i] = t.Ref
		return err
	}); err != nil {
		return res, err
	}
	opener, err := detokenize.New(detokenize.Config{Opener: d.vault.Opener(), Evidence: noEvidence{}, Gate: d.gate, Zone: time.UTC})
	if err != nil {
		return res, err
	}
	look, err := newLook(ctx, s, d)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, look.db.Close()) }()
	res, err = paired(ctx, o, func(n int) (time.Duration, error) {
		return atOnce(n, func(_, i int) error {
			_, err := opener.Direct(ctx, d.caller, detokenize.Query{Ref: refs[i%len(refs)]}, detokenize.Settlement)
			return err
		})
	}, func(n int) (time.Duration, error) {
		return atOnce(n, func(_, i int) error { return look.up(ctx, refs[i%len(refs)]) })
	})
	res.Unit = "a card number for a token: purpose recorded, token judged, card opened by the HSM"
	res.Limit = "two reads by primary key with prepared statements, and one opening in the HSM"
	return res, err
}

// noEvidence knows no tap: none is asked about here.
type noEvidence struct{ detokenize.Evidence }

// look reads and opens cards with nothing in between.
type look struct {
	db          *sql.DB
	token, card *sql.Stmt
	hsm         *hsm.Token
}

func newLook(ctx context.Context, s *server, d *desk) (*look, error) {
	db, err := s.open(d.dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8) // what the service has for reading
	db.SetMaxIdleConns(8)
	l := &look{db: db, hsm: d.hsm}
	for q, into := range map[string]**sql.Stmt{
		"SELECT card_id FROM tokens WHERE ref = ?":            &l.token,
		"SELECT sealed, seal_version FROM cards WHERE id = ?": &l.card,
	} {
		if *into, err = db.PrepareContext(ctx, strings.Replace(q, "?", s.mark(1), 1)); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return l, nil
}

func (l *look) up(ctx context.Context, ref token.Ref) error {
	var id string
	var sealed []byte
	var version uint8
	if err := l.token.QueryRowContext(ctx, string(ref)).Scan(&id); err != nil {
		return err
	}
	if err := l.card.QueryRowContext(ctx, id).Scan(&sealed, &version); err != nil {
		return err
	}
	// What binds a sealed card to its row is the vault's; see there.
	plain, err := l.hsm.Unseal(ctx, keyref.Ref{Usage: keyref.PANSeal, Version: version}, sealed,
		fmt.Appendf(nil, "tapvault card\x00%s\x00%d", id, version))
	clear(plain)
	return err
}
