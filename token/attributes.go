package token

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Assurance is how sure the requestor and the issuer were that the token went
// to the cardholder: an EMVCo method code and what goes with it.
type Assurance struct {
	Method string // "00" to "99"; "" and two spaces: no value
	Data   string // up to 140 printable characters
}

// maxAssuranceData is the length that card messages give the data.
const maxAssuranceData = 140

// Check refuses codes and data that no message could carry.
func (a Assurance) Check() error {
	if m := a.Method; m != "" && m != "  " && (len(m) != 2 || !allDigits(m)) {
		return fmt.Errorf("%w: an assurance method is two digits, or two spaces for none", ErrMalformed)
	}
	if len(a.Data) > maxAssuranceData || !printable(a.Data) || numberLike.MatchString(a.Data) {
		return fmt.Errorf("%w: assurance data is up to %d printable characters and no card number", ErrMalformed, maxAssuranceData)
	}
	return nil
}

// numberLike finds what could be a card number in free text.
var numberLike = regexp.MustCompile(`\d{12,}`)

// FormFactor is what kind of thing carries the token.
type FormFactor string

// Form factors.
const (
	FormUnspecified FormFactor = ""
	FormPhone       FormFactor = "phone"
	FormBLECard     FormFactor = "ble-card"
	FormBand        FormFactor = "band"
	FormWatch       FormFactor = "watch"
	FormKeyFob      FormFactor = "key-fob"
	FormCardOnFile  FormFactor = "card-on-file"
)

// FormFactors lists every form factor.
var FormFactors = []FormFactor{FormUnspecified, FormPhone, FormBLECard, FormBand, FormWatch, FormKeyFob, FormCardOnFile}

// ParseFormFactor reads a form factor; "" is unspecified.
func ParseFormFactor(s string) (FormFactor, error) {
	if f := FormFactor(s); slices.Contains(FormFactors, f) {
		return f, nil
	}
	return "", fmt.Errorf("%w: an unknown form factor", ErrMalformed)
}

var deviceID = regexp.MustCompile(`^[A-Za-z0-9._:-]{0,64}$`)

// CheckDevice refuses what is no device id: up to 64 letters, digits and . _ : -
// that the requestor chose. "" names no device.
func CheckDevice(id string) error {
	if !deviceID.MatchString(id) {
		return fmt.Errorf("%w: a device id has up to 64 letters, digits and . _ : -", ErrMalformed)
	}
	return nil
}

// Suspender is somebody who can hold a token back. A suspended token remembers
// all who do.
type Suspender string

// Suspenders.
const (
	ByRequestor Suspender = "REQUESTOR"
	ByIssuer    Suspender = "ISSUER"
	ByHolder    Suspender = "HOLDER"
	ByPINLock   Suspender = "PIN_LOCK"
	ByRisk      Suspender = "RISK"
)

// Suspenders lists every suspender, in the order in which a token shows them.
var Suspenders = []Suspender{ByRequestor, ByIssuer, ByHolder, ByPINLock, ByRisk}

// ParseSuspender reads a suspender.
func ParseSuspender(s string) (Suspender, error) {
	if b := Suspender(s); slices.Contains(Suspenders, b) {
		return b, nil
	}
	return "", fmt.Errorf("%w: an unknown suspender", ErrMalformed)
}

// Decision is what the card's issuer said of a token.
type Decision string

// Decisions.
const (
	DecisionPending  Decision = "PENDING"
	DecisionApproved Decision = "APPROVED"
	DecisionStepUp   Decision = "STEP_UP" // the cardholder has to be asked first
	DecisionDeclined Decision = "DECLINED"
)

// Decisions lists every decision.
var Decisions = []Decision{DecisionPending, DecisionApproved, DecisionStepUp, DecisionDeclined}

// verdicts are the verbs that make a decision.
var verdicts = map[Verb]Decision{Approve: DecisionApproved, StepUp: DecisionStepUp, Decline: DecisionDeclined}

// Verdict returns the decision that v makes; ok is false when v makes none.
func (v Verb) Verdict() (d Decision, ok bool) { d, ok = verdicts[v]; return }

// Verb returns the verb that makes the decision; ok is false for PENDING,
// which nobody makes.
func (d Decision) Verb() (v Verb, ok bool) {
	for v, made := range verdicts {
		if made == d {
			return v, true
		}
	}
	return "", false
}

// Allows reports whether a token with this decision may be handed out and pay.
// The zero value is of tokens that nobody had to decide about.
func (d Decision) Allows() bool { return d == "" || d == DecisionApproved }

// Result is how provisioning a device ended.
type Result string

// Results.
const (
	Success Result = "SUCCESS"
	Failure Result = "FAILURE"
)

// Notice is the requestor's word on how provisioning went.
type Notice struct {
	Result Result
	Reason string // up to 64 printable characters, "" for none
	At     time.Time
}

// Check refuses a notice without a known result.
func (n Notice) Check() error {
	if n.Result != Success && n.Result != Failure {
		return fmt.Errorf("%w: a provisioning result is SUCCESS or FAILURE", ErrMalformed)
	}
	if len(n.Reason) > 64 || !printable(n.Reason) || numberLike.MatchString(n.Reason) {
		return fmt.Errorf("%w: a reason has up to 64 printable characters and no card number", ErrMalformed)
	}
	return nil
}

// Attributes are what can change of a token while it lives. Nil leaves a value
// as it is.
type Attributes struct {
	Assurance *Assurance
	Controls  *Controls
	NotAfter  *time.Time
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
