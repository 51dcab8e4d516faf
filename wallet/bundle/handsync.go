package bundle

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/payload"
)

// SyncRequest is what a handset sends to POST /v1/sync.
type SyncRequest struct {
	Device token.DeviceID
	ID     string // names the sync: sent again, it is answered as before
	Signed string // compact JWS over all that the handset says
}

// SyncAnswer is what came back, as far as the handset acts on it.
type SyncAnswer struct {
	ID        string // of the sync that it answers
	BundleID  string // empty: no bundle
	Bundle    string // JWE
	Hardware  string // JWE; empty: the mask needs no hardware
	Remaining token.Amount
	Scripts   [][]byte
	At        time.Time // server_time: what the handset says of time from then on goes by it; zero: by its own clock
}

// Sync says all there is to say about a token: which slots are live, which are
// gone and how. Until it is answered the same request comes again, so a lost
// answer costs nothing.
func (h *Handset) Sync(ref token.Ref) (SyncRequest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.id == "" || h.epoch == 0 {
		return SyncRequest{}, fmt.Errorf("bundle: a handset syncs when it is enrolled and has a PIN")
	}
	p, err := h.purse(ref)
	if err != nil {
		return SyncRequest{}, err
	}
	if p.asked != nil {
		return *p.asked, nil
	}
	if p.next == nil {
		if p.next, err = NewProofKey(h.cfg.Rand, h.cfg.Slots); err != nil {
			return SyncRequest{}, err
		}
	}
	said, err := h.say(ref, p)
	if err != nil {
		return SyncRequest{}, err
	}
	signed, err := payload.SignSync(said, func(d [32]byte) ([64]byte, error) { return signES256(h.cfg.Rand, h.sign, d) })
	if err != nil {
		return SyncRequest{}, err
	}
	p.reported = nil
	for _, r := range said.Reports {
		if r.Status != payload.Live {
			p.reported = append(p.reported, r.Ctr)
		}
	}
	p.asked = &SyncRequest{Device: h.id, ID: said.ID, Signed: signed}
	return *p.asked, nil
}

// say draws up a sync.
func (h *Handset) say(ref token.Ref, p *purse) (payload.Sync, error) {
	var id [16]byte
	if _, err := io.ReadFull(h.cfg.Rand, id[:]); err != nil {
		return payload.Sync{}, fmt.Errorf("naming a sync: %w", err)
	}
	proof := p.next.Public()
	s := payload.Sync{Device: h.id, Ref: ref, ID: hex.EncodeToString(id[:]), Clock: max(1, h.cfg.Now().Add(-h.ahead).Unix()), PINEpoch: h.epoch,
		Reports: []payload.Report{}, ProofKey: upperHex(proof[:]), Integrity: h.integrity}
	if p.card == nil {
		return s, nil
	}
	var err error
	if s.Reports, err = p.card.reports(p.heard); err != nil {
		return s, err
	}
	s.Count = p.card.Live()
	if spent := p.card.spentSince(p.heard); spent < p.remaining {
		s.Remaining = p.remaining - spent
	}
	return s, nil
}

// purse finds what is known of a token, or begins it. A handset that starts
// again finds its journal there.
func (h *Handset) purse(ref token.Ref) (*purse, error) {
	if p := h.purses[ref]; p != nil {
		return p, nil
	}
	j, err := h.cfg.Journal(ref)
	if err != nil {
		return nil, err
	}
	p := &purse{journal: j, heard: map[uint16]bool{}}
	h.purses[ref] = p
	return p, nil
}

// Apply does what the answer to a sync says: it takes a bundle in, obeys
// scripts, and forgets what the service has heard. An answer to a sync that was
// answered before does nothing; one that failed can be applied again.
func (h *Handset) Apply(ref token.Ref, a SyncAnswer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.purses[ref]
	if p == nil || p.asked == nil || p.asked.ID != a.ID {
		return nil
	}
	if a.BundleID != "" {
		if err := h.take(ref, p, a); err != nil {
			return err
		}
	}
	if err := p.obey(a.Scripts); err != nil {
		return err
	}
	for _, ctr := range p.reported {
		p.heard[ctr] = true
	}
	p.asked, p.reported, p.remaining = nil, nil, a.Remaining
	if !a.At.IsZero() {
		h.ahead = max(0, h.cfg.Now().Sub(a.At))
	}
	return nil
}

// obey carries out all scripts that are for bundles of the card. There is one for each
// bundle of the token, also for those that another phone has, or that this one had
// before it started anew.
func (p *purse) obey(scripts [][]byte) (failed error) {
	for _, s := range scripts {
		if p.card == nil {
			break
		}
		if err := p.card.Obey(s); err != nil && !errors.Is(err, ErrSealed) {
			failed = err
		}
	}
	return failed
}

// take opens a bundle and puts it on the token's card.
func (h *Handset) take(ref token.Ref, p *purse, a SyncAnswer) error {
	b, err := h.device.OpenGuarded(a.Bundle, a.Hardware, p.next)
	if err != nil {
		return err
	}
	if b.ID != a.BundleID || b.Ref != ref || b.Device != h.id || b.Epoch != h.epoch {
		b.Wipe()
		return fmt.Errorf("%w: it is for another token, device or PIN", ErrSealed)
	}
	id, script, card := b.ID, b.payload.Script, p.card
	if card != nil {
		err = card.Add(b)
	} else {
		card, err = NewCard(b, Config{Journal: p.journal, Seal: h.sealTap, Now: h.cfg.Now, Rand: h.cfg.Rand})
	}
	if err != nil { // the answer can be applied again: the key of its proof stays, and nothing is acknowledged
		return err
	}
	p.card, p.ack, p.script, p.next = card, id, script, nil
	return nil
}

func (h *Handset) sealTap(t payload.Tap) (string, error) {
	plain := t.Bytes()
	defer clear(plain)
	return sealTo(h.cfg.SyncKey, plain)
}

// Ack proves that the newest bundle of a token was opened; ok is false when there
// is none.
func (h *Handset) Ack(ref token.Ref) (bundleID string, mac [payload.AckSize]byte, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.purses[ref]
	if p == nil || p.ack == "" {
		return "", mac, false
	}
	return p.ack, payload.Ack(p.script, p.ack), true
}

// Vouched gives the handset a platform's newer verdict on it, which it passes on
// with every sync.
func (h *Handset) Vouched(verdict string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.integrity = &payload.Integrity{Verdict: verdict, At: at.Unix()}
}

// spentSince sums what was paid and the service has not heard of.
func (c *Card) spentSince(heard map[uint16]bool) (sum token.Amount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	recs, err := c.cfg.Journal.Records()
	if err != nil {
		return 0
	}
	for _, r := range recs {
		if !heard[r.Ctr] {
			sum += token.Amount(r.Amount)
		}
	}
	return sum
}

// ready reports whether the card could pay now.
func (c *Card) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live() != nil
}

// ends is when the card's token ends.
func (c *Card) ends() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest.cred.NotAfter
}
