package terminal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

var errDamaged = errors.New("terminal: the queue is damaged")

// line is one line of a queue: a tap, or how many of those that waited are uploaded
// now, from the first on, and which of them wait on, by their places.
type line struct {
	Tap  *row  `json:"tap,omitempty"`
	Done int   `json:"done,omitempty"`
	But  []int `json:"but,omitempty"`
}

// parts splits the taps that waited into those that l says were uploaded and the others.
func (l line) parts(taps []Tap) (done, left []Tap, ok bool) {
	if l.Done > len(taps) || len(l.But) >= l.Done {
		return nil, nil, false
	}
	from := 0
	for _, i := range l.But {
		if i < from || i >= l.Done {
			return nil, nil, false
		}
		done, left, from = append(done, taps[from:i]...), append(left, taps[i]), i+1
	}
	return append(done, taps[from:l.Done]...), append(left, taps[l.Done:]...), true
}

// row is a tap on disk. Byte fields are hex.
type row struct {
	Terminal string `json:"term_id"`
	Issuer   string `json:"issuer"`
	ASN      string `json:"asn"`
	UD       string `json:"ud,omitempty"`
	Rand     string `json:"rand"`
	Seq      uint16 `json:"offline_seq"`
	Amount   uint32 `json:"amount"`
	Type     byte   `json:"txn_type"`
	TermSeq  uint32 `json:"term_seq"`
	At       string `json:"at"`
	KeyVer   byte   `json:"key_version"`
	AlgID    byte   `json:"algorithm_id"`
	Balance  uint32 `json:"balance"`
	MAC1     string `json:"mac1"`
	MAC2     string `json:"mac2"`
	TAC      string `json:"tac"`
	List     uint64 `json:"list_version"`
	Proof    bool   `json:"proof"`
	Fail     string `json:"fail,omitempty"`
}

func toRow(t Tap) row {
	r := row{
		Terminal: hex.EncodeToString(t.Terminal[:]), Issuer: hex.EncodeToString(t.Issuer[:]),
		ASN: hex.EncodeToString(t.ASN[:]), Rand: hex.EncodeToString(t.Rand[:]), Seq: t.Seq, Amount: uint32(t.Amount),
		Type: byte(t.Type), TermSeq: t.TermSeq, At: hex.EncodeToString(t.At[:]), KeyVer: t.KeyVer, AlgID: t.AlgID,
		Balance: t.Balance, MAC1: hex.EncodeToString(t.MAC1[:]), MAC2: hex.EncodeToString(t.MAC2[:]),
		TAC: hex.EncodeToString(t.TAC[:]), List: t.ListVersion, Proof: t.Proof, Fail: string(t.Fail),
	}
	if t.Phone {
		u := t.UD.Bytes()
		r.UD = hex.EncodeToString(u[:])
	}
	return r
}

func (r row) tap() (t Tap, err error) {
	t = Tap{Seq: r.Seq, Amount: token.Amount(r.Amount), Type: cryptogram.Type(r.Type), TermSeq: r.TermSeq, KeyVer: r.KeyVer,
		AlgID: r.AlgID, Balance: r.Balance, ListVersion: r.List, Proof: r.Proof, Phone: r.UD != "", Fail: Refusal(r.Fail)}
	if t.Fail != "" && (!t.Phone || t.Fail != BadMAC2 && t.Fail != Module && t.Fail != Declined) {
		return Tap{}, errDamaged
	}
	for _, f := range []struct {
		to   []byte
		from string
	}{
		{t.Terminal[:], r.Terminal}, {t.Issuer[:], r.Issuer}, {t.ASN[:], r.ASN}, {t.Rand[:], r.Rand}, {t.At[:], r.At},
		{t.MAC1[:], r.MAC1}, {t.MAC2[:], r.MAC2}, {t.TAC[:], r.TAC},
	} {
		b, err := hex.DecodeString(f.from)
		if err != nil || len(b) != len(f.to) {
			return Tap{}, errDamaged
		}
		copy(f.to, b)
	}
	if t.Phone {
		b, err := hex.DecodeString(r.UD)
		if err != nil {
			return Tap{}, errDamaged
		}
		if t.UD, err = credential.ParseUD(b); err != nil {
			return Tap{}, fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return t, nil
}

// parseQueue reads every whole line: the taps that were uploaded, and those that wait.
func parseQueue(b []byte) (done, left []Tap, err error) {
	whole := b[:bytes.LastIndexByte(b, '\n')+1]
	for n, text := range bytes.Split(bytes.TrimSuffix(whole, []byte{'\n'}), []byte{'\n'}) {
		if len(whole) == 0 {
			break
		}
		var l line
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if d.Decode(&l) != nil || d.Decode(&struct{}{}) != io.EOF || (l.Tap == nil) == (l.Done <= 0) || l.Tap != nil && l.But != nil {
			return nil, nil, fmt.Errorf("%w: line %d", errDamaged, n+1)
		}
		if l.Tap == nil {
			now, rest, ok := l.parts(left)
			if !ok {
				return nil, nil, fmt.Errorf("%w: line %d", errDamaged, n+1)
			}
			done, left = append(done, now...), rest
			continue
		}
		t, err := l.Tap.tap()
		if err != nil {
			return nil, nil, fmt.Errorf("%w: line %d", err, n+1)
		}
		left = append(left, t)
	}
	return done, left, nil
}
