package store_test

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/cluster"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestOnlyAStandby: while a first server is gone, and where its address leads to a
// standby, callers are told to come back, and not that the service is broken.
func TestOnlyAStandby(t *testing.T) {
	first, err := cluster.Start(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stops := func(c *cluster.Cluster) {
		t.Cleanup(func() {
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	stops(first)
	dsn, err := first.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, store.Config{DSN: dsn})
	second, err := first.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stops(second)
	open := func(dsn string) *store.DB {
		d, err := store.Open(t.Context(), store.Config{DSN: dsn, BusyTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	named, alone := open(both(t, dsn, first, second)), open(second.At(dsn))
	if err := first.Crash(); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		db   *store.DB
		says string
		kind fault.Kind
	}{
		"both named":   {named, "not available", fault.StoreDown},
		"only standby": {alone, "it may be a standby", fault.StoreReadOnly},
	} {
		err := x.db.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Exec("DELETE FROM attempts").Error })
		if fault.KindOf(err) != x.kind || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// both names two servers, of which the first to take writes is meant.
func both(t *testing.T, dsn string, first, second *cluster.Cluster) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("host", filepath.Dir(first.Socket())+","+filepath.Dir(second.Socket()))
	q.Set("target_session_attrs", "primary")
	u.RawQuery = q.Encode()
	return u.String()
}
