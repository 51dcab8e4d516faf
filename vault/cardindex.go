package vault

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// cardPrint is the HMAC of a card number under one version of the index key. It is
// not kept. What finds the card and what tells whether its expiry date is the
// stored one both come from it, so that nobody with the database alone can try
// out the few dates there are.
type cardPrint struct {
	version uint8
	mac     [32]byte
}

// index finds the card.
func (p cardPrint) index() []byte {
	i := sha256.Sum256(append([]byte("tapvault card index\x00"), p.mac[:]...))
	return i[:]
}

// tag tells whether the stored expiry date is this one.
func (p cardPrint) tag(expiry token.Expiry) []byte {
	t := sha256.Sum256(append(append([]byte("tapvault card expiry\x00"), p.mac[:]...), expiry...))
	return t[:]
}

// indexVersions are the versions of the index key that rows are found by: the
// one of new rows first, then those of rows that wait to be indexed anew.
type indexVersions struct {
	mu  sync.Mutex
	all []uint8
}

func (i *indexVersions) list() []uint8 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.all
}

// learn asks the database which versions its rows bear. Another process may
// write under a newer one: the vault learns again when it meets such a row.
func (i *indexVersions) learn(db *gorm.DB, current uint8) error {
	all := []uint8{current}
	for _, table := range []string{"cards", "former_cards"} {
		for next := 0; ; {
			var found []int
			// One step along the index for each version, however many rows.
			err := db.Table(table).Where("index_version > ?", next).Order("index_version").Limit(1).
				Pluck("index_version", &found).Error
			if err != nil {
				return fmt.Errorf("reading the versions of card indexes: %w", err)
			}
			if len(found) == 0 {
				break
			}
			next = found[0]
			if v := uint8(next); !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = all
	return nil
}

// news reports whether rows bear a version newer than any known here.
func (i *indexVersions) news(db *gorm.DB) (bool, error) {
	var n int64
	err := db.Raw("SELECT count(*) FROM (SELECT id FROM cards WHERE index_version > ? LIMIT 1) c", slices.Max(i.list())).Scan(&n).Error
	if err != nil {
		return false, fmt.Errorf("reading the versions of card indexes: %w", err)
	}
	return n > 0, nil
}

// sight is what the vault knows of a card number; without rows, nothing.
type sight struct {
	first  cardPrint // under the version of new rows
	print  cardPrint // the one that found card
	card   *cardRow
	former *formerRow // the number was card's, which was replaced
}

// look finds a card by its number, under every version of the index key that
// rows bear. Another process may have begun to write under a newer version, so
// a card counts as unknown only when the versions were learnt after it was
// missed.
func (v *Vault) look(ctx context.Context, pan token.PAN) (sight, error) {
	s, news, err := v.glance(ctx, pan)
	if err != nil || !news {
		return s, err
	}
	if err := v.indexes.learn(v.cfg.DB.Read(ctx), v.cfg.Keys.Index); err != nil {
		return sight{}, err
	}
	s, _, err = v.glance(ctx, pan)
	return s, err
}

// glance is look under the versions that are known by now. news tells that
// there are others, under which the card may be.
func (v *Vault) glance(ctx context.Context, pan token.PAN) (s sight, news bool, err error) {
	prints, err := v.prints(ctx, pan)
	if err != nil {
		return sight{}, false, err
	}
	g, err := v.reading.sights.Do(ctx, prints)
	if err != nil {
		return sight{}, false, err
	}
	s = sight{first: prints[0], card: g.card, former: g.former}
	if s.card != nil {
		s.print = prints[slices.IndexFunc(prints, func(p cardPrint) bool { return p.version == s.card.IndexVersion })]
	}
	return s, g.news, nil
}

// prints computes a print for each version that rows bear, that of new rows
// first. A version whose key has gone may be one that no row bears any more:
// then it was retired meanwhile, and the versions are learnt anew.
func (v *Vault) prints(ctx context.Context, pan token.PAN) (all []cardPrint, err error) {
	for learnt := false; ; learnt = true {
		all, err = v.printsOf(ctx, v.indexes.list(), pan)
		if learnt || fault.KindOf(err) != fault.HSMKey {
			return all, err
		}
		if err := v.indexes.learn(v.cfg.DB.Read(ctx), v.cfg.Keys.Index); err != nil {
			return nil, err
		}
	}
}

func (v *Vault) printsOf(ctx context.Context, versions []uint8, pan token.PAN) ([]cardPrint, error) {
	all := make([]cardPrint, len(versions))
	for i, n := range versions {
		var err error
		if all[i], err = v.cardPrint(ctx, n, pan); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (v *Vault) cardPrint(ctx context.Context, version uint8, pan token.PAN) (cardPrint, error) {
	mac, err := v.cfg.HSM.HMAC(ctx, keyref.Ref{Usage: keyref.PANIndex, Version: version}, []byte(pan.Reveal()))
	if err != nil {
		return cardPrint{}, fmt.Errorf("indexing a card: %w", err)
	}
	return cardPrint{version, mac}, nil
}
