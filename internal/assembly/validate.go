package assembly

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// keyword finds libpq's other form of naming a server, "host=one password=…".
var keyword = regexp.MustCompile(`(?:^|\s)(?:host|hostaddr|port|dbname|user|password|service|sslmode)\s*=`)

// validateDSN keeps passwords out of the configuration: what is there is shown by
// commands, and a file would be given that name.
func (c Config) validateDSN(v *checker) {
	dsn := c.Store.DSN
	if !store.IsPostgres(dsn) {
		if keyword.MatchString(dsn) || strings.Contains(dsn, "://") {
			v.add("store.dsn: names neither a file nor a server: a server is named by a URL, postgres://HOST/DATABASE")
		}
		return
	}
	u, err := url.Parse(dsn)
	if err != nil { // which repeats it
		v.add("store.dsn: is no URL that can be read")
		return
	}
	_, there := u.User.Password()
	if q := u.Query(); there || q.Has("password") || q.Has("sslpassword") {
		v.add("store.dsn: holds a password: put it into a file and name that with ?passfile=")
	}
}

// Validate checks c without touching the HSM, the database or any file. The
// error lists everything that is wrong, one line each.
func (c Config) Validate() error {
	v := &checker{}
	if c.Environment != Rehearsal && c.Environment != Production {
		v.add("environment: must be %s or %s", Rehearsal, Production)
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !portFits(port) {
		v.add("listen: must be host:port, for example 127.0.0.1:8443")
	}
	v.required("tls.cert_file", c.TLS.CertFile)
	v.required("tls.key_file", c.TLS.KeyFile)
	v.required("hsm.module", c.HSM.Module)
	v.required("hsm.token", c.HSM.Token)
	v.required("hsm.pin_file", c.HSM.PINFile)
	v.between("hsm.workers", c.HSM.Workers, 0, 256)
	v.between("hsm.max_sessions", c.HSM.MaxSessions, 0, 4096)
	v.between("hsm.recycle_after", c.HSM.RecycleAfter, -1, 1_000_000_000)
	c.validateTokenList(v)
	c.validateSM4(v)
	v.required("store.dsn", c.Store.DSN)
	c.validateDSN(v)
	if c.StopNotice < 0 || c.StopNotice > time.Minute {
		v.add("stop_notice: up to 1m")
	}
	v.between("max_in_flight", c.MaxInFlight, 0, 65536)
	v.required("audit.file", c.Audit.File)
	_, err := c.Days()
	v.each("calendar", err)
	c.validateVault(v)
	c.validateRealms(v)
	c.validateSlots(v)
	c.validateTokens(v)
	if _, err := c.tiers(); err != nil {
		v.add("tiers: %v", err)
	}
	v.between("pin.parallel", c.PIN.Parallel, 0, 64)
	v.between("pin.waiting", c.PIN.Waiting, 0, 4096)
	c.validateOpening(v)
	c.validateDenyList(v)
	c.validateEstate(v)
	c.validateQuorum(v)
	c.validateLimits(v)
	c.validateTraces(v)
	if err := issuerhost.Check(c.issuers(), c.EMV.Profiles); err != nil {
		v.add("emv: %v", err)
	}
	v.required("identity.issuer_url", c.Identity.IssuerURL)
	if at, err := url.Parse(c.Identity.IssuerURL); c.Identity.IssuerURL != "" && (err != nil || at.Scheme != "https" || at.Host == "") {
		v.add("identity.issuer_url: must be the URL where clients find the service, for example https://tapvault.example:8443")
	}
	v.required("identity.audience", c.Identity.Audience)
	c.validateIssuers(v)
	if t := c.Identity.AccessTTL; t != 0 && (t < time.Minute || t > time.Hour) {
		v.add("identity.access_ttl: must be 1m to 1h")
	}
	return errors.Join(v.errs...)
}

// validateTokenList wants no token twice.
func (c Config) validateTokenList(v *checker) {
	all := c.tokens()
	for i, t := range all {
		for _, x := range all[:i] {
			if t.Module == x.Module && t.Token == x.Token {
				v.add("hsm.others[%d]: it is a token that is there already", i-1)
			}
		}
	}
	if len(all) > 16 {
		v.add("hsm.others: 15 at most")
	}
}

// Days is the calendar of service days.
func (c Config) Days() (token.Calendar, error) {
	var wrong []error
	zone, err := time.LoadLocation(c.Calendar.Zone)
	if err != nil || c.Calendar.Zone == "" {
		wrong = append(wrong, fmt.Errorf("zone: %q is not a time zone; for example Asia/Shanghai", c.Calendar.Zone))
	}
	at, err := time.Parse("15:04", c.Calendar.CutOver)
	if err != nil {
		wrong = append(wrong, errors.New("cut_over: must be HH:MM, for example \"03:00\" in quotes"))
	}
	if wrong != nil {
		return token.Calendar{}, errors.Join(wrong...)
	}
	return token.Calendar{Zone: zone, CutOver: time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute}, nil
}

func (c Config) validateVault(v *checker) {
	if len(c.Vault.Ranges) == 0 {
		v.add("vault.ranges: at least one token range is needed")
	}
	if q := c.Vault.Quarantine; q != 0 && q < 31*24*time.Hour {
		v.add("vault.quarantine: must be 744h or more, as late evidence is taken for 30 days")
	}
	if len(c.Vault.BINController) != 4 {
		v.add("vault.bin_controller: must be 4 upper-case letters or digits")
	}
	v.each("vault.ranges", vault.CheckRanges(c.ranges()))
	names := map[string]bool{}
	for i, r := range c.Vault.Ranges {
		v.name(fmt.Sprintf("vault.ranges[%d].name", i), r.Name, names)
	}
}

// ranges are the ranges as the vault takes them.
func (c Config) ranges() (tokens []vault.Range, cards []vault.CardRange) {
	for _, r := range c.Vault.Ranges {
		tokens = append(tokens, vault.Range(r))
	}
	for _, r := range c.Vault.CardRanges {
		cards = append(cards, vault.CardRange(r))
	}
	return tokens, cards
}

func (c Config) validateRealms(v *checker) {
	if len(c.Realms) == 0 {
		v.add("realms: at least one realm is needed")
	}
	names := map[string]bool{}
	for i, r := range c.Realms {
		at := fmt.Sprintf("realms[%d]", i)
		v.name(at+".name", r.Name, names)
		v.hexBytes(at+".issuer", r.Issuer, 8, len(r.Factors) == 0)
		if err := r.Scheme().Validate(); err != nil {
			v.add("%s: %v", at, err)
		}
		for k, id := range r.Requestors {
			if _, err := token.ParseRequestor(id); err != nil {
				v.add("%s.requestors[%d]: 11 digits, in quotes", at, k)
			}
		}
		if r.Test && c.Environment == Production {
			v.add("%s.test: not in production", at)
		}
	}
}

// Scheme is the realm as the cryptogram package sees it.
func (r Realm) Scheme() cryptogram.Scheme {
	s := cryptogram.Scheme{Realm: r.Name, Factors: r.Factors, Algorithms: r.Algorithms, KeyVersions: r.KeyVersions,
		TAC: r.TAC, OverdraftTAC: r.OverdraftTAC, AuthCode: r.AuthCode}
	if s.TAC == "" {
		s.TAC = cryptogram.TACFold
	}
	if s.OverdraftTAC == "" {
		s.OverdraftTAC = cryptogram.TACFold
	}
	return s
}

func (c Config) validateSlots(v *checker) {
	i := slices.IndexFunc(c.Realms, func(r Realm) bool { return r.Name == c.Slots.Realm })
	switch {
	case i < 0:
		v.add("slots.realm: %q is not one of the realms", c.Slots.Realm)
	case len(c.Realms[i].Factors) == 3:
		v.add("slots.realm: cards of %s use three levels, which phones need for themselves", c.Slots.Realm)
	case c.Realms[i].Issuer == "":
		v.add("slots.realm: %s has no issuer", c.Slots.Realm)
	}
	if c.Slots.KeyVersion&0x0F == 0 {
		v.add("slots.key_version: its low four bits stand in every use descriptor and may not be 0")
	}
	if e := c.Slots.ElementKeyVersion; e != 0 && (e&0x0F == 0 || e&0x0F == c.Slots.KeyVersion&0x0F) {
		v.add("slots.element_key_version: its low four bits may be neither 0 nor those of slots.key_version")
	}
	v.between("slots.count", c.Slots.Count, 2, 64)
	v.between("slots.cap_fen", int(c.Slots.CapFen), 1, 1_000_000)
	if b, err := hex.DecodeString(c.Slots.AID); err != nil || len(b) < 5 || len(b) > 16 {
		v.add("slots.aid: 5 to 16 bytes in hex")
	}
}

// checker collects what is wrong.
type checker struct{ errs []error }

func (v *checker) add(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

// each adds what err says, a line for each error that was joined to it.
func (v *checker) each(name string, err error) {
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		v.add("%s: %s", name, line)
	}
}

func (v *checker) required(name, value string) {
	if value == "" {
		v.add("%s: is required", name)
	}
}

func (v *checker) between(name string, n, low, high int) {
	if n < low || n > high {
		v.add("%s: must be %d to %d", name, low, high)
	}
}

func (v *checker) hexBytes(name, value string, n int, optional bool) {
	if optional && value == "" {
		return
	}
	if b, err := hex.DecodeString(value); err != nil || len(b) != n {
		v.add("%s: must be %d hex digits", name, 2*n)
	}
}

var configName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (v *checker) name(at, value string, seen map[string]bool) {
	if !configName.MatchString(value) {
		v.add("%s: lower-case letters, digits and hyphens, at most 32", at)
	}
	if seen[value] {
		v.add("%s: %s is there twice", at, value)
	}
	seen[value] = true
}

// portFits reports whether a service can listen on a port: a number, or a name that
// the machine knows.
func portFits(port string) bool {
	_, err := net.LookupPort("tcp", port)
	return err == nil
}
