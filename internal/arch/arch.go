// Package arch holds the import table and the test that enforces it.
//
// The table is read with go/parser inside the test process, never through the
// go command: a test that shells out is answered from the test cache even
// after the files it would have read have changed.
package arch

// Anything in a line of [Table] lets a package import whatever it likes of
// ours: the roots that put the service together, and test kits.
const Anything = "*"

// Table lists, for each package, which packages of this module it may import.
// A line is complete: what is not listed is forbidden. Test files may import
// more than their package does.
var Table = map[string][]string{
	// layer 0: vocabulary
	"internal/fault":    {},
	"internal/digits":   {},
	"internal/aside":    {},
	"internal/durable":  {},
	"internal/hugepage": {},
	"internal/trace":    {},
	"internal/obs":      {},
	"hsm/keyref":        {},
	"api/wire":          {"internal/digits"},
	"softhsm-config":    {},
	"terminal/apdu":     {},
	"tokenize/ff1":      {},
	"internal/mac":      {},
	"internal/tdes":     {},
	"internal/gather":   {"internal/fault"},
	"internal/guess":    {"internal/fault"},
	"token":             {"internal/digits", "internal/fault"},
	"access":            {"internal/fault"},
	"event":             {"internal/fault", "token"},

	// layer 1: formats and the gate
	"audit":                  {"access", "internal/fault", "internal/trace"},
	"audit/trail":            {"access", "audit", "internal/aside", "internal/digits", "internal/durable", "internal/fault", "internal/trace"},
	"audit/tree":             {"internal/fault"},
	"audit/tree/treetest":    {"audit/tree"},
	"audit/auditor":          {"access", "audit", "audit/tree", "internal/durable", "internal/fault"},
	"cryptogram":             {"hsm/keyref", "internal/fault"},
	"cryptogram/softkey":     {"hsm/keyref", "internal/mac", "internal/tdes"},
	"cryptogram/emv":         {"hsm/keyref", "internal/fault", "internal/mac", "internal/tdes"},
	"cryptogram/conformance": {"cryptogram", "cryptogram/emv", "hsm/keyref", "internal/mac", "internal/tdes", "keyceremony/keyblock", "tokenize/ff1"},
	"wallet/credential":      {"token"},
	"wallet/payload":         {"token", "wallet/credential", "wallet/mask"},
	"wallet/mask":            {"token"},
	"internal/store":         {"access", "internal/fault", "internal/trace"},
	"identity":               {"access", "internal/fault"},
	"keyceremony":            {"hsm/keyref", "internal/fault", "internal/tdes", "keyceremony/keyblock"},
	"keyceremony/keyblock":   {"hsm/keyref", "internal/fault", "internal/mac", "internal/tdes"},
	"keyceremony/secret":     {},
	"keyceremony/shamir":     {"internal/fault"},
	"keyceremony/officer":    {"internal/fault"},
	"keyceremony/script":     {"hsm/keyref", "internal/fault", "keyceremony/keyblock", "keyceremony/officer"},
	"keyceremony/transcript": {"internal/durable", "internal/fault", "keyceremony/officer", "keyceremony/script"},
	"keyceremony/engine":     {"hsm", "hsm/keyref", "internal/durable", "internal/fault", "internal/tdes", "keyceremony/keyblock", "keyceremony/officer", "keyceremony/script", "keyceremony/secret", "keyceremony/shamir", "keyceremony/transcript"},
	"keyceremony/rehearsal":  {"hsm", "hsm/keyref", "internal/durable", "keyceremony/engine", "keyceremony/keyblock", "keyceremony/officer", "keyceremony/script", "keyceremony/secret", "keyceremony/transcript", "softhsm-config"},
	"keyceremony/scripts":    {},
	"keyceremony/register":   {"hsm/keyref", "internal/fault", "keyceremony/script", "keyceremony/transcript"},
	"keyceremony/console":    {"keyceremony/engine", "keyceremony/officer", "keyceremony/script", "keyceremony/secret"},
	"intake":                 {"internal/fault", "token"},

	// layer 2: the HSM, the stores, both ends of a tap
	"hsm":                      {"hsm/keyref", "internal/fault", "internal/hugepage", "internal/trace", "keyceremony/secret"},
	"hsm/softring":             {"hsm/keyref", "internal/durable", "internal/fault", "keyceremony/secret"},
	"hsm/group":                {"hsm", "hsm/keyref", "internal/fault", "internal/trace"},
	"hsm/inventory":            {"access", "audit", "hsm/keyref"},
	"hsm/hsmtest":              {Anything},
	"internal/softtoken":       {"hsm", "softhsm-config"},
	"hsm/hsmtest/shim":         {},
	"internal/trace/otlp":      {"internal/trace"},
	"internal/trace/tracetest": {},
	"vault":                    {"access", "event", "hsm/keyref", "internal/fault", "internal/gather", "internal/store", "token", "tokenize/ff1", "vault/archive"},
	"vault/archive":            {"internal/fault"},
	"vault/vaulttest":          {Anything},
	"internal/store/storetest": {"internal/store", "internal/store/cluster"},
	"internal/store/cluster":   {},
	"event/stream":             {"event", "internal/fault"},
	"event/outbox":             {"event", "internal/store", "token"},
	"identity/jwks":            {"identity", "internal/fault"},
	"identity/clientdb":        {"access", "identity", "internal/fault", "internal/store"},
	"wallet/bundle":            {"cryptogram", "cryptogram/softkey", "hsm/keyref", "internal/durable", "terminal/apdu", "token", "wallet/credential", "wallet/mask", "wallet/payload"},
	"terminal":                 {"cryptogram", "hsm/keyref", "internal/durable", "terminal/apdu", "terminal/deny", "token", "wallet/credential"},
	"terminal/deny":            {"internal/durable", "internal/fault", "token", "wallet/credential"},
	"terminal/softsam":         {"cryptogram/softkey", "hsm/keyref", "terminal/psam"},
	"terminal/psam":            {"cryptogram", "hsm/keyref", "internal/durable", "terminal/apdu"},

	// secure elements: formats, their side
	"wallet/element/message":   {"token", "wallet/credential", "wallet/mask", "wallet/payload"},
	"wallet/element/applet":    {"cryptogram", "cryptogram/softkey", "hsm/keyref", "terminal/apdu", "token", "wallet/credential", "wallet/element/message", "wallet/mask", "wallet/payload"},
	"wallet/element":           {"access", "account", "audit", "cryptogram", "hsm/keyref", "internal/fault", "token", "wallet", "wallet/credential", "wallet/element/message", "wallet/enrol", "wallet/mask", "wallet/payload"},
	"wallet/element/elementdb": {"access", "internal/store", "token", "wallet", "wallet/element", "wallet/element/message"},

	// layer 3: services
	"tokenize":               {"access", "audit", "hsm/keyref", "internal/fault", "internal/gather", "token", "tokenize/ff1"},
	"wallet":                 {"access", "account", "audit", "hsm/keyref", "internal/fault", "token", "wallet/credential", "wallet/mask", "wallet/payload"},
	"wallet/edge":            {"access", "account", "audit", "cryptogram", "internal/fault", "token", "wallet", "wallet/credential", "wallet/enrol", "wallet/mask", "wallet/payload"},
	"wallet/enrol":           {"access", "account", "audit", "internal/fault", "token", "wallet", "wallet/credential", "wallet/payload"},
	"wallet/pin":             {"access", "audit", "hsm/keyref", "internal/fault", "token", "wallet", "wallet/mask", "wallet/payload"},
	"wallet/wallettest":      {Anything},
	"wallet/walletdb":        {"access", "internal/fault", "internal/store", "token", "wallet", "wallet/enrol", "wallet/pin"},
	"account":                {"access", "account/detect", "account/ledger", "audit", "cryptogram", "cryptogram/softkey", "hsm/keyref", "internal/fault", "internal/gather", "internal/guess", "token", "wallet/credential"},
	"account/detect":         {"token"},
	"account/ledger":         {"internal/fault", "token"},
	"account/ledgerdb":       {"account/ledger", "internal/fault", "token"},
	"account/tapdb":          {"access", "account", "account/detect", "account/ledger", "account/ledgerdb", "cryptogram", "event", "internal/fault", "internal/store", "token", "wallet/credential"},
	"denylist":               {"access", "audit", "internal/fault", "terminal/deny", "token"},
	"denylist/denydb":        {"access", "denylist", "internal/fault", "internal/store", "terminal/deny"},
	"detokenize":             {"access", "account", "audit", "internal/fault", "internal/gather", "token"},
	"detokenize/velocity":    {"internal/store"},
	"load":                   {"access", "account/ledger", "audit", "cardhost", "cryptogram", "hsm/keyref", "internal/digits", "internal/fault", "internal/guess", "token"},
	"load/loaddb":            {"access", "account", "account/ledger", "account/ledgerdb", "cryptogram", "event", "internal/fault", "internal/store", "load", "token"},
	"internal/guess/guessdb": {"internal/guess", "internal/store"},
	"quorum":                 {"access", "audit", "internal/digits", "internal/fault"},
	"quorum/quorumdb":        {"internal/store", "quorum"},
	"issuerhost":             {"access", "audit", "cryptogram/emv", "hsm/keyref", "internal/fault", "internal/gather", "internal/guess", "internal/mac", "token"},
	"issuerhost/counterdb":   {"access", "internal/store", "issuerhost"},
	"cardhost":               {"access", "audit", "cryptogram", "hsm/keyref", "internal/fault", "internal/gather", "internal/guess"},

	"webhook":        {"api/wire", "event", "internal/fault", "token"},
	"webhook/hookdb": {"event", "event/outbox", "internal/store", "webhook"},

	// layer 4: the edge
	"api": {"access", "account", "api/wire", "audit", "audit/auditor", "audit/tree", "cardhost", "cryptogram", "denylist", "detokenize", "event", "event/stream", "hsm/keyref",
		"cryptogram/emv", "identity", "intake", "internal/digits", "internal/fault", "internal/trace", "issuerhost", "load", "quorum", "terminal/deny", "token", "tokenize", "wallet", "wallet/credential", "wallet/edge", "wallet/element", "wallet/element/message", "wallet/enrol", "wallet/pin"},
	"api/client": {"api/wire"},

	// layer 5: the roots
	"internal/arch":     {},
	"internal/cli":      {},
	"internal/assembly": {Anything},
	"internal/bench":    {Anything},
	"internal/lab":      {Anything},
	"internal/sim":      {Anything},

	"internal/freeport":          {},
	"internal/sysmon":            {},
	"internal/progress":          {},
	"internal/sim/attack":        {Anything},
	"internal/sim/chaos":         {Anything},
	"internal/sim/city":          {Anything},
	"internal/sim/day":           {Anything},
	"internal/sim/loss":          {"token"},
	"internal/sim/plot":          {},
	"internal/sim/rig":           {Anything},
	"internal/sim/vpcd":          {"terminal/apdu"},
	"internal/sim/vpcd/pcsctest": {},

	"cmd/tapvault":    {Anything},
	"cmd/keyceremony": {Anything},
	"cmd/tapsim":      {Anything},
}

// Owners says who may import a third-party prefix; everyone else may not.
// Roots and test kits, marked [Anything], are not excepted.
var Owners = map[string][]string{
	"github.com/miekg/pkcs11":         {"hsm"},
	"gorm.io/":                        {"wallet/element/elementdb", "load/loaddb", "internal/store", "internal/store/storetest", "vault", "vault/vaulttest", "wallet/walletdb", "account/tapdb", "account/ledgerdb", "identity/clientdb", "detokenize/velocity", "event/outbox", "webhook/hookdb", "denylist/denydb", "issuerhost/counterdb", "quorum/quorumdb", "internal/guess/guessdb"},
	"github.com/jackc/pgx":            {"internal/store", "internal/store/cluster"},
	"github.com/pressly/goose":        {"internal/store"},
	"github.com/gin-gonic/gin":        {"api", "internal/bench"},
	"github.com/golang-jwt/jwt":       {"identity", "api/client"},
	"github.com/go-jose/go-jose":      {"wallet", "wallet/bundle", "identity", "api/client", "intake", "detokenize", "webhook", "internal/sim"},
	"golang.org/x/crypto/":            {"audit/tree", "vault/archive", "wallet/mask", "keyceremony/officer"},
	"golang.org/x/mod/":               {"audit/tree"},
	"github.com/emmansun/gmsm":        {"hsm/softring"},
	"github.com/prometheus/":          {"internal/obs", "cmd/tapvault"},
	"go.opentelemetry.io/":            {"internal/trace/otlp", "internal/trace/tracetest"},
	"google.golang.org/":              {"internal/trace/tracetest"},
	"github.com/spf13/cobra":          {"internal/cli", "cmd/tapvault", "cmd/tapsim", "cmd/keyceremony"},
	"go.yaml.in/yaml":                 {"cmd/tapvault", "keyceremony/script", "keyceremony/rehearsal", "internal/cli"},
	"github.com/getkin/kin-openapi":   {},
	"github.com/rogpeppe/go-internal": {},
	"flag":                            {"cmd/tapvault", "cmd/tapsim"},
}

// CGoFree lists packages that phones and readers link: nothing they import,
// however far, may need cgo, a database or a web framework.
var CGoFree = []string{"wallet/bundle", "wallet/element/applet", "wallet/mask", "terminal", "terminal/psam", "terminal/deny", "terminal/softsam"}

// Heavy lists what a [CGoFree] package must not reach.
var Heavy = []string{"github.com/miekg/pkcs11", "gorm.io/", "github.com/gin-gonic/gin", "github.com/mattn/go-sqlite3", "C"}

// Calls lists calls that only the given packages may make, as "pkg.Func".
var Calls = map[string][]string{
	"os.Exit":   {"cmd/tapvault", "cmd/tapsim", "cmd/keyceremony"},
	"os.Getenv": {"cmd/tapvault", "cmd/tapsim", "hsm/hsmtest"},
	"log.Fatal": {},
}
