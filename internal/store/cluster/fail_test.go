package cluster_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tapvault/tapvault/internal/store/cluster"
)

// TestStandby: what was committed is there after a crash and a restart, and
// after the first server is gone and its standby took its place.
func TestStandby(t *testing.T) {
	first, err := cluster.Start(t.Context(), cluster.Options{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Stop() }()
	dsn, err := first.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do := func(c *cluster.Cluster, dsn, q string) {
		t.Helper()
		if err := c.Exec(t.Context(), dsn, q); err != nil {
			t.Fatalf("%s: %v\n%s", q, err, c.Log())
		}
	}
	do(first, dsn, "CREATE TABLE kept (n INTEGER)")
	do(first, dsn, "INSERT INTO kept VALUES (1)")
	if err := first.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := first.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := first.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Stop() }()
	do(first, dsn, "INSERT INTO kept VALUES (2)")
	if err := first.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := second.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	there := second.At(dsn)
	do(second, there, "INSERT INTO kept VALUES (3)")
	conn, err := pgx.Connect(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var sum int
	if err := conn.QueryRow(t.Context(), "SELECT sum(n) FROM kept").Scan(&sum); err != nil || sum != 6 {
		t.Errorf("what is left adds up to %d, %v", sum, err)
	}
}
