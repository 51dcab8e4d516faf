package store_test

import (
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestAsOthersDoIt holds what PostgreSQL does seldom and databases that speak
// like it do often: a transaction is broken off because of another's, in the
// middle or at its commit; and numbers have eight bytes.
func TestAsOthersDoIt(t *testing.T) {
	cfg := storetest.Postgres(t)(t)
	one, two := storetest.Open(t, cfg), storetest.Open(t, cfg)
	storetest.Exec(t, one, "CREATE TABLE pairs (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)")
	storetest.Exec(t, one, "INSERT INTO pairs (name, value) VALUES ('x', 0), ('y', 0)")
	// cross writes to one row what it read in the other, and one more.
	cross := func(tx *gorm.DB, from, to string, between func()) error {
		var v int64
		if err := tx.Raw("SELECT value FROM pairs WHERE name = ?", from).Scan(&v).Error; err != nil {
			return err
		}
		between()
		return tx.Exec("UPDATE pairs SET value = ? WHERE name = ?", v+1, to).Error
	}
	runs := 0
	err := one.Tx(t.Context(), func(tx *gorm.DB) error {
		runs++
		return cross(tx, "x", "y", func() {
			if runs > 1 {
				return
			}
			if err := two.Tx(t.Context(), func(tx *gorm.DB) error { return cross(tx, "y", "x", func() {}) }); err != nil {
				t.Errorf("the other: %v", err)
			}
		})
	})
	var x, y int64
	e := errors.Join(one.Read(t.Context()).Raw("SELECT value FROM pairs WHERE name = 'x'").Scan(&x).Error,
		one.Read(t.Context()).Raw("SELECT value FROM pairs WHERE name = 'y'").Scan(&y).Error)
	if err != nil || e != nil || runs != 2 || x != 1 || y != 2 {
		t.Errorf("%v, %v: run %d times; x %d, y %d", err, e, runs, x, y)
	}

	// A server may say so at any statement.
	runs = 0
	err = one.Tx(t.Context(), func(tx *gorm.DB) error {
		if runs++; runs < 4 {
			return tx.Exec("DO $$ BEGIN RAISE EXCEPTION 'restart transaction' USING ERRCODE = '40001'; END $$").Error
		}
		return tx.Exec("UPDATE pairs SET value = ? WHERE name = 'x'", true).Error
	})
	e = one.Read(t.Context()).Raw("SELECT value FROM pairs WHERE name = 'x'").Scan(&x).Error
	if err != nil || e != nil || runs != 4 || x != 1 {
		t.Errorf("%v, %v: run %d times; x %d", err, e, runs, x)
	}
}

// TestRunAgainThoughLate: a transaction that was broken off after it took longer than
// others are stood back for is run again all the same, and not for ever.
func TestRunAgainThoughLate(t *testing.T) {
	cfg := storetest.Postgres(t)(t)
	cfg.BusyTimeout = time.Nanosecond
	db := storetest.Open(t, cfg)
	for broken, want := range map[int]int{0: 1, 1: 2, 7: 8, 1000: 8} {
		runs := 0
		err := db.Tx(t.Context(), func(tx *gorm.DB) error {
			if runs++; runs > broken {
				return nil
			}
			return tx.Exec("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$").Error
		})
		if runs != want || (err == nil) != (broken < want) || err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("broken off %d times: run %d times, %v", broken, runs, err)
		}
	}
}
