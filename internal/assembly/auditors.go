package assembly

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/audit/tree"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// auditKey signs checkpoints of the audit record.
var auditKey = keyref.Ref{Usage: keyref.AuditSign, Version: 1}

// path is where a file stands that goes with the record.
func (a Audit) path(c Config, suffix string) string { return c.Path(a.File) + suffix }

// AuditKey returns the public key of checkpoints.
func AuditKey(ctx context.Context, t *group.Group) (key tree.Key, err error) {
	if err := t.Require(ctx, auditKey); err != nil {
		return key, err
	}
	key.Public, err = t.PublicKey(ctx, auditKey)
	return key, err
}

// auditors makes what answers auditors, and signs a checkpoint every so often.
func (p *parts) auditors(ctx context.Context, s *Service) (*auditor.Service, error) {
	public, err := p.hsm.PublicKey(ctx, auditKey)
	if err != nil {
		return nil, err
	}
	every := p.cfg.Audit.CheckpointEvery
	if every == 0 {
		every = time.Minute
	}
	sign := func(ctx context.Context, digest [32]byte) ([64]byte, error) { return p.hsm.Sign(ctx, auditKey, digest) }
	a, err := auditor.New(auditor.Config{Record: p.cfg.Path(p.cfg.Audit.File), Kept: p.cfg.Audit.path(p.cfg, ".checkpoints"),
		Keeper: p.cfg.Identity.IssuerURL, Tree: p.tree, Key: tree.Key{Public: public, Sign: sign}, Gate: p.gate, Now: p.opt.Now})
	if err != nil {
		return nil, err
	}
	failed := func(err error) {
		p.opt.Log.ErrorContext(ctx, "no checkpoint of the audit record", "error", err.Error())
	}
	s.closers = append(s.closers, a.Close, p.chores.run(ctx, "audit-checkpoints", func(ctx context.Context) { a.Run(ctx, every, failed) }))
	return a, nil
}
