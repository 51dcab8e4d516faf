package assembly

import (
	"context"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/detokenize/velocity"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/intake"
)

// Detokenize bounds how card numbers are given back.
type Detokenize struct {
	// PerMinute is how many card numbers one caller is given in a minute. 0: no
	// limit.
	PerMinute int `yaml:"per_minute"`
	// Burst is how many at once, after a time of rest; a batch counts each of
	// its records. 0: as many as in a minute.
	Burst int `yaml:"burst"`
	// Callers are limits of their own, by client id.
	Callers map[string]Velocity `yaml:"callers"`
}

// Velocity is the limit of one caller; see [Detokenize].
type Velocity struct {
	PerMinute int `yaml:"per_minute"`
	Burst     int `yaml:"burst"`
}

// Place is what is known of where terminals stand, for the controls of tokens.
type Place struct {
	// Merchant is the merchant's id.
	Merchant string `yaml:"merchant"`
	// MCC is the merchant category code, 4 digits.
	MCC string `yaml:"mcc"`
	// Country is an ISO 3166-1 numeric code, 3 digits.
	Country string `yaml:"country"`
	// Latitude and Longitude are where the terminal stands, in degrees; 0 and 0:
	// nobody knows. Only for terminals by their number.
	Latitude  float64 `yaml:"latitude"`
	Longitude float64 `yaml:"longitude"`
}

var (
	merchantID  = regexp.MustCompile(`^[A-Za-z0-9._-]{0,35}$`)
	mccCode     = regexp.MustCompile(`^([0-9]{4})?$`)
	countryCode = regexp.MustCompile(`^([0-9]{3})?$`)
)

// validateOpening checks limits and places.
func (c Config) validateOpening(v *checker) {
	const most = 1_000_000
	v.between("detokenize.per_minute", c.Detokenize.PerMinute, 0, most)
	v.between("detokenize.burst", c.Detokenize.Burst, 0, most)
	for _, id := range slices.Sorted(maps.Keys(c.Detokenize.Callers)) {
		v.between("detokenize.callers."+id+".per_minute", c.Detokenize.Callers[id].PerMinute, 0, most)
		v.between("detokenize.callers."+id+".burst", c.Detokenize.Callers[id].Burst, 0, most)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Places)) {
		p := c.Places[name]
		if !merchantID.MatchString(p.Merchant) || !mccCode.MatchString(p.MCC) || !countryCode.MatchString(p.Country) {
			v.add("places.%s: a merchant id of up to 35 letters, digits, dots, dashes and underlines; mcc with 4 digits, country with 3, in quotes", name)
		}
	}
}

// points are where terminals stand, by their number.
func (c Config) points() detect.Known {
	all := make(map[[6]byte]detect.Point)
	for name, p := range c.Places {
		number, err := hex.DecodeString(name)
		if err == nil && len(number) == 6 && (p.Latitude != 0 || p.Longitude != 0) {
			all[[6]byte(number)] = detect.Point{Lat: p.Latitude, Lon: p.Longitude}
		}
	}
	return func(terminal [6]byte) (detect.Point, bool) { p, ok := all[terminal]; return p, ok }
}

// places is what the configuration says of terminals and their groups.
func (c Config) places() map[string]account.Place {
	all := make(map[string]account.Place, len(c.Places))
	for name, p := range c.Places {
		all[name] = account.Place{Merchant: p.Merchant, MCC: p.MCC, Country: p.Country}
	}
	return all
}

// detokenizer gives card numbers back, within the limits of the configuration,
// sealed to keys of the register and signed in the HSM where that is wanted.
func (p *parts) detokenizer(ctx context.Context, ident *identity.Service, taps *account.Service) (*detokenize.Service, error) {
	c := p.cfg.Detokenize
	callers := make(map[string]velocity.Rate, len(c.Callers))
	for id, v := range c.Callers {
		callers[id] = velocity.Rate(v)
	}
	limits, err := velocity.New(velocity.Config{DB: p.db, Default: velocity.Rate{PerMinute: c.PerMinute, Burst: c.Burst},
		Callers: callers, Now: p.opt.Now})
	if err != nil {
		return nil, err
	}
	ref := keyref.Ref{Usage: keyref.ResultSign, Version: 1}
	public, err := p.hsm.PublicKey(ctx, ref)
	if err != nil {
		return nil, err
	}
	return detokenize.New(detokenize.Config{
		Opener: p.vault.Opener(), Evidence: taps, Gate: p.gate, Recipients: ident, Limiter: limits,
		Signer: &detokenize.Signer{Public: public, Issuer: p.cfg.Identity.IssuerURL,
			Sign: func(ctx context.Context, digest [32]byte) ([64]byte, error) { return p.hsm.Sign(ctx, ref, digest) }},
		Zone: p.days.Zone, Now: p.opt.Now,
	})
}

// intake opens cards that were sealed to the HSM.
func (p *parts) intake(ctx context.Context) (*intake.Service, error) {
	return p.opener(ctx, keyref.Intake)
}
