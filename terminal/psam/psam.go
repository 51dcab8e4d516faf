// Package psam is a terminal's security module for purchases: it makes MAC1 and
// checks MAC2 over keys that it never shows.
//
// It speaks APDUs, so a reader cannot tell it from a module in a slot. The keys
// themselves are behind [cryptogram.Keys]: an HSM token of the terminal's own.
package psam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
)

// Keys is what a PSAM needs of a key store.
type Keys interface {
	ProcessMAC(ctx context.Context, key keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error)
}

// KeyID is how a PSAM names a key. The top three bits of Usage say how many
// times it is diversified, the low five are 02, purchase.
type KeyID struct{ Usage, Version byte }

// Usage bytes of purchase keys.
const (
	OneLevel    byte = 0x22
	TwoLevels   byte = 0x42 // cards
	ThreeLevels byte = 0x62 // phones
)

const purchaseUsage = 0x02

// Serial counts a terminal's transactions.
type Serial interface {
	// Next returns a number that no earlier call returned, also not before a
	// restart or a power cut. Each is one more than the last, unless an earlier
	// call failed.
	Next() (uint32, error)
}

// Config says what a PSAM holds.
type Config struct {
	Keys     Keys
	Table    map[KeyID]keyref.Ref
	Terminal [6]byte // terminal number, file 0016
	Serial   Serial
	// Algorithms lists the algorithm ids that mean 3DES in this scheme; nil: 0
	// and 1. Another id is refused, because it would give a wrong MAC silently.
	Algorithms []byte
}

// PSAM answers APDUs. It is safe for concurrent use, though 8072 speaks of the
// 8070 before it, so a reader keeps it to itself.
type PSAM struct {
	cfg Config
	mu  sync.Mutex
	// expected is the MAC2 of the purchase in progress. It is computed together
	// with MAC1, in one crossing to the keys, and never leaves this process:
	// 8072 compares and forgets it.
	expected *[4]byte
}

// New checks c. A three-level purchase key must be a slot master and the others
// must not: one master at two depths would not keep keys apart.
func New(c Config) (*PSAM, error) {
	if c.Keys == nil || c.Serial == nil || len(c.Table) == 0 {
		return nil, errors.New("psam: keys, table and serial are all needed")
	}
	if c.Algorithms == nil {
		c.Algorithms = []byte{0, 1}
	}
	for id, ref := range c.Table {
		if err := id.fits(ref); err != nil {
			return nil, err
		}
	}
	c.Table = maps.Clone(c.Table)
	return &PSAM{cfg: c}, nil
}

func (id KeyID) fits(ref keyref.Ref) error {
	want := keyref.PurchaseMaster
	if id.Usage == ThreeLevels {
		want = keyref.SlotPurchaseMaster
	}
	levels := id.Usage >> 5
	if id.Usage&0x1F != purchaseUsage || levels < 1 || levels > keyref.MaxLevels || ref.Usage != want || !ref.Valid() {
		return fmt.Errorf("psam: key %v does not belong under usage %02X", ref, id.Usage)
	}
	return nil
}

// Hold adds a key that was loaded after the module was made, such as the next
// version of a master. A key that is there already stays what it is.
func (p *PSAM) Hold(id KeyID, ref keyref.Ref) error {
	if err := id.fits(ref); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.cfg.Table[id]; !ok {
		p.cfg.Table[id] = ref
	}
	return nil
}

// Transmit answers one command APDU; the error is ctx's only.
func (p *PSAM) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd, err := apdu.ParseCommand(command)
	if err != nil {
		return apdu.Response{SW: apdu.WrongLength}.Bytes(), nil
	}
	var data []byte
	sw := apdu.UnknownINS
	switch {
	case cmd.Is(0x00, 0xB0, 0x96, 0x00):
		data, sw = p.number(cmd)
	case cmd.Is(0x80, 0x70, 0x00, 0x00):
		data, sw = p.initialize(ctx, cmd)
	case cmd.Is(0x80, 0x72, 0x00, 0x00):
		sw = p.credit(cmd)
	}
	return apdu.Response{Data: data, SW: sw}.Bytes(), nil
}

// number reads the terminal number.
func (p *PSAM) number(cmd apdu.Command) ([]byte, apdu.Status) {
	if len(cmd.Data) > 0 || cmd.Ne != 6 && cmd.Ne != 256 {
		return nil, apdu.WrongLength
	}
	return p.cfg.Terminal[:], apdu.OK
}

// initialize is INIT SAM FOR PURCHASE. What cannot become a purchase is refused
// before the serial counts, so that gaps in it mean something.
func (p *PSAM) initialize(ctx context.Context, cmd apdu.Command) ([]byte, apdu.Status) {
	p.expected = nil
	in, err := cryptogram.ParseSAMInit(cmd.Data)
	if err != nil {
		return nil, apdu.WrongLength
	}
	ref, ok := p.cfg.Table[KeyID{Usage: byte(len(in.Factors))<<5 | purchaseUsage, Version: in.KeyVersion}]
	if !ok {
		return nil, apdu.KeyNotFound
	}
	path, err := in.Path(ref)
	if err != nil || !slices.Contains(p.cfg.Algorithms, in.Algorithm) || in.Purchase(p.cfg.Terminal, 0).Validate() != nil {
		return nil, apdu.WrongData
	}
	serial, err := p.cfg.Serial.Next()
	if err != nil {
		return nil, apdu.MemoryFailure
	}
	pur := in.Purchase(p.cfg.Terminal, serial)
	macs, err := p.cfg.Keys.ProcessMAC(ctx, path, pur.ProcessInput(), pur.MAC1Input(), pur.MAC2Input())
	if err != nil || len(macs) != 2 {
		return nil, apdu.Conditions
	}
	p.expected = &macs[1]
	return append(binary.BigEndian.AppendUint32(nil, serial), macs[0][:]...), apdu.OK
}

// credit is CREDIT SAM FOR PURCHASE: one try for each purchase.
func (p *PSAM) credit(cmd apdu.Command) apdu.Status {
	want := p.expected
	p.expected = nil
	switch {
	case len(cmd.Data) != 4:
		return apdu.WrongLength
	case want == nil:
		return apdu.OutOfOrder
	case !cryptogram.Match(*want, [4]byte(cmd.Data)):
		return apdu.BadMAC
	}
	return apdu.OK
}
