package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/element/applet"
	"github.com/tapvault/tapvault/wallet/element/message"
)

// Fob is a key fob with a secure element. It has power of its own: a reader's
// field takes nothing from it.
type Fob struct {
	*Holder
	Memory  *applet.Banks
	serial  message.Serial
	element *applet.Element
	key     *rsa.PrivateKey
	issuer  *ecdsa.PublicKey
	aid     []byte
}

// Fob gives somebody a wallet, tops it up, enrols a key fob, and orders the
// token for it. Couriers bring it the rest.
func (i Issuing) Fob(ctx context.Context, spec Spec) (*Fob, error) {
	h, err := i.holder(ctx, spec)
	if err != nil {
		return nil, err
	}
	f := &Fob{Holder: h, Memory: &applet.Banks{}}
	if err := f.factory(ctx); err != nil {
		return nil, fmt.Errorf("making a key fob: %w", err)
	}
	a := h.attestation()
	a.Level = "SE"
	e, err := h.by.Wallet.EnrolElement(ctx, wire.ElementEnrolment{Wallet: string(h.Wallet), Serial: wire.Hex8(f.serial),
		Modulus: f.key.N.Bytes(), Attestation: a})
	if err != nil {
		return nil, errors.Join(ErrEnrolment, err)
	}
	h.Device = token.DeviceID(e.ID)
	if err := h.token(ctx); err != nil {
		return nil, err
	}
	pin, err := f.sealed(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = h.by.Wallet.OrderElement(ctx, e.ID, wire.ElementOrder{Verb: "ISSUE", Ref: string(h.Ref), PIN: pin}); err != nil {
		return nil, fmt.Errorf("ordering a fob's token: %w", err)
	}
	return f, f.Power()
}

// factory draws what a fob has from birth, and pins the issuer's key.
func (f *Fob) factory(ctx context.Context) (err error) {
	_, _ = rand.Read(f.serial[:]) // never fails
	if f.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return err
	}
	p, err := f.by.Terminal.Parameters(ctx)
	if err != nil {
		return err
	}
	if f.aid, err = hex.DecodeString(p.AID); err != nil {
		return err
	}
	keys, err := json.Marshal(map[string]any{"keys": p.CredentialKeys})
	f.issuer, err = only(keys, err)
	return err
}

// sealed is the holder's PIN, as an app seals it.
func (f *Fob) sealed(ctx context.Context) (string, error) {
	keys, err := f.by.serviceKeys(ctx)
	if err != nil {
		return "", err
	}
	h, err := bundle.NewHandset(bundle.HandsetConfig{Wallet: f.Wallet, SyncKey: keys.sync, PINKey: keys.pin, Now: f.by.Now})
	if err != nil {
		return "", err
	}
	return h.SealPIN(f.PIN)
}

// Power takes the fob's power and gives it again.
func (f *Fob) Power() (err error) {
	f.element, err = applet.New(applet.Config{Serial: f.serial, Key: f.key, Issuer: f.issuer, AID: f.aid, Memory: f.Memory})
	return err
}

// Transmit implements [apdu.Transmitter].
func (f *Fob) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	return f.element.Transmit(ctx, command)
}

// Verify enters a PIN.
func (f *Fob) Verify(ctx context.Context, pin string) (apdu.Status, error) {
	if _, err := apdu.Send(ctx, f, apdu.Command{INS: 0xA4, P1: 4, Data: f.aid, Ne: 256}); err != nil {
		return 0, err
	}
	raw, err := f.Transmit(ctx, apdu.Command{INS: 0x20, Data: []byte(pin)}.Bytes())
	if err != nil {
		return 0, err
	}
	r, err := apdu.ParseResponse(raw)
	return r.SW, err
}

// Receipt is what the fob says of itself; nothing before it was issued.
func (f *Fob) Receipt(ctx context.Context) []byte {
	b, err := applet.Fetch(ctx, f, f.aid)
	if err != nil {
		return nil
	}
	return b
}

// Deliver gives the fob a script.
func (f *Fob) Deliver(ctx context.Context, script []byte) error {
	return applet.Deliver(ctx, f, f.aid, script)
}

// Fetch hands a receipt in and fetches the next script; by may be anybody who
// may be a courier.
func (f *Fob) Fetch(ctx context.Context, by *client.Client, receipt []byte) ([]byte, error) {
	s, err := by.CarryElement(ctx, string(f.Device), wire.ElementCourier{Receipt: receipt})
	if err != nil {
		return nil, fmt.Errorf("carrying for a fob: %w", err)
	}
	return s.Script, nil
}

// InStep is an honest courier: it carries until nothing is left.
func (f *Fob) InStep(ctx context.Context, by *client.Client) error {
	for range 20 {
		script, err := f.Fetch(ctx, by, f.Receipt(ctx))
		if err != nil || len(script) == 0 {
			return err
		}
		if err := f.Deliver(ctx, script); err != nil {
			return err
		}
	}
	return errors.New("sim: a courier never comes to an end")
}

// Balance is what the fob says that it can pay.
func (f *Fob) Balance(ctx context.Context) (token.Amount, error) {
	if _, err := apdu.Send(ctx, f, apdu.Command{INS: 0xA4, P1: 4, Data: f.aid, Ne: 256}); err != nil {
		return 0, err
	}
	b, err := apdu.Exchange(ctx, f, apdu.Command{CLA: 0x80, INS: 0x5C, P2: 2, Ne: 4}, 4)
	if err != nil {
		return 0, err
	}
	return token.Amount(b[0])<<24 | token.Amount(b[1])<<16 | token.Amount(b[2])<<8 | token.Amount(b[3]), nil
}
