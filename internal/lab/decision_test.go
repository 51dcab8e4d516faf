package lab_test

import (
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/quorum"
)

// TestLoadDecision: an order in SUSPENSE is found in the list of what waits, decided
// by an operator whom an officer approved, and its money is back.
func TestLoadDecision(t *testing.T) {
	logs := readPublished(t, "epurse_load_tdes")[:1]
	l := labOf(t, logs)
	l.Stop(t)
	l.Config.Quorum = map[string]assembly.Quorum{string(quorum.LoadDecision): {Needed: 1, Approvers: []string{"officer"}}}
	if err := l.Start(t); err != nil {
		t.Fatal(err)
	}
	funds := bank(t, l)
	issuer, desk, officer := l.Client(t, "issuer"), l.Client(t, "operator"), l.Client(t, "officer")
	ctx, p := t.Context(), logs[0]
	order, err := issuer.LoadCard(ctx, string(loader), p.order())
	if err != nil {
		t.Fatal(err)
	}
	shown := p.shown(t, order, p.In.OnlineSeq+1, p.In.Balance) // one further, and nothing loaded
	if order, err = issuer.ReverseLoad(ctx, order.ID, shown); err != nil || order.State != "SUSPENSE" {
		t.Fatalf("%s, %v", order.State, err)
	}
	list := func(q url.Values) []wire.LoadMatter {
		t.Helper()
		all, err := desk.LoadMatters(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		return all.Loads
	}
	if all := list(nil); len(all) != 1 || all[0].ID != order.ID || !all[0].Waits || len(all[0].Decisions) != 0 || all[0].Balance != p.In.Balance {
		t.Fatalf("%+v", all)
	}
	d := wire.LoadDecision{Load: order.ID, State: "SUSPENSE", Decision: "REVERSE", Reason: "read at the desk", Evidence: "case 117"}
	if _, err := issuer.DecideLoad(ctx, d); !client.IsProblem(err, "denied") {
		t.Errorf("an issuer decides: %v", err)
	}
	if _, err := desk.DecideLoad(ctx, d); !client.IsProblem(err, "approval-needed") {
		t.Fatalf("without approval: %v", err)
	}
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := desk.RequestApproval(ctx, wire.ApprovalRequest{Verb: "load-decision", Method: "POST", Path: "/v1/loads/decisions", Body: string(body), Reason: "case 117"})
	if err != nil || !strings.Contains(asked.Summary, "REVERSE of "+order.ID+" in SUSPENSE") || !strings.Contains(asked.Summary, "case 117") {
		t.Fatalf("%+v, %v", asked, err)
	}
	if _, err := officer.Approve(ctx, asked.ID, asked.Digest); err != nil {
		t.Fatal(err)
	}
	other := d
	other.Decision = "SETTLE"
	if _, err := desk.DecideLoad(ctx, other); !client.IsProblem(err, "approval-needed") {
		t.Errorf("another decision than was approved: %v", err)
	}
	if funds().Balances.Available != funding-int64(p.In.Amount) {
		t.Errorf("%+v before it was decided", funds().Balances)
	}
	done, err := desk.DecideLoad(ctx, d)
	if err != nil || done.State != "REVERSED" || done.Waits || len(done.Decisions) != 1 || done.Decisions[0].Client != "operator" {
		t.Fatalf("%+v, %v", done, err)
	}
	if b := funds().Balances; b.Available != funding || b.CardLoad != 0 {
		t.Errorf("%+v", b)
	}
	// The answer was lost: the same again needs no approval anew, and moves nothing.
	again, err := desk.DecideLoad(ctx, d)
	if err != nil || again.State != done.State || len(again.Decisions) != 1 || again.Decisions[0].At != done.Decisions[0].At {
		t.Errorf("again: %+v, %v", again, err)
	}
	if b := funds().Balances; b.Available != funding || b.CardLoad != 0 {
		t.Errorf("again: %+v", b)
	}
	other = d
	other.Reason = "because"
	if _, err := desk.DecideLoad(ctx, other); !client.IsProblem(err, "approval-needed") {
		t.Errorf("another reason than was approved: %v", err)
	}
	if all := list(nil); len(all) != 0 {
		t.Errorf("it still waits: %+v", all)
	}
	if all := list(url.Values{"load": {order.ID}}); len(all) != 1 || len(all[0].Decisions) != 1 || all[0].Decisions[0].Evidence != d.Evidence {
		t.Errorf("%+v", all)
	}
	record, err := os.ReadFile(l.Config.Path(l.Config.Audit.File))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"requested load-decision", "approved load-decision", "used load-decision", `REVERSE of SUSPENSE, evidence \"case 117\": read at the desk`} {
		if !strings.Contains(string(record), step) {
			t.Errorf("the record does not tell of %q", step)
		}
	}
}
