package tokenize_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// TestSequenceNumbers: a card sequence number has two digits, or there is none.
func TestSequenceNumbers(t *testing.T) {
	s := open(t)
	for psn, good := range map[string]bool{
		"": true, "00": true, "01": true, "10": true, "99": true, "90": true, "09": true,
		"0": false, "9": false, "000": false, "123": false, "0/": false, "/0": false, "0:": false, ":0": false,
		"9:": false, "9/": false, "0x": false, "x0": false, " 1": false, "-1": false,
	} {
		r := request(t, 1)
		r.PSN = psn
		got, err := s.Request(t.Context(), bank, r)
		if good && (err != nil || got.PSN != psn) || !good && fault.KindOf(err) != fault.Malformed {
			t.Errorf("%q: %q, %v", psn, got.PSN, err)
		}
	}
}

// TestNewEnds: a new end is ahead of now and an hour or more after the beginning. It is as
// far from now as a request could ask for where a card is on file, from the beginning otherwise.
func TestNewEnds(t *testing.T) {
	s := open(t)
	update := func(ref token.Ref, to time.Time) error {
		_, err := s.Update(t.Context(), bank, ref, token.Attributes{NotAfter: &to}, access.Attempt{})
		return err
	}
	begin := s.Clock.Now()
	tok := s.issue(t, 1)
	r := request(t, 2)
	r.FormFactor = token.FormCardOnFile
	r.PANExpiry = "4912"
	file, err := s.Request(t.Context(), bank, r)
	if err != nil {
		t.Fatal(err)
	}
	ends := func(name string, ref token.Ref, to time.Time, good bool) {
		t.Helper()
		if err := update(ref, to); good && err != nil || !good && fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	ends("a second less than an hour", tok.Ref, begin.Add(time.Hour-time.Second), false)
	ends("an hour", tok.Ref, begin.Add(time.Hour), true)
	ends("a week", tok.Ref, begin.Add(7*day), true)
	s.Clock.Add(2 * time.Hour)
	now := s.Clock.Now()
	ends("now", tok.Ref, now, false)
	ends("a second ahead", tok.Ref, now.Add(time.Second), true)
	ends("a week from the beginning", tok.Ref, begin.Add(7*day), true)
	ends("a second more", tok.Ref, begin.Add(7*day+time.Second), false)
	const longest = 5 * 366 * day
	ends("on file, five years from now", file.Ref, now.Add(longest), true)
	ends("on file, a second more", file.Ref, now.Add(longest+time.Second), false)
}

// TestRefusalsShowNoToken: beside an error there is no token, nor a state of one.
func TestRefusalsShowNoToken(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	if got, err := s.Token(t.Context(), rival, tok.Ref); err == nil || !reflect.DeepEqual(got, token.Token{}) {
		t.Errorf("%+v, %v", got, err)
	}
}
