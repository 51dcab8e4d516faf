// Package inventory shows authorised callers which keys the HSM holds, and nothing about their values.
package inventory

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Token lists stored keys; *hsm.Token is one.
type Token interface {
	Inventory(ctx context.Context) ([]keyref.Info, error)
}

// Service answers callers.
type Service struct {
	Gate  audit.Gate
	Token Token
	// Annotate adds what ceremonies say of the keys; nil: nothing is known.
	Annotate func([]keyref.Info)
}

// Keys returns every key that the HSM holds under a key reference: its label,
// usage, version, check value, and whether it was made inside. The reading is
// recorded first.
func (s *Service) Keys(ctx context.Context, c access.Caller) ([]keyref.Info, error) {
	if err := s.Gate.Check(ctx, c, access.KeyRead, "keys"); err != nil {
		return nil, err
	}
	list, err := s.Token.Inventory(ctx)
	if err == nil && s.Annotate != nil {
		s.Annotate(list)
	}
	return list, err
}
