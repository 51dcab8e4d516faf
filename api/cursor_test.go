package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/tokenize"
)

// TestCursorOfAnotherSearch: whoever goes on under another filter is told that
// it is the cursor, as every other list tells.
func TestCursorOfAnotherSearch(t *testing.T) {
	e := newEdge(t)
	e.back.err = fmt.Errorf("searching: %w", tokenize.ErrCursor)
	s := find(t, "/v1/tokens?last4=7894&state=ACTIVE&limit=20")
	s.path += "&cursor=AAAA"
	w := e.do(s, s.request())
	if body := w.Body.String(); w.Code != 400 || !strings.Contains(body, `"field":"cursor"`) || !strings.Contains(body, "cursor: must be a cursor that this list gave") {
		t.Errorf("%d %s", w.Code, body)
	}
}

// TestCursorOfNoRecord: the audit record's list tells it too.
func TestCursorOfNoRecord(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/audit/records?cursor=0&limit=5")
	s.path = "/v1/audit/records?cursor=7&limit=5"
	w := e.do(s, s.request())
	if body := w.Body.String(); w.Code != 400 || !strings.Contains(body, `"field":"cursor"`) || !strings.Contains(body, "cursor: must be a cursor that this list gave") {
		t.Errorf("%d %s", w.Code, body)
	}
}
