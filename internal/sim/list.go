package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/deny"
)

// poll is how old a list gets before a terminal with a network asks again.
const poll = 5 * time.Minute

// hear pins the service's keys for readers, reads the signed policy, and opens
// the deny list that the reader keeps.
func (r *Reader) hear(ctx context.Context, cfg ReaderConfig) (terminal.Policy, error) {
	pinned, err := pin(ctx, cfg.Client)
	if err != nil {
		return terminal.Policy{}, err
	}
	doc, err := cfg.Client.TerminalPolicy(ctx)
	if err != nil {
		return terminal.Policy{}, fmt.Errorf("fetching the terminal policy: %w", err)
	}
	policy, err := deny.OpenPolicy(doc, pinned, cfg.Now())
	if err != nil {
		return terminal.Policy{}, fmt.Errorf("reading the terminal policy: %w", err)
	}
	if r.list, err = deny.OpenFile(filepath.Join(cfg.Dir, "denylist"), pinned); err != nil {
		return terminal.Policy{}, err
	}
	r.class, r.now = cfg.Class, cfg.Now
	if r.class == 0 {
		r.class = deny.Gate
	}
	return terminal.PolicyOf(policy, r.class), r.Refresh(ctx)
}

// pin fetches the keys of lists and policies, as a terminal is given them when
// it is set up. The connection proves the service.
func pin(ctx context.Context, c *client.Client) (deny.Keys, error) {
	b, err := c.DenyKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetching the keys of deny lists: %w", err)
	}
	var set struct{ Keys []wire.PublicKey }
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("reading the keys of deny lists: %w", err)
	}
	pinned := deny.Keys{}
	for _, k := range set.Keys {
		id, public, err := parseKey(k)
		if err != nil {
			return nil, fmt.Errorf("reading the keys of deny lists: %w", err)
		}
		pinned[id] = public
	}
	return pinned, nil
}

// parseKey reads a signing key and its id.
func parseKey(k wire.PublicKey) (id uint16, public *ecdsa.PublicKey, err error) {
	n, err := strconv.ParseUint(k.KeyID, 10, 16)
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	if err = errors.Join(err, errX, errY); err != nil {
		return 0, nil, err
	}
	public, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	return uint16(n), public, err
}

// Refresh asks for a newer deny list, as a vehicle does in its depot.
func (r *Reader) Refresh(ctx context.Context) error {
	return r.list.Update(ctx, source{r.client}, r.now())
}

// List is the deny list that the reader holds.
func (r *Reader) List() *deny.List { return r.list.Current() }

// listen asks again when it is time. A terminal that hears nothing goes on with
// what it has: its list grows old, and it takes less.
func (r *Reader) listen(ctx context.Context) {
	list, now := r.list.Current(), r.now()
	if r.class != deny.Vehicle && (now.Sub(list.Issued()) >= poll || list.Ahead(now)) {
		_ = r.Refresh(ctx)
	}
}

// source is the API as a reader's list sees it.
type source struct{ c *client.Client }

// Snapshot implements [deny.Source].
func (s source) Snapshot(ctx context.Context) ([]byte, error) { return s.c.DenySnapshot(ctx, "") }

// Delta implements [deny.Source].
func (s source) Delta(ctx context.Context, from uint64, tag string) ([]byte, error) {
	doc, err := s.c.DenyDelta(ctx, from, tag)
	if client.IsProblem(err, "list-too-old") {
		return nil, deny.ErrGone
	}
	return doc, err
}
