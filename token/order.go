package token

import "time"

// Order says what a new token shall be. Its fields have been judged before it
// is made: the window fits the calendar and the card is good.
type Order struct {
	Ref        Ref // drawn by whoever orders, so that it is recorded before the token exists
	Requestor  Requestor
	PAN        PAN    // of a renewal: none, the card is the one behind the old token
	CardExpiry Expiry // likewise
	PSN        string // card sequence number, two digits, or "" when there is none
	Location   Location
	Expiry     Expiry // Token Expiry Date
	NotBefore  time.Time
	NotAfter   time.Time

	Assurance  Assurance
	FormFactor FormFactor
	Device     string
	Controls   Controls
	Decision   Decision // "": APPROVED

	// Only names what there may be one living token of, beside card, requestor
	// and device: a service day, or "lifetime". When such a token lives already,
	// it is the answer. "" asks for a new token every time.
	Only string
	// Of Only: a token that begins after Since, or ends before Until, is no
	// answer unless it is held back: a new one takes its place. The zero time asks for nothing.
	Since, Until time.Time

	Renews   Ref   // the token that this one follows, or ""
	Revision int64 // of the token that it follows, as it was seen
}

// Change is something done to one token.
type Change struct {
	Ref      Ref
	From     State // the state it was seen in: in another one nothing happens
	Revision int64 // likewise; 0 compares the state only
	Verb     Verb
	At       time.Time
	By       Suspender  // of Suspend and Resume
	Set      Attributes // of Update
	Expiry   Expiry     // of Update, when Set moves the end: the new Token Expiry Date
	Notice   Notice     // of Provision and Fail
	Then     []Change   // of tokens that follow this one: all happen, or none
}

// Filter says which tokens are looked for. What is empty is not asked about.
type Filter struct {
	Ref       Ref
	PAR       PAR
	Requestor Requestor
	Last4     string // of the card
	State     State  // as time makes it: a token whose window has closed is EXPIRED
}

// Page is a part of a list of tokens.
type Page struct {
	Tokens []Token
	// Unreadable are tokens of this part of which what is stored cannot be read.
	Unreadable []Ref
	Next       Mark // where to go on; the zero value when there are no more
}

// Mark is a place in a list of tokens, newest first: after the token that was
// made at a time and bears a reference. The zero value is the beginning.
type Mark struct {
	CreatedAt time.Time
	Ref       Ref
}
