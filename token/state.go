package token

// State is where a token stands in its life.
type State string

// States. A token is REQUESTED when its number exists, DELIVERED when its keys
// were handed to a device, ACTIVE when the device acknowledged or paid.
const (
	Requested State = "REQUESTED"
	Delivered State = "DELIVERED"
	Active    State = "ACTIVE"
	Suspended State = "SUSPENDED"
	Expired   State = "EXPIRED"
	Deleted   State = "DELETED"
)

// Verb is something done to a token.
type Verb string

// Verbs. Those of the last two lines leave a token in its state, but not in
// every state can they be done.
const (
	Deliver  Verb = "deliver"
	Activate Verb = "activate"
	Suspend  Verb = "suspend"
	Resume   Verb = "resume" // one suspender lets go
	Expire   Verb = "expire"
	Delete   Verb = "delete"

	Approve Verb = "approve" // the issuer's decision
	StepUp  Verb = "step-up"
	Decline Verb = "decline"

	Provision Verb = "provision"      // the device has it: the requestor's notice
	Fail      Verb = "fail-provision" // the device could not take it

	Update  Verb = "update"  // assurance, controls, window
	Renew   Verb = "renew"   // a next token is made after it
	Replace Verb = "replace" // the card behind it gets another number or expiry date
)

// States and Verbs list every value, so that tests can be total.
var (
	States = []State{Requested, Delivered, Active, Suspended, Expired, Deleted}
	Verbs  = []Verb{Deliver, Activate, Suspend, Resume, Expire, Delete, Approve, StepUp, Decline, Provision, Fail,
		Update, Renew, Replace}
)

// moves is the whole life of a token: what is not here is refused. [Token.May]
// adds what depends on more than the state.
var moves = map[State]map[Verb]State{
	Requested: {Deliver: Delivered, Activate: Active, Suspend: Suspended, Expire: Expired, Delete: Deleted,
		Approve: Requested, StepUp: Requested, Decline: Deleted, Provision: Active, Fail: Requested,
		Update: Requested, Renew: Requested, Replace: Requested},
	Delivered: {Deliver: Delivered, Activate: Active, Suspend: Suspended, Expire: Expired, Delete: Deleted,
		Provision: Active, Fail: Delivered, Update: Delivered, Renew: Delivered, Replace: Delivered},
	Active: {Deliver: Active, Activate: Active, Suspend: Suspended, Expire: Expired, Delete: Deleted,
		Provision: Active, Fail: Active, Update: Active, Renew: Active, Replace: Active},
	Suspended: {Suspend: Suspended, Resume: Active, Expire: Expired, Delete: Deleted,
		Approve: Suspended, StepUp: Suspended, Decline: Deleted, Provision: Suspended, Fail: Suspended, Update: Suspended, Replace: Suspended},
	Expired: {Expire: Expired, Delete: Deleted, Renew: Expired},
	Deleted: {Delete: Deleted},
}

// Next returns the state that v leads to from s; ok is false when s refuses v.
func (s State) Next(v Verb) (next State, ok bool) { next, ok = moves[s][v]; return }

// Usable reports whether a token in state s may pay.
func (s State) Usable() bool { return s == Requested || s == Delivered || s == Active }
