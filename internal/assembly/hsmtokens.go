package assembly

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/hsm"
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

// recycled tells the log of a module that was made anew, or not.
func recycled(log *slog.Logger) func(time.Duration, error) {
	return func(took time.Duration, err error) {
		if err != nil {
			log.Warn("the HSM's module was not recycled", "error", err.Error())
			return
		}
		log.Info("the HSM's module was recycled, because it does not give back memory", "calls_waited_ms", took.Milliseconds())
	}
}

// stalled tells the log of a module that hangs while it is made anew.
func stalled(log *slog.Logger) func(time.Duration, error) {
	return func(took time.Duration, err error) {
		if err != nil {
			log.Error("every call of the HSM is refused until its module returns: if it does not, start the service again", "error", err.Error(),
				"after_ms", took.Milliseconds())
			return
		}
		log.Info("the HSM's module returned", "after_ms", took.Milliseconds())
	}
}

// recycleGauges tell a module that was made anew from one that failed on the way,
// and from one that was left alone.
func recycleGauges(token string, now func() hsm.Recycled) (all []obs.Gauge) {
	for outcome, count := range map[string]func(hsm.Recycled) uint64{
		"held":    func(r hsm.Recycled) uint64 { return r.Times },
		"failed":  func(r hsm.Recycled) uint64 { return r.Failed },
		"put_off": func(r hsm.Recycled) uint64 { return r.PutOff },
	} {
		all = append(all, obs.Gauge{Name: "hsm_recycled", Counts: true,
			Help:   "How often the token's module was made anew to give back memory, failed to be, or was left alone for the time being.",
			Labels: map[string]string{"hsm": token, "outcome": outcome}, Value: func() float64 { return float64(count(now())) }})
	}
	return all
}

// newPIN tells the log of a login with a PIN that was not tried before.
func newPIN(log *slog.Logger) func(error) {
	return func(err error) {
		if err != nil {
			log.Error("the HSM refused the PIN that its file holds now: nothing works until the file is corrected, which needs no restart", "error", err.Error())
			return
		}
		log.Info("logged in to the HSM with the PIN that its file holds now")
	}
}

// tokenGauges are what metrics show of each token, by its place in the
// configuration.
func (p *parts) tokenGauges() (all []obs.Gauge) {
	for _, s := range p.hsm.States() {
		label := map[string]string{"hsm": s.Name}
		all = append(all, recycleGauges(s.Name, s.Recycled)...)
		all = append(all,
			obs.Gauge{Name: "hsm_recycle_seconds", Help: "How long calls waited for that the last time.", Labels: label,
				Value: func() float64 { return s.Recycled().Took.Seconds() }})
	}
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
