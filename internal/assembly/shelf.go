package assembly

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/keyceremony/register"
)

// readShelfEvery is how soon the service sees a new transcript.
const readShelfEvery = 5 * time.Second

// papers names what the token holds that no ceremony finished or tells of. The
// service starts all the same: what it needs was found to be fit.
func (p *parts) papers(ctx context.Context) error {
	left, err := p.hsm.Unlabelled(ctx)
	if err != nil {
		return err
	}
	for _, name := range left {
		p.opt.Log.WarnContext(ctx, "a key ceremony was cut off and left something in the token: resume it", "object", name)
	}
	list, err := p.hsm.Inventory(ctx)
	if err != nil {
		return err
	}
	flags := map[string]int{}
	p.cfg.Shelf(p.opt.Now).Annotate(list)
	for _, k := range list {
		if k.Flag != "" {
			flags[k.Flag]++
		}
	}
	for flag, n := range flags {
		p.opt.Log.WarnContext(ctx, "keys are flagged: see keys list", "flag", flag, "keys", n)
	}
	return nil
}

// Shelf is the folder of transcripts that the configuration names.
func (c Config) Shelf(now func() time.Time) *register.Shelf {
	s := &register.Shelf{Token: c.HSM.Token, Every: readShelfEvery, Now: now,
		Trust: register.Trust{Officers: c.HSM.Officers, Rehearsals: c.Environment == Rehearsal}}
	if c.HSM.Transcripts != "" {
		s.Dir = c.Path(c.HSM.Transcripts)
	}
	return s
}
