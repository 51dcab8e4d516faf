package assembly

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api"
	"github.com/tapvault/tapvault/internal/obs"
)

// TestDeployNamesWhatThereIs holds alert rules, dashboard and docs/operations.md to the
// metrics: a rule over a metric that nobody gives never fires. docs/operations.md names all.
func TestDeployNamesWhatThereIs(t *testing.T) {
	gauge := func(name string) obs.Gauge {
		return obs.Gauge{Name: name, Help: "-", Value: func() float64 { return 1 }}
	}
	var source []byte
	for _, file := range []string{"accounts.go", "build.go", "capacity.go", "chores.go", "clocks.go", "denylist.go", "hsmtokens.go", "limits.go", "loads.go", "process.go", "services.go", "traces.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	var gauges []obs.Gauge
	for _, m := range regexp.MustCompile(`obs.Gauge\{Name: "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		gauges = append(gauges, gauge(m[1]))
	}
	metrics := obs.NewMetrics(gauges...)
	metrics.Observe("/x", http.StatusOK, time.Millisecond)
	metrics.Observe("/x", api.StatusGone, time.Millisecond)
	w := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if gone := `tapvault_http_requests_total{route="/x",status="gone"} 1`; !strings.Contains(w.Body.String(), gone) {
		t.Errorf("what api observes when a caller left is not counted as %s", gone)
	}
	for _, name := range []string{"deploy/alerts.yml", "deploy/dashboard.json", "operations.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", name)
		}
		found := regexp.MustCompile(`\b(tapvault|process)_[a-z_]+\b`).FindAllString(string(text), -1)
		if len(found) < 5 {
			t.Errorf("%s names %d metrics", name, len(found))
		}
		for _, m := range found {
			if m == "process_start_time_seconds" {
				t.Errorf("%s names %s, which needs /proc/stat: the systemd unit hides it", name, m)
			}
			if strings.HasSuffix(name, ".md") && strings.Contains(w.Body.String(), "# TYPE "+m+" histogram\n") {
				continue // a rule needs one of its series, and a reader its name
			}
			if !strings.Contains(w.Body.String(), "\n"+m+"{") && !strings.Contains(w.Body.String(), "\n"+m+" ") {
				t.Errorf("%s names %s, which nobody gives", name, m)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^tapvault_\w+`).FindAllString(w.Body.String(), -1) {
		m = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(m, "_bucket"), "_count"), "_sum")
		if !strings.Contains(string(text), "| `"+m+"`") && !strings.Contains(string(text), ", `"+m+"` |") {
			t.Errorf("docs/operations.md does not say what %s is", m)
		}
	}
}
