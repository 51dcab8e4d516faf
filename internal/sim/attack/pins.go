package attack

import (
	"context"
	"errors"
	"github.com/tapvault/tapvault/internal/sim"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/terminal/apdu"
)

// keen is between a clone and a gate, and keeps the purchase and the MAC1 that
// the gate made for it.
type keen struct {
	card    apdu.Transmitter
	init    []byte // command 8050
	answer  []byte // to it
	command []byte // 8054 with MAC1
}

func (k *keen) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	switch {
	case command[1] == 0x54:
		k.command = append([]byte(nil), command...)
		return nil, errors.New("attack: the phone leaves the field")
	case command[1] == 0x50:
		k.init = append([]byte(nil), command...)
	}
	answer, err := k.card.Transmit(ctx, command)
	if command[1] == 0x50 {
		k.answer = append([]byte(nil), answer...)
	}
	return answer, err
}

// tryPINs visits a gate for a true MAC1 and tests PINs with it, the right one
// among them: if the key under MAC1 hung on the PIN, the right one would stand
// out. It returns a PIN that did.
func (s *stage) tryPINs(ctx context.Context, victim *sim.Cracked, gate *city.Reader) (string, error) {
	clone, err := victim.Clone()
	if err != nil {
		return "", err
	}
	clone.EnterPIN(s.guess(victim.PIN))
	k := &keen{card: clone}
	if _, err := gate.Tap(ctx, k, fare); err == nil || k.command == nil {
		return "", errors.New("attack: the visit brought no MAC1")
	}
	p, err := k.purchase()
	if err != nil {
		return "", err
	}
	want := [4]byte(k.command[5+11:])
	guesses := []string{victim.PIN}
	for range 7 {
		guesses = append(guesses, s.guess(victim.PIN))
	}
	var fits []string
	for _, pin := range guesses {
		mac1, err := testMAC1(ctx, victim, pin, p)
		if err != nil {
			return "", err
		}
		if mac1 == want {
			fits = append(fits, pin)
		}
	}
	if len(fits) == 1 {
		return fits[0], nil
	}
	return "", nil
}

// purchase is what the gate's MAC1 is over.
func (k *keen) purchase() (p cryptogram.Purchase, err error) {
	cmd, err := apdu.ParseCommand(k.init)
	if err != nil {
		return p, err
	}
	p = cryptogram.Purchase{Seq: uint16(k.answer[4])<<8 | uint16(k.answer[5]), Type: cryptogram.PurchaseCAPP,
		Rand: [4]byte(k.answer[11:]), Terminal: [6]byte(cmd.Data[5:])}
	for _, b := range cmd.Data[1:5] {
		p.Amount = p.Amount<<8 | uint32(b)
	}
	for _, b := range k.command[5:9] {
		p.TermSeq = p.TermSeq<<8 | uint32(b)
	}
	copy(p.At[:], k.command[9:16])
	return p, nil
}

// testMAC1 is the MAC1 under the keys that a PIN leads to.
func testMAC1(ctx context.Context, victim *sim.Cracked, pin string, p cryptogram.Purchase) ([4]byte, error) {
	key, err := victim.PurchaseKeyUnder(pin, p.Seq)
	if err != nil {
		return [4]byte{}, err
	}
	var ring softkey.Ring
	defer ring.Close()
	path := keyref.Path{Key: keyref.Ref{Realm: "guess", Usage: keyref.PurchaseMaster, Version: 1}}
	if err := ring.ImportScratch(ctx, path.Key, key[:]); err != nil {
		return [4]byte{}, err
	}
	mac1, _, err := cryptogram.PurchaseMACs(ctx, &ring, path, p)
	return mac1, err
}
