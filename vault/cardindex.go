package vault

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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
	mu     sync.Mutex
	all    []uint8
	strays []int // what else a few rows bear, under which nothing can be found
}

func (i *indexVersions) list() []uint8 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.all
}

// known lists all versions that were met, in order, and says which of them are strays.
func (i *indexVersions) known() (all, strays []int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, v := range i.all {
		all = append(all, int(v))
	}
	all = append(all, i.strays...)
	slices.Sort(all)
	return all, i.strays
}

// indexed are the tables of rows that are found by a card number.
var indexed = []string{"cards", "former_cards"}

// fewRows bounds the rows that are passed over as damaged. More of them under one version
// are a version whose key is missing.
const fewRows = 8

// learnIndexes asks the database which versions its rows bear. Another process may
// write under another one: the vault learns again when it meets such a row. A version
// that a few rows bear and the HSM holds no key of is passed over: they can be found by
// nobody, and what was written beside them must be.
func (v *Vault) learnIndexes(ctx context.Context) error {
	db := v.cfg.DB.Read(ctx)
	var met []int
	for _, table := range indexed {
		for next := math.MinInt32; ; {
			var found []int
			// One step along the index for each version, however many rows.
			err := db.Table(table).Where("index_version > ? AND index_version < ?", next, math.MaxInt32).Order("index_version").Limit(1).
				Pluck("index_version", &found).Error
			if err != nil {
				return fmt.Errorf("reading the versions of card indexes: %w", err)
			}
			if len(found) == 0 {
				break
			}
			if next = found[0]; !slices.Contains(met, next) {
				met = append(met, next)
			}
		}
	}
	all, strays := []uint8{v.cfg.Keys.Index}, []int(nil)
	for _, n := range met {
		if n == int(v.cfg.Keys.Index) {
			continue
		}
		rows, err := v.stray(ctx, n)
		switch {
		case err != nil:
			return err
		case rows != nil:
			passOver(ctx, v, "stored cards are indexed under a version of the index key that the HSM does not hold: they may not be found by their numbers", "cards", rows)
			strays = append(strays, n)
		default:
			all = append(all, uint8(n))
		}
	}
	v.indexes.mu.Lock()
	defer v.indexes.mu.Unlock()
	v.indexes.all, v.indexes.strays = all, strays
	return nil
}

// stray names the rows under a version of the index key if that is none, or the HSM holds
// no key of it, and they are few.
func (v *Vault) stray(ctx context.Context, version int) (rows []string, err error) {
	if version > 0 && version <= math.MaxUint8 {
		_, err := v.cfg.HSM.HMAC(ctx, keyref.Ref{Usage: keyref.PANIndex, Version: uint8(version)}, []byte("is it there?"))
		if fault.KindOf(err) != fault.HSMKey { // what else keeps it from answering is met where it is asked
			return nil, nil
		}
	}
	for _, table := range indexed {
		var ids []string
		if err := v.cfg.DB.Read(ctx).Table(table).Where("index_version = ?", version).Limit(fewRows+1).Pluck("id", &ids).Error; err != nil {
			return nil, fmt.Errorf("reading the versions of card indexes: %w", err)
		}
		rows = append(rows, ids...)
	}
	if len(rows) <= fewRows {
		return rows, nil
	}
	if version <= 0 || version > math.MaxUint8 {
		return nil, fmt.Errorf("reading the versions of card indexes: %w", errVersion)
	}
	return nil, nil
}

// errVersion reports many rows under a version of a key that there cannot be.
var errVersion = errors.New("many cards are stored under a version of the index key that is none")

// news reports whether rows bear a version that is not known here, or more of them a
// stray than were passed over.
func (v *Vault) news(db *gorm.DB) (bool, error) {
	const within = "(SELECT count(*) FROM (SELECT id FROM %s WHERE index_version > ? AND index_version < ? LIMIT %d) c) > %d"
	all, strays := v.indexes.known()
	var asked []string
	var args []any
	ask := func(low, high, few int) { // whether there are more than few between two versions
		for _, table := range indexed {
			asked = append(asked, fmt.Sprintf(within, table, few+1, few))
			args = append(args, low, high)
		}
	}
	low := math.MinInt32
	for _, next := range append(all, math.MaxInt32) {
		if next-low > 1 {
			ask(low, next, 0)
		}
		low = next
	}
	for _, n := range strays {
		ask(n-1, n+1, fewRows)
	}
	var news bool
	if err := db.Raw("SELECT "+strings.Join(asked, " OR "), args...).Scan(&news).Error; err != nil {
		return false, fmt.Errorf("reading the versions of card indexes: %w", err)
	}
	return news, nil
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
	if err := v.learnIndexes(ctx); err != nil {
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
		s.print = prints[slices.IndexFunc(prints, func(p cardPrint) bool { return subtle.ConstantTimeCompare(p.index(), s.card.PANIndex) == 1 })]
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
		if err := v.learnIndexes(ctx); err != nil {
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
