package store

import (
	"bytes"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/access"
)

// attempt is a row of the table of attempts.
type attempt struct {
	Caller    string `gorm:"primaryKey"`
	Key       string `gorm:"primaryKey;column:attempt_key"`
	Operation string
	Digest    []byte
	Result    string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

// TableName is the table.
func (attempt) TableName() string { return "attempts" }

// Once makes an effect happen once per attempt. It is called first in the
// transaction of the effect, with the name of what the effect will make (a
// token reference, a bundle id). It returns "" when this is the first time:
// the attempt is then kept together with the effect. It returns the first
// result when the attempt was made before, and [ErrKeyReused] when its key was
// used for something else. An attempt without a key promises nothing.
func Once(tx *gorm.DB, caller string, a access.Attempt, op, result string) (prior string, err error) {
	if a.Key == "" {
		return "", nil
	}
	row := attempt{caller, a.Key, op, a.Digest[:], result, tx.NowFunc().UnixMilli()}
	done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
	if done.Error != nil {
		return "", fmt.Errorf("keeping an attempt: %w", done.Error)
	}
	if done.RowsAffected == 1 {
		return "", nil
	}
	return Prior(tx, caller, a, op)
}

// Prior returns the result of an attempt made before, or "". Like [Once] it
// refuses a key that was used for something else.
func Prior(db *gorm.DB, caller string, a access.Attempt, op string) (string, error) {
	if a.Key == "" {
		return "", nil
	}
	var rows []attempt
	err := db.Where("caller = ? AND attempt_key = ?", caller, a.Key).Limit(1).Find(&rows).Error
	if err != nil {
		return "", fmt.Errorf("looking for an attempt: %w", err)
	}
	if len(rows) == 0 {
		return "", nil
	}
	if rows[0].Operation != op || !bytes.Equal(rows[0].Digest, a.Digest[:]) {
		return "", ErrKeyReused
	}
	return rows[0].Result, nil
}

// First is an attempt that is believed to be the first of its key.
type First struct {
	Caller  string
	Attempt access.Attempt
	Op      string
	Result  string
}

// OnceAll is [Once] for many attempts in one statement. ok is false when one of
// them was made before, or two are the same; the transaction is to be undone
// then.
func OnceAll(tx *gorm.DB, all []First) (ok bool, err error) {
	rows := make([]attempt, 0, len(all))
	for _, f := range all {
		if f.Attempt.Key != "" {
			rows = append(rows, attempt{f.Caller, f.Attempt.Key, f.Op, f.Attempt.Digest[:], f.Result, tx.NowFunc().UnixMilli()})
		}
	}
	if len(rows) == 0 {
		return true, nil
	}
	done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows)
	if done.Error != nil {
		return false, fmt.Errorf("keeping attempts: %w", done.Error)
	}
	return done.RowsAffected == int64(len(rows)), nil
}
