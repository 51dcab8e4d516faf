package edge

import (
	"context"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/payload"
)

// reports opens what a phone remembers of its taps. One that does not open, or is
// of another slot or token than its report says, is a tap that nobody knows: the
// account calls that a gap.
func (s *Service) reports(ctx context.Context, said []payload.Report, t token.Token) (out []account.Report, err error) {
	for _, r := range said {
		one := account.Report{Ctr: r.Ctr, Status: account.ReportStatus(r.Status)}
		if r.Status == payload.Used {
			if one.Tap, err = s.tap(ctx, r, t); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func (s *Service) tap(ctx context.Context, r payload.Report, t token.Token) (*account.Tap, error) {
	plain, err := s.cfg.Opener.Plain(ctx, r.Tap)
	defer clear(plain)
	if err != nil {
		if fault.KindOf(err) == fault.Intake {
			return nil, nil
		}
		return nil, err
	}
	p, err := payload.ParseTap(plain)
	if err != nil || p.UD.Ctr != r.Ctr || p.Seq != r.Ctr || p.Number.Digits() != t.Number.Digits() {
		return nil, nil
	}
	return &account.Tap{Terminal: p.Terminal, Issuer: p.Issuer, Number: p.Number, UD: p.UD, Rand: p.Rand, Seq: p.Seq,
		Amount: p.Amount, Type: cryptogram.Type(p.Type), TermSeq: p.TermSeq, At: cryptogram.DateTime(p.At), KeyVer: p.KeyVersion,
		AlgID: p.Algorithm, Balance: p.Balance, MAC1: p.MAC1, MAC2: p.MAC2, TAC: p.TAC, ListVersion: p.ListVersion}, nil
}
