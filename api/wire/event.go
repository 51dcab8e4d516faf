package wire

import "time"

// Event is one thing that happened to a token or to a wallet, as it is listed
// and as it is sent to a webhook.
type Event struct {
	ID        string            `json:"event_id"`                     // the same each time it is told
	Type      string            `json:"type"`                         // such as token.suspended
	Ref       string            `json:"token_reference_id,omitempty"` // or
	Wallet    string            `json:"wallet_id,omitempty"`
	Requestor string            `json:"token_requestor_id"`
	Seq       int64             `json:"seq"` // counts its subject's events from 1, without a gap
	At        time.Time         `json:"at"`
	Data      map[string]string `json:"data,omitempty"`
	// Unreadable says that what was kept of the event is damaged, and its data left
	// out: ask for the token or wallet itself.
	Unreadable bool `json:"unreadable,omitempty"`
}

// EventList is a page of GET /v1/events, in the order in which events became
// known.
type EventList struct {
	Events []Event `json:"events"`
	// Next goes on behind the last event of this page. It is there on the last
	// page too, and on an empty one: events that happen later stand behind it.
	Next string `json:"next_cursor"`
}

// Capacity is what is left of a token range.
type Capacity struct {
	Name     string  `json:"name"`
	Prefix   string  `json:"prefix"`
	Length   int     `json:"length"`
	Luhn     bool    `json:"luhn"`
	Issuing  bool    `json:"issuing"`   // new numbers come from it
	Size     int64   `json:"size"`      // numbers in all
	Fresh    int64   `json:"fresh"`     // never given out
	Ready    int64   `json:"ready"`     // came back
	Resting  int64   `json:"resting"`   // borne by a token, or in quarantine
	Spent    int64   `json:"spent"`     // never come back
	PerDay   float64 `json:"per_day"`   // given out lately
	DaysLeft int     `json:"days_left"` // if that goes on; 400 stands for more
}

// Ranges is the answer of GET /v1/ranges.
type Ranges struct {
	Ranges []Capacity `json:"ranges"`
}
