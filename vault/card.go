package vault

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
)

// errCardRace reports that another transaction stored or changed the card
// between our look and our write.
var errCardRace = errors.New("the card changed meanwhile")

// errIndexUnknown reports a card that exists and was not found: its row is
// indexed under a version of the index key that this process has not met.
var errIndexUnknown = errors.New("the card is stored under another version of the index key")

// cardTries bounds how often a card is looked at again after a race. Each round
// is lost to somebody who made progress.
const cardTries = 16

// card is what is to be written of a card before a token of it.
type card struct {
	row    cardRow
	expiry token.Expiry // of an update
	write  bool         // false: the stored row is as it should be
	update bool         // write over the stored row; otherwise a new one
	oldTag []byte
}

// prepare looks for the card and asks the HSM for what has to be written. A
// card is one number: when it comes with another expiry date, as renewed cards
// do, the row is sealed anew and its tokens stay. A number that was replaced
// gets no tokens any more.
func (v *Vault) prepare(ctx context.Context, pan token.PAN, expiry token.Expiry) (card, error) {
	s, err := v.look(ctx, pan)
	switch {
	case err != nil:
		return card{}, err
	case s.former != nil:
		return card{}, ErrCardReplaced
	case s.card == nil:
		return v.newCard(ctx, s.first, pan, expiry)
	}
	c := card{row: *s.card, oldTag: s.card.ExpiryTag}
	if tag := s.print.tag(expiry); subtle.ConstantTimeCompare(c.row.ExpiryTag, tag) != 1 {
		c.write, c.update, c.row.ExpiryTag, c.expiry = true, true, tag, expiry
		err = v.seal(ctx, &c.row, pan, expiry)
	}
	return c, err
}

func (v *Vault) newCard(ctx context.Context, p cardPrint, pan token.PAN, expiry token.Expiry) (card, error) {
	row := cardRow{PANIndex: p.index(), IndexVersion: p.version, ExpiryTag: p.tag(expiry), Last4: pan.Last4(),
		CreatedAt: v.cfg.Now().UnixMilli()}
	var err error
	if row.ID, err = v.name(); err != nil {
		return card{}, err
	}
	if row.PAR, err = v.par(ctx, pan); err != nil {
		return card{}, err
	}
	err = v.seal(ctx, &row, pan, expiry)
	return card{row: row, write: true}, err
}

// store writes c, or finds out that somebody was faster.
func (c card) store(v *Vault, tx *gorm.DB) error {
	if !c.write {
		return nil
	}
	if err := v.mayWrite(tx); err != nil {
		return err
	}
	var done *gorm.DB
	switch {
	case c.update:
		done = tx.Model(&cardRow{}).Where("id = ? AND expiry_tag = ?", c.row.ID, c.oldTag).
			Updates(map[string]any{"expiry_tag": c.row.ExpiryTag, "sealed": c.row.Sealed, "seal_version": c.row.SealVersion})
	default:
		done = tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "pan_index"}}, DoNothing: true}).Create(&c.row)
	}
	if errors.Is(done.Error, gorm.ErrDuplicatedKey) {
		// Another process indexed this card under a version that is new to us:
		// its payment account reference gives it away.
		return errIndexUnknown
	}
	if done.Error != nil {
		return fmt.Errorf("storing the card: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return errCardRace
	}
	if c.update {
		return v.part(tx, c.row.ID, c.expiry)
	}
	return nil
}

// again reports whether err is a race over a card that is worth another look,
// for which it gets the vault ready.
func (v *Vault) again(ctx context.Context, err error, try int) bool {
	switch {
	case try >= cardTries:
		return false
	case errors.Is(err, errIndexUnknown):
		return v.learnIndexes(ctx) == nil
	}
	return errors.Is(err, errCardRace)
}

// par makes the payment account reference of a card: the BIN controller and 25
// characters that the HSM's HMAC of the number decides.
func (v *Vault) par(ctx context.Context, pan token.PAN) (string, error) {
	ref := keyref.Ref{Usage: keyref.PARKey, Version: v.cfg.Keys.PAR}
	h, err := v.cfg.HSM.HMAC(ctx, ref, []byte(pan.Reveal()))
	if err != nil {
		return "", fmt.Errorf("making a payment account reference: %w", err)
	}
	const chars = 25
	n := new(big.Int).SetBytes(h[:])
	n.Mod(n, new(big.Int).Exp(big.NewInt(36), big.NewInt(chars), nil))
	s := strings.ToUpper(n.Text(36))
	return v.cfg.BINController + strings.Repeat("0", chars-len(s)) + s, nil
}

// seal fills in the sealed card number and expiry date of row.
func (v *Vault) seal(ctx context.Context, row *cardRow, pan token.PAN, expiry token.Expiry) (err error) {
	row.SealVersion = v.cfg.Keys.Seal
	row.Sealed, err = v.sealFor(ctx, row.ID, row.SealVersion, pan, expiry)
	return err
}

// sealFor seals a card number and its expiry date to a row.
func (v *Vault) sealFor(ctx context.Context, id string, version uint8, pan token.PAN, expiry token.Expiry) ([]byte, error) {
	plain := []byte(pan.Reveal() + "=" + string(expiry))
	defer clear(plain)
	sealed, err := v.cfg.HSM.Seal(ctx, keyref.Ref{Usage: keyref.PANSeal, Version: version}, plain, cardAAD(id, version))
	if err != nil {
		return nil, fmt.Errorf("sealing a card: %w", err)
	}
	return sealed, nil
}

// unseal is the inverse of seal.
func (v *Vault) unseal(ctx context.Context, row cardRow) (token.PAN, token.Expiry, error) {
	return v.unsealFrom(ctx, row.ID, row.SealVersion, row.Sealed)
}

// unsealFrom is the inverse of sealFor.
func (v *Vault) unsealFrom(ctx context.Context, id string, version uint8, sealed []byte) (token.PAN, token.Expiry, error) {
	plain, err := v.cfg.HSM.Unseal(ctx, keyref.Ref{Usage: keyref.PANSeal, Version: version}, sealed, cardAAD(id, version))
	if err != nil {
		return token.PAN{}, "", fmt.Errorf("opening card %s: %w", id, err)
	}
	defer clear(plain)
	digits, yymm, _ := strings.Cut(string(plain), "=")
	pan, err := token.ParsePAN(digits)
	if err != nil {
		return token.PAN{}, "", fmt.Errorf("opening card %s: %w", id, err)
	}
	expiry, err := token.ParseExpiry(yymm)
	if err != nil {
		return token.PAN{}, "", fmt.Errorf("opening card %s: %w", id, err)
	}
	return pan, expiry, nil
}

// cardAAD ties a sealed card to its row and key version: it opens nowhere else.
func cardAAD(id string, version uint8) []byte {
	return fmt.Appendf(nil, "tapvault card\x00%s\x00%d", id, version)
}
