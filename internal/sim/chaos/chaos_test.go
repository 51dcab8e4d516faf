//go:build linux

package chaos

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestShort plays some faults on a service of two processes: what was
// acknowledged is there, and only that. `make chaos` plays all of them.
func TestShort(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "tapvault")
	if out, err := exec.Command("go", "build", "-o", bin, "../../../cmd/tapvault").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := Config{Bin: bin, Dir: filepath.Join(dir, "home"), Nodes: 2, Callers: 6,
		Faults: []string{"kill", "database-failover", "database-cut", "disk-full", "hsm-lost", oneOfTwo, "overload", "certificate", "rolling-restart"}}
	rep, err := Play(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Lost != 0 || len(rep.Wrong) > 0 || rep.Tokens == 0 || rep.Moves == 0 || rep.Records == 0 || rep.Opened == 0 || rep.Proofs < 2 || len(rep.Rows) != len(c.Faults) {
		t.Errorf("%+v", rep)
	}
	var text strings.Builder
	if err := WriteTable(&text, rep); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
}

// TestJudge: what is missing, doubled or moved twice is found.
func TestJudge(t *testing.T) {
	db := storetest.New(t)
	f := &fleet{}
	rep := Report{Rows: make([]Row, 2)}
	l := &load{refs: map[string]int{"gone": 1}, moved: map[string]int{"m1": 0, "m2": 0, "m3": between}, purses: []string{"w1", "w2", "w3"}, paid: map[string]int64{"w1": 5, "w2": 5, "w3": 5}}
	storetest.Exec(t, db, "INSERT INTO wallet_balances (wallet, available, reserve, due, card_load) VALUES ('w1', 5, 0, 0, 0), ('w2', 10, 0, 0, 0)")
	if err := f.tokens(t.Context(), db, l, &rep); err != nil || rep.Lost != 1 || rep.Rows[1].Lost != 1 || len(rep.Wrong) != 2 {
		t.Errorf("a lost token: %+v, %v", rep, err)
	}
	storetest.Exec(t, db, "INSERT INTO account_events (wallet, event_id, kind, amount, at) VALUES ('w1', 'm1', 'TOP_UP', 5, 0), ('w2', 'm2', 'TOP_UP', 5, 0)")
	rep = Report{Rows: make([]Row, 2)}
	if err := f.money(t.Context(), db, l, &rep); err != nil || rep.Lost != 1 || len(rep.Wrong) != 3 {
		t.Errorf("money that moved twice, and not at all: %+v, %v", rep, err)
	}
}

func TestNames(t *testing.T) {
	if err := Check(Names()); err != nil {
		t.Error(err)
	}
	if err := Check([]string{"kill", "meteor"}); err == nil || !strings.Contains(err.Error(), "meteor") {
		t.Errorf("an unknown fault: %v", err)
	}
}
