package store_test

import (
	"testing"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// setting is what a transaction of a database goes by.
func setting(t *testing.T, d *store.DB, name string) (value string) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Raw("SELECT current_setting(?)", name).Scan(&value).Error })
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestWhoVanishesHoldsNothing: a process that lost its power, or its network, in the
// middle of a transaction leaves rows locked at a server that does not hear of it.
// The server gives them free by itself, so that others go on.
func TestWhoVanishesHoldsNothing(t *testing.T) {
	const limit = "idle_in_transaction_session_timeout"
	cfg := storetest.Postgres(t)(t)
	if got := setting(t, storetest.Open(t, cfg), limit); got != "1min" {
		t.Errorf("by itself, rows are held for %s", got)
	}
	cfg.DSN += "&" + limit + "=400"
	gone, other := storetest.Open(t, cfg), storetest.Open(t, cfg)
	if got := setting(t, gone, limit); got != "400ms" {
		t.Errorf("who asks for 400 ms is given %s", got)
	}
	held, freed, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- gone.Tx(t.Context(), func(tx *gorm.DB) error {
			if err := tx.Exec("DELETE FROM event_head").Error; err != nil {
				return err
			}
			close(held)
			<-freed // no word from it meanwhile
			return nil
		})
	}()
	<-held
	err := other.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Exec("DELETE FROM event_head").Error })
	close(freed)
	if err != nil {
		t.Errorf("the other: %v", err)
	}
	if err := <-ended; fault.KindOf(err) != fault.StoreDown {
		t.Errorf("who was away: %v", err)
	}
}
