package lab_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/quorum"
)

// TestQuorum takes a bulk detokenization through the approval of two officers,
// over HTTP, and the settings through a restart.
func TestQuorum(t *testing.T) {
	two := assembly.Quorum{Needed: 2, Approvers: []string{"officer", "officer-2"}}
	l := lab.New(t, lab.Options{Config: func(c *assembly.Config) {
		c.Quorum = map[string]assembly.Quorum{string(quorum.DetokenizeBatch): two, string(quorum.Settings): two}
	}})
	l.Enlist(t, "officer-2", access.Officer)
	ctx, issuer := t.Context(), l.Client(t, "issuer")
	officers := []*client.Client{l.Client(t, "officer"), l.Client(t, "officer-2")}
	tok := newToken(t, l, cardRequest())
	body := `{"purpose":"dispute","queries":[{"token_reference_id":"` + tok.Ref + `"}]}`
	send := func(text string) lab.Answer {
		t.Helper()
		return l.Send(t, http.MethodPost, "/v1/detokenize/direct/batch", l.Bearer(t, "issuer"), []byte(text))
	}
	if a := send(body); a.Type != "approval-needed" {
		t.Fatalf("without approval: %d %s", a.Status, a.Type)
	}
	asked, err := issuer.RequestApproval(ctx, wire.ApprovalRequest{Verb: "detokenize-batch", Method: "POST", Path: "/v1/detokenize/direct/batch", Body: body, Reason: "case 7"})
	if err != nil || strings.Contains(asked.Summary, tok.Ref) {
		t.Fatalf("asking: %+v, %v", asked, err)
	}
	if _, err := issuer.Approve(ctx, asked.ID, asked.Digest); !client.IsProblem(err, "denied") {
		t.Errorf("who asks approves: %v", err)
	}
	if _, err := officers[0].Approve(ctx, asked.ID, wire.Hex32{1}); !client.IsProblem(err, "approval-state") {
		t.Errorf("another digest: %v", err)
	}
	approve := func(id string, digest wire.Hex32) {
		t.Helper()
		for i, o := range officers {
			if a := send(body); id == asked.ID && a.Type != "approval-needed" {
				t.Errorf("after %d approvals: %d %s", i, a.Status, a.Type)
			}
			if _, err := o.Approve(ctx, id, digest); err != nil {
				t.Fatal(err)
			}
		}
	}
	approve(asked.ID, asked.Digest)
	if a := send(strings.Replace(body, "dispute", "settlement", 1)); a.Type != "approval-needed" {
		t.Errorf("another purpose: %d %s", a.Status, a.Type)
	}
	if a := send(body); a.Status != 200 || !strings.Contains(string(a.Body), testPAN) {
		t.Errorf("approved: %d %s", a.Status, a.Type)
	}
	if a := send(body); a.Type != "approval-needed" {
		t.Errorf("once more: %d %s", a.Status, a.Type)
	}
	record, err := os.ReadFile(l.Config.Path(l.Config.Audit.File))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"requested detokenize-batch", "approved detokenize-batch", "used detokenize-batch"} {
		if !strings.Contains(string(record), step) {
			t.Errorf("the record does not tell of %q", step)
		}
	}
	settle(t, l)
}

// settle changes a range under a service whose settings need approval.
func settle(t *testing.T, l *lab.Lab) {
	t.Helper()
	next := l.Config
	next.Vault.Ranges = append(next.Vault.Ranges[:1:1], assembly.Range{Name: "more", Prefix: "6298", Length: 16, Luhn: true})
	body, err := next.Guarded()
	if err != nil {
		t.Fatal(err)
	}
	asked, err := l.Client(t, "operator").RequestApproval(t.Context(), wire.ApprovalRequest{Verb: "settings", Method: "RUN", Path: "serve", Body: string(body)})
	if err != nil || !json.Valid([]byte(asked.Summary)) {
		t.Fatalf("asking: %+v, %v", asked, err)
	}
	was := l.Config
	restart := func(c assembly.Config, want error) {
		t.Helper()
		l.Config = c
		if err := l.Start(t); !errors.Is(err, want) {
			t.Fatalf("starting: %v, want %v", err, want)
		}
	}
	l.Stop(t)
	restart(next, quorum.ErrNeeded)
	believing := was
	believing.Identity.Issuers = []assembly.ForeignIssuer{{Name: "corp", Issuer: "https://id.example", Audience: "a", JWKSURL: "https://id.example/keys",
		Grants: []assembly.ForeignGrant{{Claim: "team", Value: "ops", Role: access.Issuer, Scopes: []access.Action{access.DetokenizeDirect}}}}}
	restart(believing, quorum.ErrNeeded) // an issuer's grants are as good as clients
	bare := next
	bare.Quorum = nil
	restart(bare, quorum.ErrNeeded) // taking the rule away is a change, too
	restart(was, nil)
	for _, id := range []string{"officer", "officer-2"} {
		if _, err := l.Client(t, id).Approve(t.Context(), asked.ID, asked.Digest); err != nil {
			t.Fatal(err)
		}
	}
	l.Stop(t)
	restart(next, nil)
	l.Stop(t)
	restart(next, nil)
	l.Stop(t)
	restart(was, quorum.ErrNeeded) // the way back is a change as well
	restart(next, nil)
}
