package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/audit/tree"
)

// auditors answers as the auditor's service does.
type auditors struct{ *backend }

func (a auditors) Checkpoint(context.Context, access.Caller) (auditor.Signed, error) {
	return auditor.Signed{Checkpoint: tree.Checkpoint{Origin: "x/audit/1", Head: tree.Head{Size: 3, Root: tree.Hash{1}}}, Note: "a note", At: time.Unix(1, 0)}, a.act()
}

func (a auditors) Inclusion(_ context.Context, _ access.Caller, line, size int64) (tree.Hash, []tree.Hash, error) {
	if line != 2 || size != 3 {
		return tree.Hash{}, nil, tree.ErrRange
	}
	return tree.Hash{2}, []tree.Hash{{3}}, a.act()
}

func (a auditors) Consistency(_ context.Context, _ access.Caller, from, to int64) ([]tree.Hash, error) {
	if from != 2 || to != 3 {
		return nil, tree.ErrRange
	}
	return []tree.Hash{{4}}, a.act()
}

func (a auditors) Records(_ context.Context, _ access.Caller, cursor string, limit int) ([]string, string, error) {
	if cursor != "0" || limit != 5 {
		return nil, "", auditor.ErrCursor
	}
	return []string{`{"seq":1}`}, "10", a.act()
}

// TestAuditQueries: numbers are whole and from 1, and stand there.
func TestAuditQueries(t *testing.T) {
	e := newEdge(t)
	for _, query := range []string{"inclusion", "inclusion?line=2", "inclusion?line=0&size=3", "inclusion?line=02&size=3", "inclusion?line=-1&size=3",
		"inclusion?line=2&size=9223372036854775808", "inclusion?line=9&size=3", "inclusion?line=2&size=3&x=1",
		"consistency?from=2&to=x", "consistency?from=2", "consistency?from=3&to=2", "records?cursor=7&limit=5", "records?cursor=0&limit=101"} {
		path, _, _ := strings.Cut("/v1/audit/"+query, "?")
		s := sample{http.MethodGet, "/v1/audit/" + query, path, "", 400}
		e.problem(s, s.request(), http.StatusBadRequest, "malformed")
	}
}
