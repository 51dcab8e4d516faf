package main

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/terminal/apdu"
)

// air carries APDUs between a reader and a card, and writes them down without
// their contents: a line names what travels, never its bytes.
type air struct {
	card  apdu.Transmitter
	lines []string
	// spoil changes an answer on its way to the reader.
	spoil func(ins byte, answer []byte)
}

// names says what commands are for, by instruction and first parameter.
var names = map[[2]byte][2]string{
	{0xA4, 0x04}: {"SELECT the transit application", "file control information"},
	{0xB0, 0x95}: {"READ BINARY 0015", "issuer, token number, dates"},
	{0xCA, 0xDF}: {"GET DATA DF01", "use descriptor, credential"},
	{0x50, 0x01}: {"INITIALIZE FOR PURCHASE", "balance, counter, random"},
	{0x50, 0x03}: {"INITIALIZE FOR COMPOSITE PURCHASE", "balance, counter, random"},
	{0xDC, 0x00}: {"UPDATE the trip record", "taken"},
	{0x54, 0x01}: {"DEBIT: serial, time, MAC1", "TAC, MAC2"},
	{0x5A, 0x00}: {"GET TRANSACTION PROVE", "MAC2, TAC again"},
	{0x5C, 0x00}: {"GET BALANCE", "balance"},
}

// Transmit implements [apdu.Transmitter].
func (a *air) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := a.card.Transmit(ctx, command)
	if err != nil || len(command) < 4 || len(answer) < 2 {
		return answer, err
	}
	if a.spoil != nil {
		a.spoil(command[1], answer)
	}
	name, ok := names[[2]byte{command[1], command[2]}]
	if !ok {
		name = [2]string{"?", "?"}
	}
	sw := answer[len(answer)-2:]
	if sw[0] != 0x90 {
		name[1] = "refused"
	}
	a.lines = append(a.lines,
		fmt.Sprintf("reader > %02X %02X %02X %02X  %s", command[0], command[1], command[2], command[3], name[0]),
		fmt.Sprintf("phone  < %02X %02X  %3d bytes  %s", sw[0], sw[1], len(answer)-2, name[1]))
	return answer, nil
}

// spoilMAC2 turns one bit of the MAC2 that answers a debit.
func spoilMAC2(ins byte, answer []byte) {
	if ins == 0x54 && len(answer) == 10 {
		answer[7] ^= 0x01
	}
}
