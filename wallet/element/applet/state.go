package applet

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// slot is one purchase that the issuer allowed.
type slot struct {
	UD    credential.UD
	Grant int // which credential speaks for it
}

// state is all that an element remembers. Keys and PIN are in it: its memory is
// inside the element.
type state struct {
	State    message.State
	Seq      uint32 // of the last script obeyed
	Last     []byte // digest of that script
	Receipts uint32
	Top      int // one more than the highest counter ever taken; rises
	Tries    byte
	PIN      []byte
	Script   message.Key
	App      message.Application // without what was enciphered
	Purchase [16]byte
	TAC      [16]byte
	Credits  [][]byte // credentials, one for each grant
	Slots    []slot
	Taps     [][]byte // the last ones
	BadMAC   int      // MAC1 in a row that did not hold
}

const maxState = 64 << 10

var errState = errors.New("applet: the memory is damaged")

func (s state) bytes() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // nothing in it can fail to print
	}
	return b
}

// parseState reads what a memory holds; nothing is a new element.
func parseState(b []byte) (s state, err error) {
	if len(b) == 0 {
		return s, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if len(b) > maxState || d.Decode(&s) != nil || d.Decode(&struct{}{}) != io.EOF || !s.sound() {
		return state{}, errState
	}
	return s, nil
}

// sound reports whether an element can have come to s.
func (s state) sound() bool {
	if s.Tries > pinTries || len(s.PIN) != 0 && len(s.PIN) != mask.PINSize || len(s.Slots) > message.MaxSlots || len(s.Taps) > message.MaxSlots ||
		s.Top < 0 || s.Top > 0x10000 || s.State > message.Erased {
		return false
	}
	for i, l := range s.Slots {
		b := l.UD.Bytes()
		if _, err := credential.ParseUD(b[:]); err != nil || l.Grant < 0 || l.Grant >= len(s.Credits) || int(l.UD.Ctr) >= s.Top || i > 0 && l.UD.Ctr <= s.Slots[i-1].UD.Ctr {
			return false
		}
	}
	for _, c := range s.Credits {
		if _, err := credential.Parse(c); err != nil {
			return false
		}
	}
	for _, t := range s.Taps {
		if _, err := payload.ParseTap(t); err != nil {
			return false
		}
	}
	return true
}

// without drops a slot, and credentials that speak for none any more.
func (s state) without(ctr uint16) state {
	next := s
	next.Slots, next.Credits = nil, nil
	at := map[int]int{}
	for _, l := range s.Slots {
		if l.UD.Ctr == ctr {
			continue
		}
		if _, ok := at[l.Grant]; !ok {
			at[l.Grant] = len(next.Credits)
			next.Credits = append(next.Credits, s.Credits[l.Grant])
		}
		next.Slots = append(next.Slots, slot{l.UD, at[l.Grant]})
	}
	return next
}
