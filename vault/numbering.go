package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize/ff1"
)

// numbering turns the serials of one range into numbers and back. The range
// key lives in it, unwrapped: a leak would make numbers guessable, no more.
type numbering struct {
	Range
	cipher *ff1.Cipher
	issues bool   // still configured: new numbers may come from it
	leases leases // serials that this process may use
}

// size is how many serials the range has.
func (n *numbering) size() int64 {
	s := int64(1)
	for range n.serialDigits() {
		s *= 10
	}
	return s
}

// number returns the number of a serial. The prefix is the tweak.
func (n *numbering) number(serial int64) (token.Number, error) {
	x := fmt.Sprintf("%0*d", n.serialDigits(), serial)
	y, err := n.cipher.Encrypt([]byte(n.Prefix), x)
	if err != nil {
		return token.Number{}, fmt.Errorf("numbering in range %s: %w", n.Name, err)
	}
	digits := n.Prefix + y
	if n.Luhn {
		digits += string(token.LuhnDigit(digits))
	}
	return token.ParseNumber(digits)
}

// serial is the inverse of number; ok is false for a number of another range
// or with a wrong check digit.
func (n *numbering) serial(num token.Number) (serial int64, ok bool) {
	d := num.Digits()
	if len(d) != n.Length || !strings.HasPrefix(d, n.Prefix) {
		return 0, false
	}
	if last := len(d) - 1; n.Luhn {
		if token.LuhnDigit(d[:last]) != d[last] {
			return 0, false
		}
		d = d[:last]
	}
	x, err := n.cipher.Decrypt([]byte(n.Prefix), d[len(n.Prefix):])
	if err != nil {
		return 0, false
	}
	serial, err = strconv.ParseInt(x, 10, 64)
	return serial, err == nil
}

// loadRanges makes v.ranges: the stored ranges, the configured ones first.
func (v *Vault) loadRanges(ctx context.Context) error {
	if err := v.makeRanges(ctx); err != nil {
		return err
	}
	var rows []rangeRow
	if err := v.cfg.DB.Read(ctx).Order("created_at, id").Find(&rows).Error; err != nil {
		return fmt.Errorf("reading token ranges: %w", err)
	}
	var all []*numbering
	for _, row := range rows {
		n, err := v.unwrap(ctx, row)
		if err != nil {
			return err
		}
		all = append(all, n)
	}
	slices.SortStableFunc(all, func(a, b *numbering) int { return v.place(a.Range) - v.place(b.Range) })
	issuing := 0
	for _, n := range all {
		if at := v.place(n.Range); at < len(v.cfg.Ranges) {
			n.issues, n.Range = true, v.cfg.Ranges[at]
			issuing++
		}
	}
	if issuing != len(v.cfg.Ranges) {
		return errors.New("reading token ranges: another process made one of them differently")
	}
	v.ranges.add(all...)
	return nil
}

// place is where r stands in the configuration; what it does not name is last.
func (v *Vault) place(r Range) int {
	i := slices.IndexFunc(v.cfg.Ranges, func(c Range) bool { return c.shape() == r.shape() })
	if i < 0 {
		return len(v.cfg.Ranges)
	}
	return i
}

// makeRanges judges the configured ranges beside the stored ones and stores
// the new ones, each with a key drawn from the HSM.
func (v *Vault) makeRanges(ctx context.Context) error {
	var rows []rangeRow
	if err := v.cfg.DB.Read(ctx).Find(&rows).Error; err != nil {
		return fmt.Errorf("reading token ranges: %w", err)
	}
	all, fresh := make([]Range, 0, len(rows)), []Range(nil)
	for _, row := range rows {
		all = append(all, row.toRange())
	}
	for _, r := range v.cfg.Ranges {
		i := slices.IndexFunc(all, func(o Range) bool { return o.Name == r.Name })
		switch {
		case i < 0:
			all, fresh = append(all, r), append(fresh, r)
		case i >= len(rows):
			return fmt.Errorf("token range %s is configured twice", r.Name)
		case all[i] != r.shape():
			return fmt.Errorf("token range %s: the stored range of this name is another one", r.Name)
		default:
			all[i] = r
		}
	}
	if err := CheckRanges(all, v.cfg.CardRanges); err != nil {
		return err
	}
	for _, r := range fresh {
		if err := v.makeRange(ctx, r); err != nil {
			return fmt.Errorf("making token range %s: %w", r.Name, err)
		}
	}
	return nil
}

func (v *Vault) makeRange(ctx context.Context, r Range) error {
	var key [32]byte
	defer clear(key[:])
	if err := v.cfg.HSM.Random(ctx, key[:]); err != nil {
		return err
	}
	kek := keyref.Ref{Usage: keyref.RangeKEK, Version: v.cfg.Keys.RangeKEK}
	sealed, err := v.cfg.HSM.Seal(ctx, kek, key[:], rangeAAD(r))
	if err != nil {
		return fmt.Errorf("sealing its key: %w", err)
	}
	row := rangeRow{ID: r.Name, Prefix: r.Prefix, Length: r.Length, Luhn: flag(r.Luhn), SealedKey: sealed,
		KEKVersion: kek.Version, CreatedAt: v.cfg.Now().UnixMilli()}
	err = v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		if err := v.mayWrap(tx); err != nil {
			return err
		}
		return tx.Create(&row).Error
	})
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return nil // another process made it; what it made is judged when it is read
	}
	return err
}

func (v *Vault) unwrap(ctx context.Context, row rangeRow) (*numbering, error) {
	r := row.toRange()
	kek := keyref.Ref{Usage: keyref.RangeKEK, Version: row.KEKVersion}
	key, err := v.cfg.HSM.Unseal(ctx, kek, row.SealedKey, rangeAAD(r))
	if err != nil {
		return nil, damaged(fmt.Errorf("unwrapping the key of token range %s: %w", r.Name, err))
	}
	defer clear(key)
	c, err := ff1.New(key, 10)
	if err != nil {
		return nil, fmt.Errorf("token range %s: %w", r.Name, err)
	}
	return &numbering{Range: r, cipher: c}, nil
}

// rangeAAD ties a sealed key to everything that shapes the range's numbers.
func rangeAAD(r Range) []byte {
	return fmt.Appendf(nil, "tapvault range\x00%s\x00%s\x00%d\x00%t", r.Name, r.Prefix, r.Length, r.Luhn)
}
