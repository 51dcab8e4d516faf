package tapdb

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// histories reads what detection has to know of tokens beside the slots that a
// recording is about. It is most of what an upload reads, so no more is read of
// it than that.
func (r *recording) histories() error {
	r.past = make(map[token.Ref]account.History)
	refs := make(map[string]bool)
	for k := range r.lots {
		refs[string(k.ref)] = true
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(refs)), inOne) {
		const bundles = `SELECT token_ref, COUNT(DISTINCT bundle) FROM slots WHERE token_ref IN ? GROUP BY token_ref`
		err := store.Each(r.tx, bundles, func(rows *sql.Rows) error {
			var ref token.Ref
			var h account.History
			err := rows.Scan(&ref, &h.Bundles)
			r.past[ref] = h
			return err
		}, part)
		if err != nil {
			return fmt.Errorf("counting bundles: %w", err)
		}
		const taps = `SELECT t.token_ref, t.ctr, t.id, t.ud, t.moment, t.received_at, t.terminal, t.tac_good, t.sources, t.fresh, t.balance, s.bundle
			FROM taps t JOIN slots s ON s.token_ref = t.token_ref AND s.ctr = t.ctr WHERE t.token_ref IN ? AND t.outcome <> ?`
		if err := store.Each(r.tx, taps, r.remember, part, string(account.Replay)); err != nil {
			return fmt.Errorf("reading what tokens paid before: %w", err)
		}
	}
	return nil
}

// remember keeps one tap of a slot that the recording is not about.
func (r *recording) remember(rows *sql.Rows) error {
	var (
		k            slotKey
		t            detect.Tap
		ud, terminal []byte
		moment, came int64
		sources      account.Sources
	)
	if err := rows.Scan(&k.ref, &k.ctr, &t.ID, &ud, &moment, &came, &terminal, &t.TACGood, &sources, &t.Fresh, &t.Left, &t.Bundle); err != nil {
		return err
	}
	if r.lots[k] != nil {
		return nil
	}
	d, err := credential.ParseUD(ud)
	if err != nil || copy(t.Terminal[:], terminal) != len(t.Terminal) {
		return errRow
	}
	t.Ctr, t.Class, t.Moment, t.Served = k.ctr, byte(d.Class), time.UnixMilli(moment).UTC(), sources.Served()
	t.Misdated = r.rules.Misdated(t.Moment, time.UnixMilli(came))
	h := r.past[k.ref]
	h.Taps = append(h.Taps, t)
	r.past[k.ref] = h
	return nil
}
