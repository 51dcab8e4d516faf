package vault

import (
	"fmt"
	"time"

	"gorm.io/gorm"
)

// What a service may have given out between an export and its end.
const (
	lostBlocks   = 64        // blocks of serials that processes had begun
	lostCounters = 2048      // counters of one number
	lostVersions = 1_000_000 // of the deny list, and positions of events
	lostLife     = 7 * 24 * time.Hour
)

// leaveOut leaves out what may have been given out after the export that was
// just imported: a phone may hold a number that would otherwise become another
// card's, with the same keys, and a reader or a requestor may be further on than
// the imported deny list and events are.
func (p *Porter) leaveOut(tx *gorm.DB, lost int64) error {
	for _, step := range []func(*gorm.DB) error{
		func(tx *gorm.DB) error { return p.leaveSerials(tx, lost) }, p.leaveNumbers, leaveCounters, p.leaveVersions,
		p.leaveApprovals, leaveCryptograms, func(tx *gorm.DB) error { return p.note(tx, lost) },
	} {
		if err := step(tx); err != nil {
			return fmt.Errorf("leaving out what was given out after the export: %w", err)
		}
	}
	return nil
}

// leaveSerials gives up what is left of leased blocks, and as many serials
// behind them as may have been leased since.
func (p *Porter) leaveSerials(tx *gorm.DB, lost int64) error {
	if err := tx.Where("range_id <> ''").Delete(&leaseRow{}).Error; err != nil {
		return err
	}
	var rows []rangeRow
	if err := tx.Find(&rows).Error; err != nil {
		return err
	}
	for _, r := range rows {
		size := (&numbering{Range: r.toRange()}).size()
		next := size // a bound that is out of reach leaves nothing
		if ahead := p.v.cfg.LeaseBlock * lostBlocks; lost < size && r.NextSerial+lost+ahead < size {
			next = r.NextSerial + lost + ahead
		}
		if err := tx.Model(&rangeRow{}).Where("id = ?", r.ID).Update("next_serial", next).Error; err != nil {
			return err
		}
	}
	return nil
}

// leaveNumbers lets numbers rest for as long as a token can live that was issued
// since, and its quarantine. Any that was free may be such a token's, and the
// window of the token that bears any other may have become longer.
func (p *Porter) leaveNumbers(tx *gorm.DB) error {
	var longest int64 // there is: cards on file live for years
	if err := tx.Raw("SELECT coalesce(max(not_after - not_before), 0) FROM tokens").Scan(&longest).Error; err != nil {
		return err
	}
	life := max(lostLife, time.Duration(longest)*time.Millisecond)
	until := p.v.cfg.Now().Add(life + p.v.cfg.Quarantine).UnixMilli()
	return tx.Model(&numberRow{}).Where("free_after < ?", until).Update("free_after", until).Error
}

// leaveCounters moves the counters of all numbers on, and with them those of the
// tokens that bear them. A token that had none keeps none, so that it can still be
// bound to a wallet. Of a wallet's token it is noted which slots may have been handed out
// of which its account knows nothing.
func leaveCounters(tx *gorm.DB) error {
	const (
		next = "(SELECT t.ctr_next FROM tokens t WHERE t.ref = wallet_tokens.ref)"
		from = "UPDATE wallet_tokens SET lost_from = " + next + " WHERE lost_end = 0 AND EXISTS " + next
		end  = "UPDATE wallet_tokens SET lost_end = " + next + " WHERE EXISTS " + next
	)
	if err := tx.Exec(from).Error; err != nil {
		return err
	}
	err := tx.Model(&numberRow{}).Where("next_ctr > 0").
		Update("next_ctr", gorm.Expr("CASE WHEN next_ctr > ? THEN ? ELSE next_ctr + ? END", maxCtr-lostCounters, maxCtr, lostCounters)).Error
	if err != nil {
		return err
	}
	const (
		free = "ctr_first = ctr_next AND NOT EXISTS (SELECT 1 FROM wallet_tokens w WHERE w.ref = tokens.ref)"
		own  = "SELECT n.next_ctr FROM numbers n WHERE n.range_id = tokens.range_id AND n.serial = tokens.serial AND n.holder = tokens.ref"
		move = "UPDATE tokens SET ctr_first = CASE WHEN " + free + " THEN (" + own + ") ELSE ctr_first END, ctr_next = (" + own + ") WHERE EXISTS (" + own + ")"
	)
	if err := tx.Exec(move).Error; err != nil {
		return err
	}
	return tx.Exec(end).Error
}

// leaveVersions moves the deny list and the events on: readers take no list that
// is older than theirs, and who reads events goes on behind the last one. Of a deny list
// that had no version yet, the first ones may have been published since.
func (p *Porter) leaveVersions(tx *gorm.DB) error {
	err := tx.Exec("INSERT INTO deny_versions (version, at, switches) SELECT COALESCE(MAX(version), 0) + ?, ?, "+
		"COALESCE((SELECT switches FROM deny_versions ORDER BY version DESC LIMIT 1), ?) FROM deny_versions",
		lostVersions, p.v.cfg.Now().UnixMilli(), make([]byte, 8)).Error // 8: nothing is switched off
	if err == nil {
		err = tx.Exec("UPDATE event_head SET position = position + ?", lostVersions).Error
	}
	return err
}

// leaveApprovals takes back what was asked and not used yet. It may have been used since,
// or cancelled: what is let through once would be let through twice.
func (p *Porter) leaveApprovals(tx *gorm.DB) error {
	return tx.Exec("UPDATE approvals SET state = 'CANCELLED', ended_at = ?, revision = revision + 1 WHERE state IN ('PENDING', 'APPROVED')",
		p.v.cfg.Now().UnixMilli()).Error
}

// leaveCryptograms takes token cryptograms for used that were not, and notes of all EMV
// counters that they may be further on.
func leaveCryptograms(tx *gorm.DB) error {
	if err := tx.Exec("UPDATE emv_token_uses SET expires_at = 0 WHERE used_at = 0").Error; err != nil {
		return err
	}
	return tx.Exec("UPDATE emv_counters SET unsure = 1").Error
}

// note notes that the database was put back, and when.
func (p *Porter) note(tx *gorm.DB, lost int64) error {
	var last int64 // of a clock that was ahead of this one
	if err := tx.Raw("SELECT COALESCE(MAX(at), 0) FROM restores").Scan(&last).Error; err != nil {
		return err
	}
	return tx.Exec("INSERT INTO restores (at, lost) VALUES (?, ?)", max(p.v.cfg.Now().UnixMilli(), last+1), lost).Error
}
