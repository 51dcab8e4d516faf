package wire

import (
	"bytes"
	"encoding/json"
	"time"
)

// ApprovalRequest is the body of POST /v1/approvals: one exact request.
type ApprovalRequest struct {
	Verb   string `json:"verb"`
	Method string `json:"method"` // POST, or RUN for a command at the machine
	Path   string `json:"path"`   // or the command
	Body   string `json:"body"`   // the request's body, as text; it is not kept
	Reason string `json:"reason,omitempty"`
}

var approvalRequest = table[ApprovalRequest]{
	{"verb", must, func(d *decoder, v *ApprovalRequest) *FieldError {
		return choice(d, &v.Verb, "detokenize-batch", "vault-export", "settings", "client-creation", "key-destruction", "load-decision")
	}},
	{"method", must, func(d *decoder, v *ApprovalRequest) *FieldError { return choice(d, &v.Method, "POST", "RUN") }},
	{"path", must, func(d *decoder, v *ApprovalRequest) *FieldError {
		return choice(d, &v.Path, "/v1/detokenize/batch", "/v1/detokenize/direct/batch", "export", "serve", "client add", "keys retire",
			"/v1/loads/decisions")
	}},
	{"body", must, func(d *decoder, v *ApprovalRequest) *FieldError {
		b, err := d.text()
		if err == nil && (!json.Valid(b) || !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{"))) {
			err = wrong("must be the text of a JSON object")
		}
		v.Body = string(b)
		return err
	}},
	{"reason", may, func(d *decoder, v *ApprovalRequest) *FieldError { return note(d, &v.Reason, 256) }},
}

func (q *ApprovalRequest) read(d *decoder) *FieldError { return approvalRequest.read(d, q) }

// ApprovalGiven is the body of POST /v1/approvals/{approval}/approve.
type ApprovalGiven struct {
	Digest Hex32 `json:"digest"` // of the request that is meant
}

var approvalGiven = table[ApprovalGiven]{
	{"digest", must, func(d *decoder, v *ApprovalGiven) *FieldError { return parse(d, &v.Digest) }},
}

func (q *ApprovalGiven) read(d *decoder) *FieldError { return approvalGiven.read(d, q) }

// ApprovalVote is one person's approval.
type ApprovalVote struct {
	Approver string    `json:"approver"`
	At       time.Time `json:"at"`
}

// Approval is a request that waits for others, or waited.
type Approval struct {
	ID        string         `json:"approval_id"`
	Verb      string         `json:"verb"`
	Method    string         `json:"method"`
	Path      string         `json:"path"`
	Digest    Hex32          `json:"digest"`
	Summary   string         `json:"summary"`
	Reason    string         `json:"reason,omitempty"`
	Requester string         `json:"requester"`
	Needed    int            `json:"needed"`
	State     string         `json:"state"`
	CreatedAt time.Time      `json:"created_at"`
	ExpiresAt time.Time      `json:"expires_at"`
	EndedAt   *time.Time     `json:"ended_at,omitempty"`
	Votes     []ApprovalVote `json:"approvals,omitempty"` // left out in lists
}

// Approvals is a page of them, newest first.
type Approvals struct {
	Approvals []Approval `json:"approvals"`
	Next      string     `json:"next_cursor,omitempty"`
}
