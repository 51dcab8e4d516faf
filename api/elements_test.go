package api

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// elements answers for secure elements.
type elements struct{ *backend }

func (b elements) one() (element.Element, error) {
	return element.Element{ID: sampleDevice, Wallet: sampleWallet, Serial: message.Serial{1}, State: element.Issued, KeyVersion: 2, Ref: "r1",
		Seq: 2, Acked: 1, Tries: 3, Balance: 4000}, b.act()
}

func (b elements) Enrol(context.Context, access.Caller, element.Request) (element.Element, error) {
	return b.one()
}

func (b elements) Get(context.Context, access.Caller, token.DeviceID) (element.Element, error) {
	return b.one()
}

func (b elements) Order(context.Context, access.Caller, token.DeviceID, element.Order) (element.Element, error) {
	return b.one()
}

func (b elements) Carry(context.Context, access.Caller, token.DeviceID, []byte) (element.Carried, error) {
	return element.Carried{Script: []byte{0xD2, 1}, Seq: 2}, b.act()
}
