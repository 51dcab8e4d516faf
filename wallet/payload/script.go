package payload

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/token"
)

// ScriptSize is the length of a script with its MAC.
const ScriptSize = scriptBody + 16

const (
	scriptVersion = 0xD1
	scriptBody    = 1 + 1 + 4 + 16 + 2 + 2 + 4
	scriptDomain  = "tapvault/script/v1"
)

// Verb is what a script makes a handset do.
type Verb byte

// Verbs. Whatever a script takes away, the service counts as live until it
// expires: a handset cannot prove that it obeyed.
const (
	EraseSlots Verb = 1 // those from First to Last
	LowerLimit Verb = 2 // erase slots, last ones first, until the caps left are Limit at most
	Block      Verb = 3 // erase all of them and pay no more under this bundle
)

// Script is an order to the handset that holds a bundle. Its MAC is under the
// bundle's script key, so any courier can bring it and none can change it.
type Script struct {
	Verb        Verb
	Seq         uint32   // rises; a handset obeys each number once
	Bundle      [16]byte // the bundle that it is for
	First, Last uint16
	Limit       token.Amount
}

// MarshalScript prints s with its MAC under the script key.
func MarshalScript(s Script, key [KeySize]byte) [ScriptSize]byte {
	b := s.bytes()
	mac := scriptMAC(&key, b)
	return [ScriptSize]byte(append(b, mac[:]...))
}

// ParseScript reads exactly [ScriptSize] bytes whose MAC holds under key.
func ParseScript(b []byte, key *[KeySize]byte) (Script, error) {
	if len(b) != ScriptSize {
		return Script{}, fmt.Errorf("%w: a script has %d bytes", token.ErrMalformed, ScriptSize)
	}
	body := b[:scriptBody]
	if mac := scriptMAC(key, body); !hmac.Equal(mac[:], b[scriptBody:]) {
		return Script{}, fmt.Errorf("%w: a script's MAC does not hold", token.ErrMalformed)
	}
	s := Script{Verb: Verb(body[1]), Seq: binary.BigEndian.Uint32(body[2:]), Bundle: [16]byte(body[6:22]),
		First: binary.BigEndian.Uint16(body[22:]), Last: binary.BigEndian.Uint16(body[24:]),
		Limit: token.Amount(binary.BigEndian.Uint32(body[26:]))}
	if body[0] != scriptVersion || s.Verb < EraseSlots || s.Verb > Block || s.First > s.Last {
		return Script{}, fmt.Errorf("%w: a script that says nothing known", token.ErrMalformed)
	}
	return s, nil
}

func (s Script) bytes() []byte {
	b := binary.BigEndian.AppendUint32([]byte{scriptVersion, byte(s.Verb)}, s.Seq)
	b = append(b, s.Bundle[:]...)
	b = binary.BigEndian.AppendUint16(b, s.First)
	b = binary.BigEndian.AppendUint16(b, s.Last)
	return binary.BigEndian.AppendUint32(b, uint32(s.Limit))
}

func scriptMAC(key *[KeySize]byte, body []byte) (mac [16]byte) {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(scriptDomain))
	m.Write(body)
	return [16]byte(m.Sum(nil))
}
