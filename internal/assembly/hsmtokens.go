package assembly

import (
	"context"
	"errors"

	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/internal/obs"
)

var errOut = errors.New("the token is out: the log says why")

// severalTokens are those of an HSM of more than one; one alone is the part hsm.
func (p *parts) severalTokens() []group.State {
	if all := p.hsm.States(); len(all) > 1 {
		return all
	}
	return nil
}

// tokenParts show how each token does. The service is ready while one answers.
func (p *parts) tokenParts() (all []api.Part) {
	for _, s := range p.severalTokens() {
		all = append(all, api.Part{Name: "hsm-" + s.Name, Spare: true, Check: func(context.Context) error {
			if s.Up() {
				return nil
			}
			return errOut
		}})
	}
	return all
}

// tokenGauges are what metrics show of each token, by its place in the
// configuration.
func (p *parts) tokenGauges() (all []obs.Gauge) {
	for _, s := range p.severalTokens() {
		label := map[string]string{"hsm": s.Name}
		all = append(all,
			obs.Gauge{Name: "hsm_up", Help: "1 while the token is given work.", Labels: label, Value: func() float64 {
				if s.Up() {
					return 1
				}
				return 0
			}},
			obs.Gauge{Name: "hsm_busy", Help: "Calls that the token is at.", Labels: label, Value: func() float64 { return float64(s.Busy()) }})
	}
	return all
}
