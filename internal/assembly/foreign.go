package assembly

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/jwks"
)

// ForeignIssuer is another issuer whose access tokens are believed.
type ForeignIssuer struct {
	// Name stands before its subjects in records. Required.
	Name string `yaml:"name"`
	// Issuer is iss of its tokens, an https URL. Required.
	Issuer string `yaml:"issuer"`
	// Audience is aud of its tokens that are meant for this service. Required.
	Audience string `yaml:"audience"`
	// JWKSURL is where its keys are, an https URL. Required; redirects are not
	// followed.
	JWKSURL string `yaml:"jwks_url"`
	// CAFile holds the roots, PEM, that its TLS certificate is checked by. Empty:
	// those of the system.
	CAFile string `yaml:"ca_file"`
	// MaxLife is the longest life of a token, up to 24h: it cannot be called back.
	// 0: 1h.
	MaxLife time.Duration `yaml:"max_life"`
	// Bound refuses tokens that are not bound to a client certificate.
	Bound bool `yaml:"bound"`
	// Grants say what the bearers of its tokens are; the first that fits counts.
	// At least one.
	Grants []ForeignGrant `yaml:"grants"`
}

// ForeignGrant says what the bearers of some tokens are.
type ForeignGrant struct {
	// Claim is a claim at the top of the token that holds Value, alone or in a list.
	Claim string `yaml:"claim"`
	Value string `yaml:"value"`
	// Role and Scopes are what they get. A token's own scope narrows it.
	Role   access.Role     `yaml:"role"`
	Scopes []access.Action `yaml:"scopes"`
	// Requestor and Terminal are as with registered clients.
	Requestor string `yaml:"requestor"`
	Terminal  string `yaml:"terminal"`
}

func (i ForeignIssuer) issuer() identity.Issuer {
	out := identity.Issuer{Name: i.Name, Issuer: i.Issuer, Audience: i.Audience, MaxLife: i.MaxLife, Bound: i.Bound}
	for _, g := range i.Grants {
		out.Grants = append(out.Grants, identity.Rule{Claim: g.Claim, Value: g.Value, Role: g.Role, Scopes: g.Scopes, Requestor: g.Requestor, Terminal: g.Terminal})
	}
	return out
}

func (c Config) validateIssuers(v *checker) {
	names, urls := map[string]bool{}, map[string]bool{c.Identity.IssuerURL: true}
	for n, i := range c.Identity.Issuers {
		at := fmt.Sprintf("identity.issuers[%d]", n)
		if err := i.issuer().Check(); err != nil {
			v.add("%s: %v", at, err)
		}
		if err := jwks.Check(i.JWKSURL); err != nil {
			v.add("%s.jwks_url: %v", at, err)
		}
		if names[i.Name] || urls[i.Issuer] {
			v.add("%s: its name or issuer is there twice", at)
		}
		names[i.Name], urls[i.Issuer] = true, true
		if i.Bound && !c.TLS.ClientCertificates {
			v.add("%s.bound: needs tls.client_certificates", at)
		}
	}
}

// foreignIssuers are the issuers of the configuration, each with its keys.
func (c Config) foreignIssuers(o Options) (all []identity.Issuer, err error) {
	for _, i := range c.Identity.Issuers {
		var roots *x509.CertPool
		if i.CAFile != "" {
			text, err := os.ReadFile(c.Path(i.CAFile))
			if err != nil {
				return nil, fmt.Errorf("reading the roots of issuer %s: %w", i.Name, err)
			}
			if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(text) {
				return nil, errors.New("reading the roots of issuer " + i.Name + ": no certificate in " + i.CAFile)
			}
		}
		out := i.issuer()
		if out.Keys, err = jwks.New(jwks.Config{URL: i.JWKSURL, Roots: roots, Log: o.Log, Now: o.Now}); err != nil {
			return nil, fmt.Errorf("issuer %s: %w", i.Name, err)
		}
		all = append(all, out)
	}
	return all, nil
}
