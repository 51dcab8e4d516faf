package walletdb

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// opEnrol names enrolment in the table of attempts.
const opEnrol = "enrol"

// Devices is an [enrol.Store] on a database. It is safe for concurrent use.
type Devices struct{ store *store.DB }

// NewDevices returns the store of devices in db, which has been migrated.
func NewDevices(db *store.DB) *Devices { return &Devices{db} }

type deviceRow struct {
	ID          string `gorm:"primaryKey"`
	Wallet      string
	Client      string
	WrapKey     []byte
	SignKey     []byte
	Leaf        string
	Attestation string
	Tier        string
	Reasons     string
	Judged      int
	EnrolledAt  int64
}

// TableName is the table.
func (deviceRow) TableName() string { return "devices" }

func toDeviceRow(d enrol.Device) (r deviceRow, err error) {
	att, err := json.Marshal(d.Attestation)
	if err != nil {
		return r, fmt.Errorf("printing an attestation: %w", err)
	}
	r = deviceRow{ID: string(d.ID), Wallet: string(d.Wallet), Client: d.Client, Leaf: d.Attestation.Leaf,
		Attestation: string(att), Tier: string(d.Tier), Reasons: joined(d.Reasons), Judged: d.Judged, EnrolledAt: d.EnrolledAt.UnixMilli()}
	r.WrapKey, r.SignKey = d.Points()
	return r, nil
}

func joined(rs []enrol.Reason) string {
	var words []string
	for _, r := range rs {
		words = append(words, string(r))
	}
	return strings.Join(words, " ")
}

func (r deviceRow) device() (d enrol.Device, err error) {
	d = enrol.Device{ID: token.DeviceID(r.ID), Wallet: token.WalletID(r.Wallet), Client: r.Client, Tier: enrol.Tier(r.Tier),
		Judged: r.Judged, EnrolledAt: time.UnixMilli(r.EnrolledAt).UTC()}
	for _, word := range strings.Fields(r.Reasons) {
		d.Reasons = append(d.Reasons, enrol.Reason(word))
	}
	if err := json.Unmarshal([]byte(r.Attestation), &d.Attestation); err != nil {
		return d, fmt.Errorf("reading an attestation: %w", err)
	}
	if d.WrapKey, err = key(r.WrapKey); err == nil {
		d.SignKey, err = key(r.SignKey)
	}
	return d, err
}

// key reads a compressed point.
func key(b []byte) (*ecdsa.PublicKey, error) {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), b)
	if x == nil {
		return nil, fmt.Errorf("reading a device: its key is not a point of P-256")
	}
	whole := make([]byte, 65)
	whole[0] = 4
	x.FillBytes(whole[1:33])
	y.FillBytes(whole[33:])
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), whole)
}

// Insert implements [enrol.Store].
func (s *Devices) Insert(ctx context.Context, caller string, a access.Attempt, d enrol.Device) (enrol.Device, error) {
	stored := d
	err := s.store.Tx(ctx, func(tx *gorm.DB) error {
		stored = d
		prior, err := store.Once(tx, caller, a, opEnrol, string(d.ID))
		if err != nil {
			return err
		}
		if prior != "" {
			stored, err = findDevice(tx, prior)
			return err
		}
		var r deviceRow
		if stored, r, err = beside(tx, d); err != nil {
			return err
		}
		if err := tx.Create(&r).Error; err != nil {
			return fmt.Errorf("inserting device: %w", err)
		}
		return nil
	})
	if err != nil {
		return enrol.Device{}, err
	}
	return stored, nil
}

// beside returns d, and its row, as it is kept among those of its leaf or keys, if it may be.
func beside(tx *gorm.DB, d enrol.Device) (enrol.Device, deviceRow, error) {
	r, err := toDeviceRow(d)
	if err != nil {
		return d, r, err
	}
	keys := [][]byte{r.WrapKey, r.SignKey}
	var rows []deviceRow
	if err := tx.Where("leaf = ? OR wrap_key IN ? OR sign_key IN ?", r.Leaf, keys, keys).Find(&rows).Error; err != nil {
		return d, r, fmt.Errorf("looking at the devices of a leaf: %w", err)
	}
	var others []enrol.Device
	for _, o := range rows {
		if o.Client != r.Client { // what another wallet server says of a key takes nobody down
			continue
		}
		other, err := o.device()
		if err != nil {
			return d, r, err
		}
		others = append(others, other)
	}
	if crowded(r, rows) {
		return d, r, wallet.ErrRefused
	}
	d = d.Beside(others)
	r, err = toDeviceRow(d)
	return d, r, err
}

// crowded reports whether the leaf or a key of r serves as many other wallets as it may. A
// device that is enrolled already keeps its keys, and its leaf is counted once.
func crowded(r deviceRow, rows []deviceRow) bool {
	own := slices.IndexFunc(rows, func(o deviceRow) bool { return o.ID == r.ID })
	if own >= 0 && rows[own].Leaf == r.Leaf {
		return false
	}
	wallets := map[string]bool{}
	for _, o := range rows {
		if o.Wallet != r.Wallet && (own < 0 || o.Leaf == r.Leaf) {
			wallets[o.Wallet] = true
		}
	}
	return len(wallets) >= enrol.MaxWallets
}

// Attest implements [enrol.Store].
func (s *Devices) Attest(ctx context.Context, d enrol.Device) (kept enrol.Device, ok bool, err error) {
	err = s.store.Tx(ctx, func(tx *gorm.DB) error {
		var r deviceRow
		if kept, r, err = beside(tx, d); err == nil {
			ok, err = judged(tx, r)
		}
		return err
	})
	if err != nil {
		return enrol.Device{}, false, err
	}
	kept.Judged = d.Judged + 1
	return kept, ok, nil
}

// Device implements [enrol.Store].
func (s *Devices) Device(ctx context.Context, id token.DeviceID) (enrol.Device, error) {
	return findDevice(s.store.Read(ctx), string(id))
}

func findDevice(db *gorm.DB, id string) (enrol.Device, error) {
	var rows []deviceRow
	if err := db.Where("id = ?", id).Limit(1).Find(&rows).Error; err != nil {
		return enrol.Device{}, fmt.Errorf("reading device: %w", err)
	}
	if len(rows) == 0 {
		return enrol.Device{}, wallet.ErrRefused
	}
	return rows[0].device()
}

// Judge implements [enrol.Store].
func (s *Devices) Judge(ctx context.Context, d enrol.Device) (ok bool, err error) {
	r, err := toDeviceRow(d)
	if err != nil {
		return false, err
	}
	err = s.store.Tx(ctx, func(tx *gorm.DB) error {
		ok, err = judged(tx, r)
		return err
	})
	return ok && err == nil, err
}

// judged compares and swaps.
func judged(tx *gorm.DB, r deviceRow) (ok bool, err error) {
	done := tx.Model(&deviceRow{}).Where("id = ? AND judged = ?", r.ID, r.Judged).
		Updates(map[string]any{"attestation": r.Attestation, "leaf": r.Leaf, "tier": r.Tier, "reasons": r.Reasons, "judged": r.Judged + 1})
	return done.RowsAffected == 1, done.Error
}
