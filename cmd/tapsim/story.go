package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/sim"
)

func (d *demo) makeRehearsal(ctx context.Context) (err error) {
	d.step("A rehearsal is made from nothing")
	if d.port, err = freePort(); err != nil {
		return err
	}
	if _, err := d.tapvault(ctx, "init", d.dir, "--listen", "127.0.0.1:"+d.port); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, marker), nil, 0o600); err != nil {
		return err
	}
	out, err := d.tapvault(ctx, "keys", "list", "--json", "--config", d.config())
	if err != nil {
		return err
	}
	var keys []struct{ Label string }
	if err := json.Unmarshal([]byte(out), &keys); err != nil {
		return err
	}
	d.say("`tapvault init` made a configuration, a TLS certificate for localhost, a SoftHSM token with %d keys, "+
		"and six registered clients. The reader of this story got a token of its own, its PSAM: it shares two "+
		"purchase masters with the service and holds nothing else.", len(keys))
	d.held("every key of the service is there once, sensitive, not extractable, with one use")
	return nil
}

func (d *demo) startService(ctx context.Context) (err error) {
	d.step("The service starts")
	if err := d.start(ctx); err != nil {
		return err
	}
	d.world, err = openWorld(ctx, d.dir, "https://localhost:"+d.port, d.now)
	if err != nil {
		return err
	}
	if err := d.world.openReader(ctx); err != nil {
		return err
	}
	h, err := d.world.terminal.Ready(ctx)
	if err != nil || h.Status != "ok" {
		return fmt.Errorf("asking for readiness: %w", errors.Join(err, fmt.Errorf("it says %q", h.Status)))
	}
	d.held("it listens on port %s with TLS 1.3, and HSM, database and audit record answer", d.port)
	d.held("the reader fetched its parameters: token ranges and the issuer's public key")
	return nil
}

func (d *demo) start(ctx context.Context) (err error) {
	d.service, err = startService(ctx, d.bin, d.dir, d.offset)
	return err
}

func (d *demo) stop() error {
	err := d.service.stop()
	d.service = nil
	return err
}

func (d *demo) requestToken(ctx context.Context) (err error) {
	d.step("A card becomes a token that lives one day")
	d.say("The issuer's backend sends the card number once and gets a token: as long as a card number, with a good " +
		"check digit, in a range that no card uses.")
	q := wire.TokenRequest{PAN: wire.NewDigits(d.card), PANExpiry: "3012", Location: "03"}
	ctx = client.WithAttempt(ctx, "demo-first-token")
	if d.token, err = d.world.issuer.RequestToken(ctx, q); err != nil {
		return err
	}
	again, err := d.world.issuer.RequestToken(ctx, q)
	if err != nil {
		return err
	}
	d.fact("card", "%s", masked(d.card))
	d.fact("token", "%s", masked(d.token.Number))
	d.fact("reference", "%s", d.token.Ref)
	d.fact("good from", "%s", d.token.NotBefore.In(d.world.zone).Format("2006-01-02 15:04 MST"))
	d.fact("good until", "%s", d.token.NotAfter.In(d.world.zone).Format("2006-01-02 15:04 MST"))
	end := d.token.NotAfter.In(d.world.zone)
	switch {
	case len(d.token.Number) != len(d.card) || d.token.Number == d.card || d.token.Number[:4] != "6299":
		return errors.New("the token is not a number of its own range")
	case end.Sub(d.now()) > 25*time.Hour || end.Hour() != 3 || end.Minute() != 0: // asked for in the day's last hour, it lives the next day too
		return fmt.Errorf("the token lives until %v", end)
	case again.Ref != d.token.Ref:
		return errors.New("asking again with the same key made a second token")
	}
	d.held("a number of the token range, good until the service day ends at 03:00")
	d.held("the same request sent twice made one token, not two")
	return nil
}

func (d *demo) provisionPhone(ctx context.Context) (err error) {
	d.step("A phone is provisioned")
	d.say("The phone makes a key pair. The service derives keys for a few slots, each good for one purchase, and " +
		"seals them to that key. No phone ever gets the card's own key, nor the token's.")
	if d.handset, err = d.world.provision(ctx, d.token.Ref); err != nil {
		return err
	}
	t, err := d.world.issuer.Token(ctx, d.token.Ref)
	if err != nil {
		return err
	}
	d.fact("slots", "%d, up to 10.00 yuan each", d.handset.Live())
	d.fact("token is now", "%s", t.State)
	if d.handset.Live() < 2 || t.State != "ACTIVE" {
		return errors.New("the phone is not ready to pay")
	}
	d.held("the phone opened the bundle, and the service knows that it did")
	return nil
}

func (d *demo) payOffline(ctx context.Context) (err error) {
	d.step("The service goes away, and the phone pays")
	if err := d.stop(); err != nil {
		return err
	}
	if c, err := net.DialTimeout("tcp", "127.0.0.1:"+d.port, time.Second); err == nil {
		_ = c.Close()
		return errors.New("something still listens where the service was")
	}
	d.say("The service was stopped: from here on there are only the phone, the reader and its PSAM.")
	before := d.handset.Live()
	a := &air{card: d.handset}
	d.handset.Reset()
	if d.tap, err = d.world.reader.Tap(ctx, a, 350); err != nil {
		return err
	}
	d.raw(a.lines...)
	d.fact("fare", "3.50 yuan, terminal serial %d", d.tap.TermSeq)
	if d.handset.Live() != before-1 || d.world.reader.Pending() != 1 {
		return errors.New("the slot was not spent, or the tap was not kept")
	}
	d.held("the phone checked the reader's MAC1 and spent one slot; %d are left", d.handset.Live())
	d.held("the reader's PSAM checked the phone's MAC2; the tap waits on its disk")
	return nil
}

func (d *demo) uploadTap(ctx context.Context) error {
	d.step("The reader is back online and uploads")
	if err := d.start(ctx); err != nil {
		return err
	}
	receipts, err := d.world.reader.Upload(ctx)
	if err != nil {
		return err
	}
	if len(receipts) != 1 || receipts[0].Outcome != "POSTED" || receipts[0].Reason != "" {
		return fmt.Errorf("the tap was answered %v", receipts)
	}
	d.tapID = receipts[0].TapID
	again, err := d.upload(ctx, sim.WireTap(d.tap))
	if err != nil {
		return err
	}
	if again.Outcome != "DUPLICATE" || again.TapID != d.tapID {
		return fmt.Errorf("the same tap again was answered %s", again.Outcome)
	}
	d.fact("tap", "%s", d.tapID)
	d.held("MAC2 and TAC were checked inside the HSM, and the tap was posted")
	d.held("the same tap sent again is a duplicate: a slot is paid once")
	return nil
}

// upload hands in one record and returns what became of it.
func (d *demo) upload(ctx context.Context, t wire.Tap) (wire.TapResult, error) {
	results, err := d.world.terminal.UploadTaps(ctx, fmt.Sprintf("%X", terminalID), []wire.Tap{t})
	if err != nil {
		return wire.TapResult{}, err
	}
	return results[0], nil
}

func (d *demo) settle(ctx context.Context) error {
	d.step("Settlement: only now the card number comes back")
	got, err := d.world.issuer.Detokenize(ctx, wire.DetokenizeRequest{Ref: d.token.Ref, TapID: d.tapID, Purpose: "settlement"})
	if err != nil {
		return err
	}
	if got.PAN.Reveal() != d.card || got.PANExpiry != "3012" {
		return errors.New("another card came back")
	}
	_, err = d.world.issuer.Detokenize(ctx, wire.DetokenizeRequest{Ref: d.token.Ref, TapID: "no-such-tap", Purpose: "settlement"})
	if !client.IsProblem(err, "refused") {
		return fmt.Errorf("a tap that never was: %w", notRefused(err))
	}
	d.fact("card", "%s", masked(got.PAN.Reveal()))
	d.held("the issuer got its card number, for a tap that was verified")
	d.held("for a tap that never was, it is refused")
	return nil
}

// masked shows what may be shown of a number.
func masked(number string) string {
	const hidden = "****************"
	return number[:4] + hidden[:len(number)-8] + number[len(number)-4:]
}

func notRefused(err error) error {
	if err == nil {
		return errors.New("it was not refused")
	}
	return err
}
