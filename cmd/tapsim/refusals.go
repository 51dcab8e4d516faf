package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/terminal"
)

func (d *demo) tamper(ctx context.Context) error {
	d.step("Refused: a MAC2 that was tampered with")
	d.handset.Reset()
	_, err := d.world.reader.Tap(ctx, &air{card: d.handset, spoil: spoilMAC2}, 350)
	if !errors.Is(err, terminal.BadMAC2) {
		return fmt.Errorf("at the reader: %w", notRefused(err))
	}
	d.held("one bit was turned between phone and reader: the PSAM refuses, no ride")
	d.handset.Reset()
	good, err := d.world.reader.Tap(ctx, d.handset, 350)
	if err != nil {
		return err
	}
	forged := sim.WireTap(good)
	forged.MAC2[0] ^= 0x80
	result, err := d.upload(ctx, forged)
	if err != nil {
		return err
	}
	if result.Outcome != "REJECTED" || result.TapID != "" {
		return fmt.Errorf("the service answered %s", result.Outcome)
	}
	d.held("one bit was turned in the uploaded record: the service rejects it as %s", result.Reason)
	_, err = d.world.issuer.Detokenize(ctx, wire.DetokenizeRequest{Ref: d.token.Ref, Tap: &forged, Purpose: "settlement"})
	if !client.IsProblem(err, "refused") {
		return fmt.Errorf("detokenizing with it: %w", notRefused(err))
	}
	d.held("no card number for it either")
	receipts, err := d.world.reader.Upload(ctx)
	if err != nil {
		return err
	}
	if len(receipts) != 2 || receipts[0].Outcome != "REJECTED" || receipts[1].Outcome != "POSTED" {
		return fmt.Errorf("the refused and the true record were answered %v", receipts)
	}
	d.held("the true record, uploaded after the forged one, is still posted; the one that the reader refused is not")
	return nil
}

func (d *demo) tomorrow(ctx context.Context) error {
	d.step("Refused: the token a day later")
	if err := d.stop(); err != nil {
		return err
	}
	later := max(25*time.Hour, d.token.NotAfter.Sub(d.now())+time.Hour)
	d.offset += later
	if err := d.start(ctx); err != nil {
		return err
	}
	d.say("The service was started again with its clock a day on; so were phone and reader.")
	d.handset.Reset()
	_, err := d.world.reader.Tap(ctx, d.handset, 350)
	if !errors.Is(err, terminal.Card) {
		return fmt.Errorf("at the phone: %w", notRefused(err))
	}
	d.held("the phone itself does not pay any more: its slots have ended")
	d.world.phone = func() time.Time { return d.now().Add(-later) }
	d.handset.Reset()
	_, err = d.world.reader.Tap(ctx, d.handset, 350)
	if !errors.Is(err, terminal.Window) {
		return fmt.Errorf("at the reader: %w", notRefused(err))
	}
	d.world.phone = d.now
	d.held("its clock was set back, and it would: the reader refuses its credential")
	if _, err := d.world.provision(ctx, d.token.Ref); !client.IsProblem(err, "token-expired") {
		return fmt.Errorf("new slots: %w", notRefused(err))
	}
	d.held("the service gives no new slots under it: problem `token-expired`")
	t, err := d.world.issuer.Token(ctx, d.token.Ref)
	if err != nil {
		return err
	}
	if t.State != "EXPIRED" {
		return fmt.Errorf("the token is %s", t.State)
	}
	got, err := d.world.issuer.Detokenize(ctx, wire.DetokenizeRequest{Ref: d.token.Ref, TapID: d.tapID, Purpose: "settlement"})
	if err != nil || got.PAN.Reveal() != d.card {
		return fmt.Errorf("settling yesterday's tap: %w", errors.Join(err, errors.New("the card did not come back")))
	}
	d.held("the token is EXPIRED; yesterday's tap can still be settled for 30 days")
	return nil
}

func (d *demo) strangers(ctx context.Context) error {
	d.step("Refused: callers who should not ask")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	q := wire.DetokenizeRequest{Ref: d.token.Ref, TapID: d.tapID, Purpose: "settlement"}
	for _, who := range []struct{ id, what string }{
		{"nobody", "a client that nobody registered"},
		{"issuer", "the issuer's name with another key"},
	} {
		stranger, err := d.world.caller(who.id, key)
		if err != nil {
			return err
		}
		if _, err := stranger.Detokenize(ctx, q); !client.IsProblem(err, "unauthenticated") {
			return fmt.Errorf("%s: %w", who.what, notRefused(err))
		}
		d.held("%s: problem `unauthenticated`", who.what)
	}
	if _, err := d.world.terminal.Detokenize(ctx, q); !client.IsProblem(err, "denied") {
		return fmt.Errorf("a terminal: %w", notRefused(err))
	}
	d.held("a terminal, known but without the right: problem `denied`")
	return nil
}

func (d *demo) auditTrail(ctx context.Context) error {
	d.step("Everything was recorded")
	if err := d.stop(); err != nil {
		return err
	}
	out, err := d.tapvault(ctx, "audit", "verify", "--config", d.config())
	if err != nil {
		return err
	}
	_, said, _ := strings.Cut(strings.TrimSpace(out), ": ")
	said, _, _ = strings.Cut(said, ";")
	d.held("the audit record: %s", said)
	return nil
}
