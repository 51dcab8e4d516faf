package assembly

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/obs"
)

// TestRecycledByOutcome: a module that failed to come back does not count as one
// that did.
func TestRecycledByOutcome(t *testing.T) {
	r := hsm.Recycled{Times: 3, Failed: 2, PutOff: 1}
	m := obs.NewMetrics(recycleGauges("1", func() hsm.Recycled { return r })...)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for outcome, n := range map[string]string{"held": "3", "failed": "2", "put_off": "1"} {
		if line := `tapvault_hsm_recycled{hsm="1",outcome="` + outcome + `"} ` + n; !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}
