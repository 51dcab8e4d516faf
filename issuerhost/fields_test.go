package issuerhost_test

import (
	"errors"
	"math"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/issuerhost"
)

// TestWhichFieldOfAValueIsWrong: as of a cryptogram, a caller is told the field
// and what would do.
func TestWhichFieldOfAValueIsWrong(t *testing.T) {
	h := newHouse(t)
	dynamic := issuerhost.Value{Kind: issuerhost.DCVV, PAN: pan(t, panText), Expiry: "2912", Service: "101", ATC: [2]byte{0, 0x0A}}
	for what, err := range map[string]error{
		"atc: must have decimal digits for a dcvv": second(h.MakeValue(t.Context(), bank, dynamic)),
		"value: must have 3 digits, 3 to 5 for a cvc3": h.CheckValue(t.Context(), bank,
			issuerhost.Value{Kind: issuerhost.CVV, PAN: pan(t, panText), Expiry: "2912", Service: "101"}, "12345", access.Attempt{}),
		"cryptogram: must be 28 characters of base64, as they were made": second(emv.ParseToken("AQEAAAABg8wrXozS9F2mrYTXAAE=")),
	} {
		if field := new(emv.FieldError); !errors.As(err, &field) || err.Error() != what {
			t.Errorf("%v, want %s", err, what)
		}
	}
}

// TestLastNumbersOfScripts: every number that a command can have is served, and
// behind the last one nothing begins anew.
func TestLastNumbersOfScripts(t *testing.T) {
	h := newHouse(t)
	q := issuerhost.Script{Payer: issuerhost.Payer{PAN: pan(t, panText)}, Profile: "mchip-20", ATC: [2]byte{0, 7},
		Commands: []issuerhost.Command{{Header: [5]byte{0x84, 0x16, 0, 0, 8}}}, First: math.MaxUint16}
	if got, err := h.Sign(t.Context(), bank, q); err != nil || len(got) != 1 {
		t.Errorf("the last number: %d commands, %v", len(got), err)
	}
	q.Commands = append(q.Commands, q.Commands[0])
	_, err := h.Sign(t.Context(), bank, q)
	if field := new(emv.FieldError); !errors.As(err, &field) || field.Field != "first" {
		t.Errorf("behind the last number: %v", err)
	}
	q.First--
	if got, err := h.Sign(t.Context(), bank, q); err != nil || len(got) != 2 {
		t.Errorf("both of the last numbers: %d commands, %v", len(got), err)
	}
}

func second[T any](_ T, err error) error { return err }
