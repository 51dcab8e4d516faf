package arch

// Public lists the functions that compare bytes, or what is called like a
// secret, in a way that ends at the first difference, and says why nothing can
// be learned from how long that takes. "package *" is a whole package.
var Public = map[string]string{
	"cryptogram/conformance *": "compares with published vectors of published keys",
	"internal/bench *":         "compares its own keys' answers, made for the measurement",
	"internal/sim/attack *":    "plays the attacker, who compares what is his",
	"vault/vaulttest *":        "a test kit, of made-up cards",
	"cmd/tapsim *":             "a simulator, with keys of its own",

	"wallet/element reports": "the number of a tap with the number of the token, both of a receipt whose MAC held",
	"wallet/element settle":  "the number of a token in a receipt whose MAC held",

	"account merge":                       "whether a record of a tap was changed by the one before it, both already judged",
	"account older":                       "puts records in order, by time and then by the digest of what was judged already",
	"account/detect pairs":                "numbers of terminals",
	"account/tapdb readSync":              "the digest of a phone's own message, which it sent with it",
	"account/tapdb settle":                "whether a row has to be written: the stored state with itself",
	"account/tapdb terminals":             "numbers of terminals",
	"api admit":                           "the word Bearer",
	"api checkType":                       "the name of a character set",
	"api problemRows":                     "kinds of problems, in the description",
	"api sections":                        "the description of the API",
	"api/wire truth":                      "the words true and false",
	"audit/trail parse":                   "a line of the record with itself, printed again",
	"hsm checkType":                       "the name of a curve",
	"internal/store Prior":                "the digest of a caller's own request",
	"issuerhost fieldTurns":               "names of fields",
	"keyceremony record":                  "check values, which are read aloud",
	"load Begin":                          "dates and fields of an order; its MACs were compared before",
	"load alike":                          "fields of an order",
	"load same":                           "fields of an order",
	"terminal judge":                      "numbers, issuers and counters that a phone shows openly",
	"terminal/deny Compare":               "entries of a public list",
	"terminal/deny merge":                 "entries of a public list",
	"wallet/bundle Obey":                  "names of bundles, in a script whose MAC held",
	"wallet/bundle OpenGuarded":           "a public key",
	"wallet/bundle bind":                  "an issuer's number",
	"wallet/bundle selectAID":             "an application's name",
	"wallet/element/applet after":         "the state of a card",
	"wallet/element/applet issued":        "a card's serial number",
	"wallet/element/applet obey":          "the digest of a script whose MAC held, with that of the last one",
	"wallet/element/applet raised":        "fields of a card that it shows openly",
	"wallet/element/applet selectAID":     "an application's name",
	"wallet/element/message ParseReceipt": "an element's serial number and whether there is a key at all; the MAC is compared by hmac.Equal",
	"wallet/payload Parse":                "a token's own number, inside an opened bundle",
}
