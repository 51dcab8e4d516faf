package vault

import (
	"context"
	"encoding/hex"
	"encoding/json"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
)

// row is a row by columns. Bytes are distinguished from text.
type row map[string]any

// Columns that are made anew under the keys of whoever imports.
var (
	cardColumns  = []string{"pan_index", "index_version", "expiry_tag", "sealed", "seal_version"}
	rangeColumns = []string{"sealed_key", "kek_version"}
)

// open puts what is sealed by the HSM into r as it is.
func (p *Porter) open(ctx context.Context, table string, r row) error {
	switch table {
	case "cards", "former_cards":
		pan, expiry, err := p.v.unsealFrom(ctx, r.text("id"), uint8(r.number("seal_version")), r.blob("sealed"))
		if err != nil {
			return err
		}
		r.drop(cardColumns)
		r["pan"], r["pan_expiry"] = pan.Reveal(), string(expiry)
	case "token_ranges":
		kek := keyref.Ref{Usage: keyref.RangeKEK, Version: uint8(r.number("kek_version"))}
		key, err := p.v.cfg.HSM.Unseal(ctx, kek, r.blob("sealed_key"), rangeAAD(r.tokenRange()))
		if err != nil {
			return err
		}
		r.drop(rangeColumns)
		r["key"] = key
	case "range_leases":
		r["holder"] = "" // whoever held it will not come back to it
	}
	return nil
}

// close is the inverse of open, under the configured versions of keys.
func (p *Porter) close(ctx context.Context, table string, r row) (err error) {
	switch table {
	case "cards", "former_cards":
		return p.closeCard(ctx, table, r)
	case "token_ranges":
		kek := keyref.Ref{Usage: keyref.RangeKEK, Version: p.v.cfg.Keys.RangeKEK}
		key := r.blob("key")
		defer clear(key)
		if len(key) != 32 {
			return ErrManifest
		}
		r.drop([]string{"key"})
		r["kek_version"] = kek.Version
		r["sealed_key"], err = p.v.cfg.HSM.Seal(ctx, kek, key, rangeAAD(r.tokenRange()))
	}
	return err
}

func (p *Porter) closeCard(ctx context.Context, table string, r row) error {
	pan, err := token.ParsePAN(r.text("pan"))
	if err != nil {
		return err
	}
	expiry, err := token.ParseExpiry(r.text("pan_expiry"))
	if err != nil {
		return err
	}
	print, err := p.v.cardPrint(ctx, p.v.cfg.Keys.Index, pan)
	if err != nil {
		return err
	}
	r.drop([]string{"pan", "pan_expiry"})
	r["pan_index"], r["index_version"], r["seal_version"] = print.index(), print.version, p.v.cfg.Keys.Seal
	if table == "cards" {
		r["expiry_tag"] = print.tag(expiry)
	}
	r["sealed"], err = p.v.sealFor(ctx, r.text("id"), p.v.cfg.Keys.Seal, pan, expiry)
	return err
}

// restore turns JSON's values into a database's.
func (r row) restore() error {
	for c, v := range r {
		switch v := v.(type) {
		case json.Number:
			n, err := v.Int64()
			if err != nil {
				return ErrManifest
			}
			r[c] = n
		case map[string]any:
			s, _ := v["hex"].(string)
			b, err := hex.DecodeString(s)
			if err != nil || len(v) != 1 {
				return ErrManifest
			}
			r[c] = b
		case string, nil:
		default:
			return ErrManifest
		}
	}
	return nil
}

func (r row) text(c string) string { s, _ := r[c].(string); return s }

func (r row) number(c string) int64 {
	switch n := r[c].(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	}
	return 0
}

func (r row) blob(c string) []byte { b, _ := r[c].([]byte); return b }

func (r row) drop(columns []string) {
	for _, c := range columns {
		delete(r, c)
	}
}

// tokenRange is the range of a row of token_ranges.
func (r row) tokenRange() Range {
	return Range{Name: r.text("id"), Prefix: r.text("prefix"), Length: int(r.number("length")), Luhn: r.number("luhn") == 1}
}
