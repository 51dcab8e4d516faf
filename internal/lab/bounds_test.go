package lab_test

import (
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// TestTwoProcessesBoundTogether has two processes of the service share a
// database. One caller may ask them as much as it may ask one, and guess the MACs
// of a card as often; both say truly when to come back; others are not held up.
func TestTwoProcessesBoundTogether(t *testing.T) {
	f := newFleet(t, 2, "limits:\n  callers: {auditor: {per_minute: 1, burst: 40}}\n")
	f.asks(t)
	for !f.guesses(t) {
		t.Log("a new day began meanwhile: once more")
	}
}

// asks asks both processes in turn until both say that it is enough.
func (f *fleet) asks(t *testing.T) {
	t.Helper()
	bearer, began, answered := f.login("auditor"), time.Now(), 0
	for told := 0; told < 4; {
		code, wait := f.call(t, bearer, answered+told, "/v1/audit/records", "")
		switch {
		case code == http.StatusOK && told == 0:
			answered++
		case code == http.StatusOK: // a minute went by, and one more was allowed
			answered, told = answered+1, 0
		case code != http.StatusTooManyRequests || wait < time.Second || wait > time.Minute:
			t.Fatalf("answer %d: %d, to wait %v", answered+told, code, wait)
		default:
			told++
		}
	}
	// Each process may hold what it took of the bucket: a twentieth of it.
	if most := 40 + int(time.Since(began)/time.Minute) + 1; answered < 40-2*2 || answered > most {
		t.Errorf("%d requests were answered, of 40 that may be asked at once", answered)
	}
}

const card = `{"card":{"realm":"transit","issuer":"1000000000000001","asn":"00003104870000000017","key_version":1,"algorithm_id":0},` +
	`"rand":"584633C9","offline_seq":0,"amount":1,"txn_type":6,"term_id":"001122334455","term_seq":0,"date":"20161216","time":"134600","mac2":"00000000"}`

// guesses guesses at both processes in turn until both refuse to judge. It
// returns false when the count began anew meanwhile.
func (f *fleet) guesses(t *testing.T) bool {
	t.Helper()
	const path = "/v1/cryptograms/purchase/verify"
	thief, holder := f.login("terminal"), f.login("issuer")
	day := time.Now().UTC().YearDay()
	judged, told := 0, 0
	for told < 4 && time.Now().UTC().YearDay() == day {
		code, wait := f.call(t, thief, judged+told, path, card)
		left := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour))
		switch {
		case code == http.StatusForbidden && told == 0:
			judged++
		case code == http.StatusTooManyRequests && wait >= left-time.Minute && wait <= left+time.Minute:
			told++
		default:
			t.Fatalf("guess %d: %d, to wait %v of %v", judged+told, code, wait, left)
		}
	}
	for i := range f.ships { // no MAC is known here: being refused is being judged
		if code, _ := f.call(t, holder, i, path, card); code != http.StatusForbidden {
			t.Errorf("another caller: %d", code)
		}
	}
	if time.Now().UTC().YearDay() != day {
		return false
	}
	if judged != 32 {
		t.Errorf("%d guesses were judged", judged)
	}
	return true
}

// call calls the nth process in turn and returns its status, and how long it
// says that a caller has to wait.
func (f *fleet) call(t *testing.T, bearer string, n int, path, body string) (status int, wait time.Duration) {
	t.Helper()
	key := ""
	if body != "" {
		key = "call-" + strconv.Itoa(n)
	}
	resp, err := f.sendAs(bearer, f.ships[n%len(f.ships)], path, key, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	s, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return resp.StatusCode, time.Duration(s) * time.Second
}
