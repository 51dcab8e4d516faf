package account

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// Tap is one offline purchase as a terminal recorded it.
type Tap struct {
	Terminal    [6]byte       // terminal number
	Issuer      [8]byte       // bytes 0 to 7 of file 0015
	Number      token.Number  // zero in a tap that was read back from a journal
	UD          credential.UD // use descriptor: counter, cap, class and end of the slot
	Rand        [4]byte       // that the handset drew
	Seq         uint16        // offline transaction serial number; equals the counter of UD
	Amount      token.Amount
	Type        cryptogram.Type
	TermSeq     uint32              // terminal transaction serial number
	At          cryptogram.DateTime // of the terminal's clock, in its zone
	KeyVer      byte                // key version and algorithm, as the handset answered them
	AlgID       byte
	Balance     uint32  // in fen, as the handset answered; nothing vouches for it
	MAC1        [4]byte // the terminal's
	MAC2        [4]byte // the handset's, which shows that the slot was used
	TAC         [4]byte // transaction authentication code of the handset, wrong after a wrong PIN
	ListVersion uint64  // deny list that the terminal held
	Failed      bool    // the terminal refused it after the handset had answered: no service was given
}

// Purchase returns the fields that MACs and TAC are computed over.
func (t Tap) Purchase() cryptogram.Purchase {
	return cryptogram.Purchase{Rand: t.Rand, Seq: t.Seq, Amount: uint32(t.Amount), Type: t.Type,
		Terminal: t.Terminal, TermSeq: t.TermSeq, At: t.At}
}

// Digest is the identity of a record within its slot: SHA-256 over TAC input,
// use descriptor, random number and TAC.
func (t Tap) Digest() [32]byte {
	h := sha256.New()
	h.Write(t.Purchase().TACInput())
	ud := t.UD.Bytes()
	h.Write(ud[:])
	h.Write(t.Rand[:])
	h.Write(t.TAC[:])
	return [32]byte(h.Sum(nil))
}

// Evidence is a record whose MAC2 is good, under the token it belongs to.
type Evidence struct {
	Ref      token.Ref
	Tap      Tap
	Moment   time.Time // when the tap was made
	TACGood  bool
	Reporter string    // terminal or group it came from
	Received time.Time // when this record first came
	Sources  Sources   // who vouches for it; 0: a terminal, as before there were wallets
	Fresh    bool      // a terminal that vouches for it held a deny list that was new enough
	Late     Lateness  // how late it was when it first came
	Owned    bool      // service was given, says whom the terminal is registered for
	Rival    string    // who else says so of itself, with no better right than Reporter
	Bounds   *Bounds   // nil: no control of the token bounds its uses. Not kept
}

// Sources are those who vouch for a record.
type Sources uint8

// Sources.
const (
	ByTerminal Sources = 1 << iota // service was given for it
	ByFailure                      // a terminal saw it and gave no service
	ByPhone                        // the phone itself, at a sync
	BySystem                       // a back office asks to be paid for it
)

// Served reports whether somebody vouches that service was given.
func (s Sources) Served() bool { return s == 0 || s&(ByTerminal|BySystem) != 0 }

// known makes "a terminal, as before there were wallets" explicit.
func (s Sources) known() Sources {
	if s == 0 {
		return ByTerminal
	}
	return s
}

// Lateness is how long after its token's end a record first came.
type Lateness uint8

// Classes of lateness.
const (
	OnTime  Lateness = iota // until the end and a day: its reserve was there
	PastDue                 // until seven days: paid from what the account has
	Manual                  // until thirty days: the operator has to claim it
	TooLate                 // later: no evidence any more
)

// How long after the end of a token each class lasts.
const (
	releaseAfter = 24 * time.Hour
	grace        = 7 * 24 * time.Hour
	claimable    = 30 * 24 * time.Hour
)

// lateness is the class of a record that comes at now.
func lateness(notAfter, now time.Time) Lateness {
	switch d := now.Sub(notAfter); {
	case d <= releaseAfter:
		return OnTime
	case d <= grace:
		return PastDue
	case d <= claimable:
		return Manual
	}
	return TooLate
}

// merge takes in what another arrival of the same record adds. The result does
// not depend on which of them came first.
func (e *Evidence) merge(o Evidence) (changed bool) {
	before := *e
	switch a, b := rank(*e), rank(o); {
	case b > a:
		e.Reporter, e.Rival = o.Reporter, o.Rival
	case a == b:
		e.claims(o)
	}
	e.Owned = e.Owned || o.Owned
	if o.Sources.known()|e.Sources.known() != e.Sources.known() {
		e.Sources = e.Sources.known() | o.Sources
	}
	e.Tap.Failed = e.Tap.Failed && o.Tap.Failed
	e.Fresh = e.Fresh || o.Fresh
	e.Late = min(e.Late, o.Late)
	return *e != before
}

// claims keeps the first two, by name, of all who tell of the record with the same
// right.
func (e *Evidence) claims(o Evidence) {
	names := slices.DeleteFunc([]string{e.Reporter, e.Rival, o.Reporter, o.Rival}, func(s string) bool { return s == "" })
	slices.Sort(names)
	names = append(slices.Compact(names), "", "")
	e.Reporter, e.Rival = names[0], names[1]
}

// disputed reports whether two say that they gave service, and nothing tells whose
// terminal it was.
func (e Evidence) disputed() bool { return e.Sources.Served() && e.Rival != "" }

// Unresolved is owed what a record comes to that two claim. No terminal or group
// can be named so.
const Unresolved = "(disputed)"

// payee is who is owed what the record comes to.
func (e Evidence) payee() string {
	if e.disputed() {
		return Unresolved
	}
	return e.Reporter
}

// source is who vouches for a record that a terminal sent.
func (t Tap) source() Sources {
	if t.Failed {
		return ByFailure
	}
	return ByTerminal
}

// rank orders those whose word on a record counts: the reporter that gave
// service is the one to be paid.
func rank(e Evidence) int {
	switch s := e.Sources.known(); {
	case e.Owned:
		return 4
	case s&ByTerminal != 0:
		return 3
	case s&BySystem != 0:
		return 2
	case s&ByFailure != 0:
		return 1
	}
	return 0
}

// ID names the record. It follows from token and digest, so that sending a
// record again names it again, whatever was lost in between.
func (e Evidence) ID() string { return name("tap", e.Ref, e.Tap) }

// name is 32 hex digits over a purpose, a token and a record.
func name(purpose string, ref token.Ref, t Tap) string {
	d := t.Digest()
	sum := sha256.Sum256(append([]byte(purpose+"\x00"+string(ref)+"\x00"), d[:]...))
	return hex.EncodeToString(sum[:16])
}

// Refusal is a record that was rejected under a known token. It never holds
// the number.
type Refusal struct {
	Ref      token.Ref
	Tap      Tap
	Reason   Reason // of NotAllowed: the control
	Reporter string
	Received time.Time
}

// ID names the refusal: the same record refused again for the same reason is
// the same refusal.
func (r Refusal) ID() string { return name(string(r.Reason), r.Ref, r.Tap) }

// proof is what MAC2 covers within a slot. Records that agree in it are one
// proof of payment, however they differ elsewhere.
type proof struct {
	rand   [4]byte
	serial uint16 // terminal serial modulo 65536
	amount token.Amount
}

func (t Tap) proof() proof { return proof{t.Rand, uint16(t.TermSeq), t.Amount} }
