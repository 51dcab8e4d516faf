// Package payload is the fixed binary form in which slot keys travel to a
// handset, sealed to the handset's own key; service and handset share it.
//
// A [Payload] holds clear single-use keys: it lives in the memory of one
// provisioning call or of one handset, and [Payload.Wipe] ends it.
package payload

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

const (
	version  = 0xB1
	headSize = 2 + 10 + credential.Size + KeySize
	slotSize = credential.UDSize + 2*KeySize
)

// KeySize is the length of every key in a payload.
const KeySize = 16

// MaxSlots is how many slots one payload holds at most.
const MaxSlots = 64

// MaxKinds is of how many kinds in turn slots are that a script brings to a secure element.
const MaxKinds = 8

// Slot is one single-use purchase: its descriptor and its two keys.
type Slot struct {
	UD       credential.UD
	Purchase [KeySize]byte // DPK: MAC1 and MAC2; never under a PIN
	// TAC is DTK. Where a PIN guards the wallet it is these 16 bytes, and only
	// these, that are masked; a slot of class Express stays clear, because it
	// pays without a PIN.
	TAC [KeySize]byte
}

// Payload is one bundle.
type Payload struct {
	Credential credential.Credential
	Script     [KeySize]byte // SCRK: proves the bundle's arrival, and later scripts
	Slots      []Slot        // in the order of use
}

// Parse reads a payload. It checks that the parts belong together; it does not
// check the credential's signature, for which a handset may hold no key.
func Parse(b []byte) (Payload, error) {
	if len(b) < headSize || b[0] != version || b[1] == 0 || b[1] > MaxSlots || len(b) != headSize+int(b[1])*slotSize {
		return Payload{}, fmt.Errorf("%w: payload of an unknown version or length", token.ErrMalformed)
	}
	c, err := credential.Parse(b[12 : 12+credential.Size])
	if err != nil {
		return Payload{}, err
	}
	if c.Number.ASN() != [10]byte(b[2:12]) || c.CtrCount != b[1] {
		return Payload{}, fmt.Errorf("%w: payload and credential differ", token.ErrMalformed)
	}
	p := Payload{Credential: c, Script: [KeySize]byte(b[headSize-KeySize : headSize]), Slots: make([]Slot, b[1])}
	for i := range p.Slots {
		if p.Slots[i], err = parseSlot(b[headSize+i*slotSize:][:slotSize]); err != nil {
			p.Wipe()
			return Payload{}, err
		}
		if u := p.Slots[i].UD; !c.Covers(u) || u.Ctr != c.CtrFirst+uint16(i) {
			p.Wipe()
			return Payload{}, fmt.Errorf("%w: payload holds a slot outside its credential", token.ErrMalformed)
		}
	}
	return p, nil
}

func parseSlot(b []byte) (Slot, error) {
	u, err := credential.ParseUD(b[:credential.UDSize])
	if err != nil {
		return Slot{}, err
	}
	k := b[credential.UDSize:]
	return Slot{UD: u, Purchase: [KeySize]byte(k[:KeySize]), TAC: [KeySize]byte(k[KeySize:])}, nil
}

// Bytes prints p; it is the inverse of [Parse]. The caller zeroes the result
// when it is sealed.
func (p Payload) Bytes() []byte {
	b := make([]byte, 0, headSize+len(p.Slots)*slotSize)
	asn, c := p.Credential.Number.ASN(), p.Credential.Bytes()
	b = append(b, version, byte(len(p.Slots)))
	b = append(append(append(b, asn[:]...), c[:]...), p.Script[:]...)
	for i := range p.Slots {
		u := p.Slots[i].UD.Bytes()
		b = append(append(append(b, u[:]...), p.Slots[i].Purchase[:]...), p.Slots[i].TAC[:]...)
	}
	return b
}

// Wipe zeroes every key of p.
func (p *Payload) Wipe() {
	clear(p.Slots)
	p.Script = [KeySize]byte{}
}

// AckSize is the length of an acknowledgement.
const AckSize = 32

// Ack is how a handset proves that it opened the bundle of this id: a MAC
// under the bundle's script key.
func Ack(script [KeySize]byte, bundleID string) [AckSize]byte {
	m := hmac.New(sha256.New, script[:])
	m.Write([]byte("tapvault/ack/v1"))
	m.Write([]byte(bundleID))
	return [AckSize]byte(m.Sum(nil))
}
