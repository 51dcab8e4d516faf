package cli

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// TestVersion: whatever a program was built from, its version says something true of it.
func TestVersion(t *testing.T) {
	type set = []debug.BuildSetting
	for _, x := range []struct {
		main     string
		settings set
		want     string
	}{
		{"v1.2.0", nil, "v1.2.0"},
		{"v0.0.0-20261129211915-633fd79a26ee+dirty", set{{Key: "vcs.revision", Value: "633fd79a26ee"}}, "v0.0.0-20261129211915-633fd79a26ee+dirty"},
		{"(devel)", set{{Key: "vcs.revision", Value: "633fd79a26ee"}, {Key: "vcs.modified", Value: "false"}}, "commit 633fd79a26ee"},
		{"", set{{Key: "vcs.revision", Value: "633fd79a26ee"}, {Key: "vcs.modified", Value: "true"}}, "commit 633fd79a26ee+dirty"},
		{"(devel)", nil, "built without a commit, sha256 of the file"},
	} {
		b := &debug.BuildInfo{Main: debug.Module{Version: x.main}, Settings: x.settings}
		if got := versionOf(b, func() string { return "of the file" }); got != x.want {
			t.Errorf("%s: %q, want %q", x.main, got, x.want)
		}
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(program)); len(ownHash()) != 16 || !strings.HasPrefix(sum, ownHash()) {
		t.Errorf("its hash is %s, and it says %s", sum, ownHash())
	}
}
