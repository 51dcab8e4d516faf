package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/cluster"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// pair is a first server and its standby, with one URL that names both.
type pair struct {
	first, second *cluster.Cluster
	dsn           string
}

func newPair(t *testing.T) (p pair) {
	t.Helper()
	stops := func(c *cluster.Cluster) {
		t.Cleanup(func() {
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	var err error
	if p.first, err = cluster.Start(t.Context(), cluster.Options{}); err != nil {
		t.Fatal(err)
	}
	stops(p.first)
	dsn, err := p.first.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, store.Config{DSN: dsn})
	if p.second, err = p.first.Standby(t.Context()); err != nil {
		t.Fatal(err)
	}
	stops(p.second)
	p.dsn = both(t, dsn, p.first, p.second)
	return p
}

// promote makes the second server the first, with no standby of its own.
func (p pair) promote(t *testing.T) {
	t.Helper()
	alone := func(c *cluster.Cluster) {
		for _, q := range []string{"ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()"} {
			if err := c.Exec(t.Context(), c.At(p.dsn), q); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.second.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	alone(p.second)
}

func (p pair) open(t *testing.T) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), store.Config{DSN: p.dsn, BusyTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func attempt(ctx context.Context, d *store.DB, key string) error {
	return d.Tx(ctx, func(tx *gorm.DB) error {
		_, err := store.Once(tx, "c", access.Attempt{Key: key}, "op", "r")
		return err
	})
}

// sees reports whether a database holds an attempt.
func sees(t *testing.T, d *store.DB, key string) bool {
	t.Helper()
	var n int64
	if err := d.Read(t.Context()).Raw("SELECT count(*) FROM attempts WHERE attempt_key = ?", key).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// TestOldFirstServerComesBack: what was acknowledged after a promotion is found,
// though the server that was the first before runs again and stands first in the
// URL: by a process that was there, and by one that begins.
func TestOldFirstServerComesBack(t *testing.T) {
	p := newPair(t)
	there := p.open(t)
	if err := p.first.Crash(); err != nil {
		t.Fatal(err)
	}
	p.promote(t)
	if err := attempt(t.Context(), there, "after"); err != nil {
		t.Fatal(err)
	}
	if err := p.first.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if begun := p.open(t); !sees(t, begun, "after") {
		t.Error("a process that begins reads what is over")
	}
	drop(t, there)
	if !sees(t, there, "after") {
		t.Error("a process that was there reads what is over")
	}
}

// drop has the new server end every connection.
func drop(t *testing.T, d *store.DB) {
	t.Helper()
	_ = d.Read(t.Context()).Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()").Error
}

// TestFirstServerCutOff: a process that is connected to the server that was the first
// goes to the new one, though nothing broke its connections.
func TestFirstServerCutOff(t *testing.T) {
	p := newPair(t)
	there := p.open(t)
	if sees(t, there, "after") {
		t.Fatal("before")
	}
	p.promote(t)
	alone := p
	alone.dsn = p.second.At(p.dsn)
	if err := attempt(t.Context(), alone.open(t), "after"); err != nil {
		t.Fatal(err)
	}
	for !sees(t, there, "after") { // until it has looked
		if err := there.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEachServerIsNamed: when no server of several can be used, the error says
// why of each.
func TestEachServerIsNamed(t *testing.T) {
	p := newPair(t)
	d := p.open(t)
	if err := p.first.Crash(); err != nil {
		t.Fatal(err)
	}
	err := attempt(t.Context(), d, "x")
	if fault.KindOf(err) != fault.StoreDown || !strings.Contains(err.Error(), p.first.Socket()) ||
		!strings.Contains(err.Error(), p.second.Socket()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}
