package attack

// rows are the attacks, in the order of the design's table. Numbers are its
// rows; what stands behind a stroke is how many clones there are, or the class
// of the terminals. SE are secure elements: couriers, other elements, cuts of
// power, and guesses.
var rows = []row{
	{"P", "prepaid wallet, no clone: rides and syncs all day", prepaid},
	{"1", "sniffs taps and plays them again", sniffed},
	{"2", "copies a phone's storage, not its key store", storage},
	{"3", "has the unlocked phone, guesses the PIN", unlocked},
	{"4P/G", "code on the phone, no PIN, at gates", codeAtGates},
	{"4P/V", "code on the phone, no PIN, at vehicles", codeAtVehicles},
	{"5", "as 4P, after a visit to a real gate for MAC1", visited},
	{"6/1", "code and PIN seen: 1 clone at gates", clonesAtGates(1)},
	{"6/10", "code and PIN seen: 10 clones at gates", clonesAtGates(10)},
	{"6/100", "code and PIN seen: 100 clones at gates", clonesAtGates(100)},
	{"7", "10 clones only at terminals that upload at the depot", clonesAtVehicles},
	{"8", "own phone, tier A: pays again with used slots at vehicles", ownDevice},
	{"9", "relays an unlocked phone whose PIN window is open", relayed},
	{"10", "dishonest holder: hides taps, syncs often, rolls back", dishonest},
	{"11", "clones the own wallet for 3 friends", friends},
	{"12", "stolen PSAM master; readers demand CRED and proof", stolenMaster},
	{"12/C", "stolen PSAM master and a skimmed CRED, at gates", stolenMasterSkimmed},
	{"14", "operator invents taps and inflates amounts", operator},
	{"14/F", "operator forges taps until one holds", forges},
	{"15", "uploads replayed, reordered, reported twice", replayed},
	{"16", "one forged attestation for 8 wallets", forgedAttestation},
	{"17", "keeps the deny list from gates, with a clone", deafGates},
	{"18", "locks victims: bad MAC1, made-up wrong PINs", locked},
	{"19", "reads the database and the audit record", leaked},
	{"20", "asks the service for the PIN until it tells", oracle},
	{"21", "sets the clocks of phone and terminal back a day", clockBack},
	{"SE/C", "courier of a key fob drops, repeats, alters scripts", falseCourier},
	{"SE/X", "courier gives a key fob's scripts to other fobs", wrongFob},
	{"SE/R", "cuts a key fob's power to turn its counter back", cutPower},
	{"SE/T", "has a key fob, guesses its PIN, cuts its power", stolenFob},
	{"22", "harvests 5 phones: a clone of each", harvest},
}
