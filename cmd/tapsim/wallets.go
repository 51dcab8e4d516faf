package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
)

// Cards and PINs of the story's wallets. No card has these numbers.
const (
	walletCard = "6212345600002240"
	copiedCard = "6212345600003354"
	rightPIN   = "739206"
	wrongPIN   = "728304"
)

// holders are the people of the second half of the story.
type holders struct {
	phone  *sim.Phone
	copied *sim.Cracked
	second *sim.Reader
}

func (d *demo) issuing() sim.Issuing {
	return sim.Issuing{Issuer: d.world.issuer, Wallet: d.world.wallet, Now: d.now}
}

func (d *demo) openWallet(ctx context.Context) (err error) {
	d.step("A wallet: prepaid, with a PIN that nobody keeps")
	d.say("The issuer opens a wallet and puts 200 yuan in. A phone enrols with the attestation of its hardware, the " +
		"holder chooses a PIN, and the phone syncs.")
	d.phone, err = d.issuing().Phone(ctx, sim.Spec{Card: walletCard, PIN: rightPIN, TopUp: 20000})
	if err != nil {
		return err
	}
	b, err := d.phone.Balances(ctx)
	if err != nil {
		return err
	}
	d.money(b)
	d.fact("slots", "%d, up to 10.00 yuan each", d.phone.Live())
	if d.phone.Live() != 10 || b.Available != 10000 || b.Reserve != 10000 {
		return fmt.Errorf("the wallet holds %d and %d fen for %d slots", b.Available, b.Reserve, d.phone.Live())
	}
	d.held("what the slots can pay is set aside: a prepaid wallet cannot spend what it does not have")
	d.held("the PIN is in no file of phone or service: the TAC keys are masked under it, and nothing tells a wrong one")
	return nil
}

// money says what a wallet has.
func (d *demo) money(b sim.Balances) {
	d.fact("free", "%s yuan", inYuan(b.Available))
	d.fact("set aside", "%s yuan, for the slots", inYuan(b.Reserve))
}

func inYuan(a token.Amount) string { return fmt.Sprintf("%d.%02d", a/100, a%100) }

func (d *demo) rideAndSync(ctx context.Context) error {
	d.step("It rides offline, syncs, and has its limit again")
	if err := d.stop(); err != nil {
		return err
	}
	if _, err := d.world.reader.Tap(ctx, d.phone, 350); !errors.Is(err, terminal.Card) {
		return fmt.Errorf("before a PIN was entered: %w", notRefused(err))
	}
	d.held("the service is away, and the phone does not pay before six digits are entered")
	if err := d.phone.EnterPIN(rightPIN); err != nil {
		return err
	}
	for range 3 {
		if _, err := d.world.reader.Tap(ctx, d.phone, 350); err != nil {
			return err
		}
	}
	d.held("three rides of 3.50 yuan; %d slots are left", d.phone.Live())
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.uploaded(ctx, d.world.reader, "POSTED", "POSTED", "POSTED"); err != nil {
		return err
	}
	s, err := d.phone.Sync(ctx)
	if err != nil {
		return err
	}
	b, err := d.phone.Balances(ctx)
	if err != nil {
		return err
	}
	d.fact("sync", "%s, %d new slots", s.Result, s.Slots)
	d.money(b)
	if s.Result != "CLEAN" || d.phone.Live() != 10 || b.Available+b.Reserve != 20000-3*350 || b.Reserve != 10000 {
		return fmt.Errorf("after the sync: %s, %d slots, %d and %d fen", s.Result, d.phone.Live(), b.Available, b.Reserve)
	}
	d.held("phone and account agree, 10.50 yuan went to the operator, and all ten slots are there again")
	if s, err = d.phone.Sync(ctx); err != nil || s.Slots != 0 {
		return fmt.Errorf("a second sync gave %d slots: %w", s.Slots, err)
	}
	d.held("a second sync gives nothing: slots that live are kept, not minted")
	return nil
}

// uploaded hands in what a reader keeps and compares what became of it.
func (d *demo) uploaded(ctx context.Context, r *sim.Reader, want ...string) error {
	receipts, err := r.Upload(ctx)
	if err != nil {
		return err
	}
	var got []string
	for _, one := range receipts {
		name := one.Outcome
		if one.Reason != "" {
			name += " " + one.Reason
		}
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the uploaded taps were answered %v, not %v", got, want)
	}
	return nil
}

func (d *demo) rideUnderWrongPIN(ctx context.Context) error {
	d.step("A wrong PIN rides once, and is found")
	if err := d.phone.EnterPIN(wrongPIN); err != nil {
		return err
	}
	if _, err := d.world.reader.Tap(ctx, d.phone, 350); err != nil {
		return err
	}
	d.held("the phone cannot tell, and the reader cannot either: whoever steals it learns nothing from it")
	if err := d.uploaded(ctx, d.world.reader, "POSTED WRONG_PIN"); err != nil {
		return err
	}
	d.held("the service can: the TAC is wrong where MAC2 is right. One of five tries is gone; the ride is paid")
	if ok, err := d.phone.VerifyPIN(ctx, rightPIN); err != nil || !ok {
		return fmt.Errorf("giving the right PIN online: %w", errors.Join(err, errors.New("it was not taken")))
	}
	d.held("the holder gives the right PIN online, and has all tries again")
	return nil
}

func (d *demo) cloneIsFound(ctx context.Context) (err error) {
	d.step("A phone is copied, PIN and all; the copies betray each other")
	d.say("An attacker has everything of one phone: its storage, its keys, and its PIN. Two copies ride at two readers.")
	d.copied, err = d.issuing().Crack(ctx, sim.Spec{Card: copiedCard, PIN: rightPIN, Tier: sim.TierB})
	if err != nil {
		return err
	}
	if d.second, err = d.world.newReader(ctx, "reader-2", [6]byte{0x31, 5: 0x02}); err != nil {
		return err
	}
	if err := d.twoCopies(ctx); err != nil {
		return err
	}
	if err := d.uploaded(ctx, d.world.reader, "POSTED"); err != nil {
		return err
	}
	if err := d.uploaded(ctx, d.second, "FORKED"); err != nil {
		return err
	}
	d.held("the second upload shows one slot paying twice: that cannot be an accident")
	state, err := d.copied.State(ctx)
	if err != nil || state != "SUSPENDED" {
		return fmt.Errorf("the wallet is %s: %w", state, err)
	}
	d.held("the wallet is suspended at once, and a case is opened; the holder pays for one of the two rides")
	if err := d.world.reader.Refresh(ctx); err != nil {
		return err
	}
	copyOne, err := d.copied.Clone()
	if err != nil {
		return err
	}
	copyOne.EnterPIN(rightPIN)
	if _, err := d.world.reader.Tap(ctx, copyOne, 350); !errors.Is(err, terminal.Denied) {
		return fmt.Errorf("a third copy, after the deny list was heard: %w", notRefused(err))
	}
	d.held("the reader heard its next deny list (%d entry): it refuses every copy from here on", d.world.reader.List().Len())
	return nil
}

// twoCopies lets two copies of one phone pay with the same slot, the second in a
// later second: of taps in one second it is their digests that decide which of
// them is posted.
func (d *demo) twoCopies(ctx context.Context) error {
	for i, r := range []*sim.Reader{d.world.reader, d.second} {
		if i > 0 {
			time.Sleep(time.Second)
		}
		c, err := d.copied.Clone()
		if err != nil {
			return err
		}
		c.EnterPIN(rightPIN)
		if _, err := r.Tap(ctx, apdu.Transmitter(c), 350); err != nil {
			return err
		}
	}
	d.held("both are let through: no reader could know")
	return nil
}
