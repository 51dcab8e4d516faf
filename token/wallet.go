package token

import (
	"encoding/base32"
	"fmt"
	"io"
)

// WalletID names a wallet, and with it the account that funds it: a wallet has
// one account, known by the same id. It is opaque and safe to log.
type WalletID string

// DeviceID names an enrolled device. It is opaque and safe to log.
type DeviceID string

// DrawWalletID draws an id of 128 random bits.
func DrawWalletID(rand io.Reader) (WalletID, error) {
	s, err := drawID("wl", rand)
	return WalletID(s), err
}

// DrawDeviceID draws an id of 128 random bits.
func DrawDeviceID(rand io.Reader) (DeviceID, error) {
	s, err := drawID("dv", rand)
	return DeviceID(s), err
}

// Valid reports whether w looks like a wallet's id.
func (w WalletID) Valid() bool { return validID("wl", string(w)) }

// Valid reports whether d looks like a device's id.
func (d DeviceID) Valid() bool { return validID("dv", string(d)) }

// drawID draws an id of 128 random bits behind a prefix of two letters.
func drawID(prefix string, rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("drawing an id: %w", err)
	}
	return prefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]), nil
}

// validID reports whether s is what [drawID] draws, and so not a card number
// that somebody put in its place.
func validID(prefix, s string) bool {
	if len(s) != len(prefix)+idDigits || s[:len(prefix)] != prefix {
		return false
	}
	for _, b := range []byte(s[len(prefix):]) {
		if (b < 'A' || b > 'Z') && (b < '2' || b > '7') {
			return false
		}
	}
	return true
}
