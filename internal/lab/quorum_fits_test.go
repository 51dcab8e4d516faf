package lab_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/quorum"
)

// TestApprovalOutlivesARefusal: a batch that is refused before it begins, since its caller
// had as many card numbers as it may, or cannot be read, uses no approval up.
func TestApprovalOutlivesARefusal(t *testing.T) {
	l := lab.New(t, lab.Options{Config: func(c *assembly.Config) {
		c.Quorum = map[string]assembly.Quorum{string(quorum.DetokenizeBatch): {Needed: 1, Approvers: []string{"officer", "officer-2"}}}
		c.Detokenize = assembly.Detokenize{PerMinute: 30, Burst: 2}
	}})
	ctx, issuer, officer := t.Context(), l.Client(t, "issuer"), l.Client(t, "officer")
	tok := newToken(t, l, cardRequest())
	query := `{"token_reference_id":"` + tok.Ref + `"}`
	batch := `{"purpose":"dispute","queries":[` + query + `,` + query
	bearer := l.Bearer(t, "issuer")
	send := func(path, text string) lab.Answer {
		t.Helper()
		return l.Send(t, http.MethodPost, "/v1/detokenize/direct"+path, bearer, []byte(text))
	}
	approved := func(body string) (id string) {
		t.Helper()
		asked, err := issuer.RequestApproval(ctx, wire.ApprovalRequest{Verb: "detokenize-batch", Method: "POST", Path: "/v1/detokenize/direct/batch", Body: body, Reason: "case 7"})
		if err == nil {
			_, err = officer.Approve(ctx, asked.ID, asked.Digest)
		}
		if err != nil {
			t.Fatal(err)
		}
		return asked.ID
	}
	still := func(what, id, want string) {
		t.Helper()
		if a, err := issuer.Approval(ctx, id); err != nil || a.State != want {
			t.Errorf("%s: the approval is %s, want %s, %v", what, a.State, want, err)
		}
	}
	for name, body := range map[string]string{"more than ever": batch + `,` + query + `]}`, "another field": batch + `],"more":1}`} {
		id := approved(body)
		if a := send("/batch", body); a.Status == http.StatusOK || a.Type == "approval-needed" {
			t.Errorf("%s: %d %s", name, a.Status, a.Type)
		}
		still(name, id, "APPROVED")
	}
	for range 2 {
		if a := send("", `{"purpose":"dispute",`+query[1:]); a.Status != http.StatusOK {
			t.Fatalf("one card: %d %s", a.Status, a.Type)
		}
	}
	body := batch + `]}`
	id := approved(body)
	if a := send("/batch", body); a.Type != "too-fast" {
		t.Errorf("too fast: %d %s", a.Status, a.Type)
	}
	still("too fast", id, "APPROVED")
	a := send("/batch", body)
	for end := time.Now().Add(time.Minute); a.Type == "too-fast" && time.Now().Before(end); a = send("/batch", body) {
		time.Sleep(100 * time.Millisecond)
	}
	if a.Status != http.StatusOK {
		t.Errorf("after a while: %d %s", a.Status, a.Type)
	}
	still("after it was let through", id, "USED")
}
