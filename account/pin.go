package account

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/token"
)

// WrongTap is one tap with a wrong PIN.
type WrongTap struct{ At time.Time }

// How wrong PINs count: what was typed once opens a window, however many taps
// are made in it.
const (
	pinWindow   = 300 * time.Second
	pinRestrict = 3
	pinSuspend  = 5
	pinTaps     = 9 // taps that end it, in however few windows
)

// MostWrong is how many bad TACs a phone may tell of between two right PINs.
const MostWrong = pinTaps

// windows counts the entries behind wrong taps, in the order of the taps.
func windows(taps []WrongTap) (n int) {
	at := slices.SortedFunc(slices.Values(taps), func(a, b WrongTap) int { return a.At.Compare(b.At) })
	var opened time.Time
	for i, t := range at {
		if i == 0 || t.At.Sub(opened) > pinWindow {
			n, opened = n+1, t.At
		}
	}
	return n
}

// pinVerdict is what wrong PINs lead to: those of windows and those entered
// online share one count.
func pinVerdict(taps []WrongTap, online int) WalletState {
	switch n := windows(taps) + online; {
	case n >= pinSuspend || len(taps) >= pinTaps:
		return WalletSuspended
	case n >= pinRestrict:
		return WalletRestricted
	}
	return WalletActive
}

// triedOnline asks who keeps PINs, if anybody does.
func (s *Service) triedOnline(ctx context.Context, id token.WalletID) (success time.Time, wrong int, err error) {
	if s.cfg.PINs == nil {
		return time.Time{}, 0, nil
	}
	return s.cfg.PINs.Since(ctx, id)
}

// WrongWindows counts the PIN entries that taps since then showed to be wrong. It
// is for services that have passed a gate of their own.
func (s *Service) WrongWindows(ctx context.Context, id token.WalletID, since time.Time) (int, error) {
	taps, err := s.cfg.Book.WrongTaps(ctx, id, since)
	if err != nil {
		return 0, fmt.Errorf("counting wrong PINs: %w", err)
	}
	return windows(taps), nil
}
