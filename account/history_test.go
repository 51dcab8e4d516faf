package account_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// TestOneByOneIsTogether: what taps show of a phone does not depend on whether they come in
// one upload, or each by itself and the last of them twice.
func TestOneByOneIsTogether(t *testing.T) {
	keys := hsmtest.New(t, hsmtest.Options{})
	at := func(l *walletLab, d time.Duration, terminal byte) func(*account.Tap) {
		return func(x *account.Tap) {
			x.At, x.Terminal[0] = cryptogram.DateTimeOf(l.vault.Clock.Now().Add(d).In(shanghai)), terminal
		}
	}
	left := func(fen uint32) func(*account.Tap) { return func(x *account.Tap) { x.Balance = fen } }
	for _, tc := range []struct {
		name string
		taps func(l *walletLab, tok token.Token, slots []credential.UD) []account.Tap
		want []string
	}{
		{"two places", func(l *walletLab, tok token.Token, slots []credential.UD) []account.Tap {
			return []account.Tap{l.ride(tok, slots[0], at(l, -10*time.Minute, 1)), l.ride(tok, slots[1], at(l, 0, 2))}
		}, []string{"VELOCITY"}},
		{"two at once", func(l *walletLab, tok token.Token, slots []credential.UD) []account.Tap {
			return []account.Tap{l.ride(tok, slots[0], at(l, -4*time.Second, 3)), l.ride(tok, slots[1], at(l, 0, 4))}
		}, []string{"TWO_AT_ONCE"}},
		{"out of order", func(l *walletLab, tok token.Token, slots []credential.UD) []account.Tap {
			return []account.Tap{l.ride(tok, slots[1], at(l, -11*time.Minute, 3)), l.ride(tok, slots[0], at(l, 0, 3))}
		}, []string{"ORDER_ONCE"}},
		{"more left than before", func(l *walletLab, tok token.Token, slots []credential.UD) []account.Tap {
			return []account.Tap{l.ride(tok, slots[0], at(l, -time.Minute, 3), left(900)), l.ride(tok, slots[1], at(l, 0, 3), left(901))}
		}, []string{"CHAIN"}},
		{"as much left", func(l *walletLab, tok token.Token, slots []credential.UD) []account.Tap {
			return []account.Tap{l.ride(tok, slots[0], at(l, -time.Minute, 3), left(900)), l.ride(tok, slots[1], at(l, 0, 3), left(900))}
		}, nil},
		{"twenty in a day", rides(20), nil},
		{"twenty-one", rides(21), []string{"MANY_TAPS"}},
	} {
		for _, together := range []bool{true, false} {
			l := walletLabOn(t, storetest.New(t), keys)
			l.points[[6]byte{1, 0, 0, 0, 0, 7}], l.points[[6]byte{2, 0, 0, 0, 0, 7}] = detect.Point{Lat: 31, Lon: 121}, detect.Point{Lat: 31.5, Lon: 121}
			w, tok, slots := l.many()
			taps := tc.taps(l, tok, slots)
			if together {
				l.upload(taps...)
			} else {
				for _, x := range taps {
					l.upload(x)
				}
			}
			l.upload(taps[len(taps)-1])
			l.upload(taps...)
			if got := l.signals(w); !slices.Equal(got, tc.want) {
				t.Errorf("%s, together %v: %v, want %v", tc.name, together, got, tc.want)
			}
		}
	}
}

// many is a wallet with slots for more taps than are usual in a day.
func (l *walletLab) many() (token.WalletID, token.Token, []credential.UD) {
	l.t.Helper()
	w := l.open(20000, account.Opening{})
	tok := l.bind(w)
	terms := tierA
	terms.Layout = layout(24, 400)
	s := l.sync(w, tok.Ref, terms)
	if s.Grant == nil || len(s.Grant.Slots) != 24 {
		l.t.Fatalf("%+v", s)
	}
	l.vault.Clock.Add(time.Hour)
	return w, tok, s.Grant.Slots
}

// rides are n taps, a minute after each other.
func rides(n int) func(*walletLab, token.Token, []credential.UD) []account.Tap {
	return func(l *walletLab, tok token.Token, slots []credential.UD) (taps []account.Tap) {
		for i := range n {
			moment := l.vault.Clock.Now().Add(time.Duration(i-n) * time.Minute)
			taps = append(taps, l.ride(tok, slots[i], func(x *account.Tap) { x.At = cryptogram.DateTimeOf(moment.In(shanghai)) }))
		}
		return taps
	}
}

// TestAnotherBundle: once a phone has another bundle, what it said of its first is no chain,
// also for taps that come one by one.
func TestAnotherBundle(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	left := func(fen uint32) func(*account.Tap) { return func(x *account.Tap) { x.Balance = fen } }
	first := l.ride(tok, slots[0], left(900))
	l.one(first)
	l.vault.Clock.Add(time.Minute)
	if s := l.sync(w, tok.Ref, tierA, words(slots, first)...); s.Grant == nil {
		t.Fatalf("no other bundle: %+v", s)
	}
	l.one(l.ride(tok, slots[1], left(901)))
	if got := l.signals(w); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestOldListOfNoTerminal: what only a phone told of says nothing of a terminal's list,
// neither when it is told nor when the next tap comes; a terminal's upload of it does.
func TestOldListOfNoTerminal(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	l.lists.current = 7
	first, second := l.ride(tok, slots[0]), l.ride(tok, slots[1], func(x *account.Tap) { x.ListVersion = 7 })
	l.sync(w, tok.Ref, tierA, words(slots, first)...)
	l.one(second)
	if got := l.signals(w); slices.Contains(got, string(detect.StaleList)) {
		t.Errorf("of a phone's word: %v", got)
	}
	l.one(first)
	if got := l.signals(w); !slices.Contains(got, string(detect.StaleList)) {
		t.Errorf("of a terminal's upload: %v", got)
	}
}

// TestRowsOfBefore: a tap that is stored as no program stores it is told of, and nothing is
// concluded from a part of it.
func TestRowsOfBefore(t *testing.T) {
	keys := hsmtest.New(t, hsmtest.Options{})
	for name, spoil := range map[string]string{
		"a terminal of five bytes": "UPDATE taps SET terminal = x'0000000000'",
		"a UD of eight bytes":      "UPDATE taps SET ud = x'0000000000000000'",
	} {
		l := walletLabOn(t, storetest.New(t), keys)
		_, tok, slots := l.ready()
		l.one(l.ride(tok, slots[0]))
		l.spoil(spoil)
		l.want(name, l.one(l.ride(tok, slots[1])), account.Deferred, account.Unreadable)
	}
}
