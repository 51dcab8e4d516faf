package quorumdb_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/quorum"
	"github.com/tapvault/tapvault/quorum/quorumdb"
)

// TestPagesOfOneMoment: of approvals that were asked for in one moment none is passed over
// where a page ends, neither by who looks for a good one nor by who lists them.
func TestPagesOfOneMoment(t *testing.T) {
	d := quorumdb.New(storetest.New(t))
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const n = 103
	for i := range n {
		a := quorum.Approval{ID: fmt.Sprintf("ap%026d", i), Verb: quorum.VaultExport, Method: quorum.Run, Path: "export", Requester: "a", Needed: 1,
			State: quorum.Approved, CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
		if err := d.Insert(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	ready := make(map[string]bool)
	for behind := (quorum.Approval{}); ; {
		some, err := d.Ready(t.Context(), quorum.Which{Now: at}, behind)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		for _, a := range some {
			ready[a.ID], behind = true, a
		}
	}
	listed := make(map[string]bool)
	for p := (quorum.Page{Limit: 50}); ; {
		some, err := d.List(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		for _, a := range some {
			listed[a.ID], p.Before, p.BeforeID = true, a.CreatedAt, a.ID
		}
	}
	if len(ready) != n || len(listed) != n {
		t.Errorf("%d were looked at and %d listed, of %d", len(ready), len(listed), n)
	}
}
