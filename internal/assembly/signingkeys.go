package assembly

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/keyceremony/register"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// signingKeys are the versions of the key that signs access tokens. They change
// while the service runs: a version that is PENDING or RETIRING in the
// transcripts of key ceremonies is believed, the ACTIVE one signs. In a
// rehearsal, which needs no ceremony, the newest version that the HSM holds does.
type signingKeys struct {
	cfg   Config
	hsm   *group.Group
	opt   Options
	shelf *register.Shelf
	ident *identity.Service

	mu     sync.Mutex
	looked time.Time // by the machine's clock: it bounds work
	held   map[uint8]identity.Key
	signs  uint8
	fails  repeats
}

// lookAgain bounds how often strangers who name unknown keys make us look.
const lookAgain = time.Second

func (p *parts) identity(ctx context.Context) (*identity.Service, error) {
	c := p.cfg.Identity
	shelf := p.cfg.Shelf(p.opt.Now)
	shelf.Every = lookAgain
	k := &signingKeys{cfg: p.cfg, hsm: p.hsm, opt: p.opt, shelf: shelf, held: map[uint8]identity.Key{}, signs: c.signingVersion()}
	if err := k.take(ctx, k.signs); err != nil {
		return nil, err
	}
	issuers, err := p.cfg.foreignIssuers(p.opt)
	if err != nil {
		return nil, err
	}
	k.ident, err = identity.New(identity.Config{
		Registry: clientdb.New(p.db, p.opt.Now), Keys: k.list([]uint8{k.signs}), Issuers: issuers, Renew: k.renew,
		Issuer: c.IssuerURL, Audience: c.Audience, AccessTTL: c.AccessTTL, Now: p.opt.Now,
	})
	if err != nil {
		return nil, err
	}
	k.look(ctx)
	p.watch = append(p.watch, k.look)
	return k.ident, nil
}

func (i Identity) signingVersion() uint8 {
	if i.KeyVersion == 0 {
		return 1
	}
	return i.KeyVersion
}

func (k *signingKeys) ref(v uint8) keyref.Ref { return keyref.Ref{Usage: keyref.JWTSign, Version: v} }

// take makes a version ready.
func (k *signingKeys) take(ctx context.Context, v uint8) error {
	if _, ok := k.held[v]; ok {
		return nil
	}
	ref := k.ref(v)
	if err := k.hsm.RequireLate(ctx, ref); err != nil {
		return err
	}
	public, err := k.hsm.PublicKey(ctx, ref)
	if err != nil {
		return err
	}
	k.held[v] = identity.Key{Public: public, Sign: func(ctx context.Context, digest [32]byte) ([64]byte, error) {
		return k.hsm.Sign(ctx, ref, digest)
	}}
	return nil
}

// list is what is held of some versions, in their order.
func (k *signingKeys) list(versions []uint8) (keys []identity.Key) {
	for _, v := range versions {
		if key, ok := k.held[v]; ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// renew looks for new keys, but not again at once.
func (k *signingKeys) renew(ctx context.Context) {
	k.mu.Lock()
	recent := time.Since(k.looked) < lookAgain
	k.mu.Unlock()
	if !recent {
		k.look(ctx)
	}
}

// look brings the keys in line with what ceremonies did.
func (k *signingKeys) look(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked = time.Now()
	signs, believed, err := k.versions(ctx)
	k.fails.warn(ctx, k.opt.Log, "keys of access tokens stay as they are", err)
	if err != nil {
		return
	}
	if signs != k.signs {
		k.opt.Log.InfoContext(ctx, "access tokens are signed with another key version", "version", signs)
	}
	k.signs = signs
	believed = slices.DeleteFunc(believed, func(v uint8) bool { return v == signs })
	if err := k.ident.SetKeys(k.list(append([]uint8{signs}, believed...))); err != nil {
		k.opt.Log.ErrorContext(ctx, "keys of access tokens stay as they are", "error", err.Error())
	}
}

// versions says which version signs and which ones are believed; all of them are
// ready. What signs goes on signing until another one may.
func (k *signingKeys) versions(ctx context.Context) (signs uint8, believed []uint8, err error) {
	r, err := k.shelf.Register()
	if err != nil {
		return 0, nil, err
	}
	states := r.States(k.cfg.HSM.Token)
	told := func(v uint8) script.State { return states[k.ref(v).Label()] }
	signs = k.signs
	newest := slices.Max(append(r.Verifying(k.cfg.HSM.Token, "", keyref.JWTSign), k.signs))
	for v := uint8(1); v <= newest+1 && v > 0; v++ {
		switch state := told(v); {
		case state == script.Retired || state == script.Destroyed:
			delete(k.held, v)
			continue
		case state == "" && k.cfg.Environment != Rehearsal && v != k.cfg.Identity.signingVersion():
			continue // in production a key that no ceremony tells of is nobody's
		}
		if err := k.take(ctx, v); err != nil {
			if !errors.Is(err, hsm.ErrKeyMissing) {
				return 0, nil, err
			}
			delete(k.held, v)
			continue
		}
		believed = append(believed, v)
		if state := told(v); state == script.Active || state == "" && v > signs {
			signs = v
		}
	}
	if _, ok := k.held[signs]; !ok {
		return 0, nil, errors.New("the key that signs is not there any more, and no other may")
	}
	return signs, believed, nil
}
