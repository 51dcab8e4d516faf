package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/terminal/psam"
	"github.com/tapvault/tapvault/token"
)

// ReaderConfig says what a reader is made of.
type ReaderConfig struct {
	Client   *client.Client // acts for the terminal
	Keys     psam.Keys      // of its PSAM: an HSM token of the reader's own
	Realm    string         // whose masters the PSAM holds
	Terminal [6]byte
	// Dir keeps the PSAM's serial and the queue of taps; it exists.
	Dir   string
	Zone  *time.Location   // of dates and times on the cards; required
	Now   func() time.Time // nil: time.Now
	Class deny.Class       // 0: [deny.Gate]. A [deny.Vehicle] hears the deny list in [Reader.Refresh] only
	// Old makes a reader without the software release that knows phones.
	Old bool
}

// Reader is a terminal with its PSAM.
type Reader struct {
	terminal *terminal.Reader
	module   *psam.PSAM
	keys     psam.Keys
	realm    string
	queue    *terminal.Queue
	serial   *psam.File
	client   *client.Client
	list     *deny.File
	class    deny.Class
	now      func() time.Time
}

// NewReader fetches what the service tells its terminals and starts a reader.
func NewReader(ctx context.Context, cfg ReaderConfig) (*Reader, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Zone == nil {
		return nil, errors.New("sim: a reader needs the zone of the operator's clock")
	}
	p, err := cfg.Client.Parameters(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetching terminal parameters: %w", err)
	}
	r := &Reader{client: cfg.Client, keys: cfg.Keys, realm: cfg.Realm}
	policy, err := r.hear(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Old {
		policy.Tokens = nil
	}
	if err = r.start(ctx, cfg, p, policy); err == nil {
		err = r.hold(ctx, p)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) start(ctx context.Context, cfg ReaderConfig, p wire.Parameters, policy terminal.Policy) (err error) {
	if r.serial, err = psam.OpenFile(filepath.Join(cfg.Dir, "serial")); err != nil {
		return err
	}
	if r.queue, err = terminal.OpenQueue(filepath.Join(cfg.Dir, "taps"), cfg.Now()); err != nil {
		return err
	}
	table := map[psam.KeyID]keyref.Ref{
		{Usage: psam.TwoLevels, Version: p.KeyVersion}:   {Realm: cfg.Realm, Usage: keyref.PurchaseMaster, Version: p.KeyVersion},
		{Usage: psam.ThreeLevels, Version: p.KeyVersion}: {Realm: cfg.Realm, Usage: keyref.SlotPurchaseMaster, Version: p.KeyVersion},
	}
	if r.module, err = psam.New(psam.Config{Keys: cfg.Keys, Terminal: cfg.Terminal, Serial: r.serial, Table: table}); err != nil {
		return err
	}
	r.terminal, err = terminal.NewReader(ctx, terminal.Config{Module: r.module, Policy: policy, Class: r.class, Deny: r.list,
		Online: asker{r}, Queue: r.queue, Zone: cfg.Zone, Now: cfg.Now})
	return err
}

// Learn asks which versions of the phones' key a reader must hold, and takes up
// those that its module was given since: before a rotation every module of the
// estate has to hold the next version.
func (r *Reader) Learn(ctx context.Context) error {
	p, err := r.client.Parameters(ctx)
	if err != nil {
		return fmt.Errorf("fetching terminal parameters: %w", err)
	}
	return r.hold(ctx, p)
}

func (r *Reader) hold(ctx context.Context, p wire.Parameters) error {
	for _, v := range p.KeyVersions {
		ref := keyref.Ref{Realm: r.realm, Usage: keyref.SlotPurchaseMaster, Version: uint8(v)}
		if late, ok := r.keys.(interface {
			RequireLate(context.Context, keyref.Ref) error
		}); ok && late.RequireLate(ctx, ref) != nil {
			continue // it was not loaded yet: the module goes on with what it has
		}
		if err := r.module.Hold(psam.KeyID{Usage: psam.ThreeLevels, Version: ref.Version}, ref); err != nil {
			return err
		}
	}
	return nil
}

// Tap takes amount from card, which is anything that answers APDUs. What can
// lose its field comes into it first.
func (r *Reader) Tap(ctx context.Context, card apdu.Transmitter, amount token.Amount) (terminal.Tap, error) {
	if c, ok := card.(interface{ Reset() }); ok {
		c.Reset() // it comes into the field
	}
	r.listen(ctx)
	return r.terminal.Tap(ctx, card, amount)
}

// Upload hands in every tap that waits and returns what became of each.
func (r *Reader) Upload(ctx context.Context) ([]terminal.Receipt, error) {
	return r.queue.Flush(ctx, r.terminal.Terminal(), uploader{r.client})
}

// Report says to the service that every tap of this reader is there, if it is.
func (r *Reader) Report(ctx context.Context) error {
	number, now := r.terminal.Terminal(), r.now().UTC()
	if r.queue.Pending() > 0 {
		return nil
	}
	name := strings.ToUpper(hex.EncodeToString(number[:]))
	_, err := r.client.Progress(ctx, name, wire.Progress{TermID: number, Until: &now})
	return err
}

// Pending is how many taps wait for upload.
func (r *Reader) Pending() int { return r.queue.Pending() }

// Close closes the reader's files; taps that wait are in them.
func (r *Reader) Close() error {
	var errs []error
	if r.queue != nil {
		errs = append(errs, r.queue.Close())
	}
	if r.serial != nil {
		errs = append(errs, r.serial.Close())
	}
	return errors.Join(errs...)
}

// asker is the API as a merchant's terminal sees it.
type asker struct{ r *Reader }

// Authorize implements [terminal.Authorizer].
func (a asker) Authorize(ctx context.Context, t terminal.Tap) error {
	got, err := a.r.client.Authorize(ctx, strings.ToUpper(hex.EncodeToString(t.Terminal[:])), WireTap(t))
	if err == nil && got.Decision != "ACCEPTED" {
		return fmt.Errorf("%w: %s %s", terminal.Declined, got.Outcome, got.Reason)
	}
	return err
}

// uploader is the API as a queue sees it.
type uploader struct{ c *client.Client }

// Upload implements [terminal.Uploader]. Taps of plain cards are cleared by
// their own scheme; here they are done with.
func (u uploader) Upload(ctx context.Context, id [6]byte, taps []terminal.Tap) ([]terminal.Receipt, error) {
	receipts, at := make([]terminal.Receipt, len(taps)), []int(nil)
	var phones []wire.Tap
	for i, t := range taps {
		receipts[i] = terminal.Receipt{Outcome: "NOT_SENT", Reason: "plain card"}
		if t.Phone {
			phones, at = append(phones, WireTap(t)), append(at, i)
		}
	}
	if len(phones) == 0 {
		return receipts, nil
	}
	got, err := u.c.UploadKept(ctx, strings.ToUpper(hex.EncodeToString(id[:])), phones)
	if err != nil {
		return nil, err
	}
	if len(got) != len(phones) {
		return nil, errors.New("sim: results and taps differ in number")
	}
	for i, r := range got {
		receipts[at[i]] = terminal.Receipt{TapID: r.TapID, Outcome: r.Outcome, Reason: r.Reason}
	}
	return receipts, nil
}

// WireTap prints a phone's tap as the API takes it.
func WireTap(t terminal.Tap) wire.Tap {
	return wire.Tap{
		TermID: t.Terminal, Issuer: t.Issuer, Number: t.Number().Digits(), UD: t.UD.Bytes(), Rand: t.Rand, OfflineSeq: t.Seq,
		Amount: uint32(t.Amount), TxnType: byte(t.Type), TermSeq: t.TermSeq, Date: wire.Date(t.At[:4]), Time: wire.Time(t.At[4:]),
		KeyVersion: t.KeyVer, AlgorithmID: t.AlgID, Balance: t.Balance, MAC1: t.MAC1, MAC2: t.MAC2, TAC: t.TAC, ListVersion: t.ListVersion,
		Failed: t.Fail != "",
	}
}
