package account_test

import (
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestAnswerIsWrittenOnce: a sync that another process answered after this one looked is
// not answered again. The loser leaves nothing: no slots, no money held.
//
// A trigger is the other process. Isolation alone would keep most databases from this,
// so nothing but the condition of the statement is left here to hold it.
func TestAnswerIsWrittenOnce(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(20000, account.Opening{})
	tok := l.bind(w)
	const answer = `{"Result":"GAPS","State":"ACTIVE"}`
	storetest.Exec(t, l.db, `CREATE TRIGGER faster AFTER INSERT ON slots BEGIN UPDATE syncs SET answer = '`+answer+`' WHERE answer = ''; END`)
	r := l.request(w, tok.Ref, tierA)
	if s, err := l.Sync(t.Context(), phone, r); err == nil {
		t.Errorf("a sync was answered over the answer of another process: %+v", s)
	}
	if f := l.funds(w); len(f.Lots) != 0 || f.Balances.Reserve != 0 || f.Balances.Available != 20000 {
		t.Errorf("whoever was slower left %d slots, %+v", len(f.Lots), f.Balances)
	}
	l.invariants()
	storetest.Exec(t, l.db, `DROP TRIGGER faster`)
	s, err := l.Sync(t.Context(), phone, r)
	if err != nil || s.Grant == nil || s.Grant.Held != tierA.Limit {
		t.Fatalf("the phone repeats its sync: %+v, %v", s, err)
	}

	// And answered by another process, it is answered by that one's words.
	storetest.Exec(t, l.db, `UPDATE syncs SET answer = '`+answer+`'`)
	if s, err = l.Sync(t.Context(), phone, r); err != nil || s.Result != account.SyncGaps {
		t.Errorf("the answer that is kept is not the one given: %+v, %v", s, err)
	}
	l.invariants()
}
