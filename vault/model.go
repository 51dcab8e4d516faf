package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// The rows, as the migrations define them. They never leave this package.

type rangeRow struct {
	ID         string `gorm:"primaryKey"`
	Prefix     string
	Length     int
	Luhn       int
	SealedKey  []byte
	KEKVersion uint8 `gorm:"column:kek_version"`
	NextSerial int64
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
}

func (rangeRow) TableName() string { return "token_ranges" }

func (r rangeRow) toRange() Range {
	return Range{Name: r.ID, Prefix: r.Prefix, Length: r.Length, Luhn: r.Luhn == 1}
}

type leaseRow struct {
	RangeID     string `gorm:"primaryKey"`
	FirstSerial int64  `gorm:"primaryKey;autoIncrement:false"`
	EndSerial   int64
	Holder      string
	Epoch       int64
	LeasedUntil int64
}

func (leaseRow) TableName() string { return "range_leases" }

type cardRow struct {
	ID           string `gorm:"primaryKey"`
	PANIndex     []byte `gorm:"column:pan_index"`
	IndexVersion uint8
	ExpiryTag    []byte
	Sealed       []byte
	SealVersion  uint8
	PAR          string `gorm:"column:par"`
	Last4        string
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
}

func (cardRow) TableName() string { return "cards" }

// formerRow is a number that a card bore before it was replaced.
type formerRow struct {
	ID           string `gorm:"primaryKey"`
	CardID       string
	PANIndex     []byte `gorm:"column:pan_index"`
	IndexVersion uint8
	Sealed       []byte
	SealVersion  uint8
	ReplacedAt   int64
}

func (formerRow) TableName() string { return "former_cards" }

type numberRow struct {
	RangeID   string `gorm:"primaryKey"`
	Serial    int64  `gorm:"primaryKey;autoIncrement:false"`
	Holder    string
	NextCtr   uint16
	FreeAfter int64
}

func (numberRow) TableName() string { return "numbers" }

type tokenRow struct {
	Ref       string `gorm:"primaryKey"`
	CardID    string
	RangeID   string
	Serial    int64
	Requestor string
	PSN       string `gorm:"column:psn"`
	Expiry    string
	Location  string
	State     string
	NotBefore int64
	NotAfter  int64
	CtrFirst  uint16
	CtrNext   uint16
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ChangedAt int64

	AssuranceMethod string
	AssuranceData   string
	FormFactor      string
	Device          string
	Suspenders      int // bit i: token.Suspenders[i]
	Decision        string
	Controls        string
	Renews          string
	RenewedBy       string
	Notice          string
	NoticeReason    string
	NoticedAt       int64
	Revision        int64
	Living          *string
	KeptUntil       int64 // the longest window there was, if it became shorter
}

func (tokenRow) TableName() string { return "tokens" }

// tokenView is a token row with what is shown of its card.
type tokenView struct {
	Row   tokenRow `gorm:"embedded"`
	PAR   string   `gorm:"column:par"`
	Last4 string
}

// sealedRow is how a token stands, with its card, sealed.
type sealedRow struct {
	Ref, CardID, RangeID       string
	Serial                     int64
	Requestor, Location, State string
	NotBefore, NotAfter        int64
	AssuranceMethod            string
	AssuranceData              string
	Suspenders                 int
	Decision, Controls, PAR    string
	Sealed                     []byte
	SealVersion                uint8
}

func (v *Vault) toStanding(r *sealedRow) (token.Standing, error) {
	num, controls, err := v.unpack(r.Ref, r.RangeID, r.Serial, r.Controls)
	if err != nil {
		return token.Standing{}, err
	}
	return token.Standing{
		Ref: token.Ref(r.Ref), Number: num, Requestor: token.Requestor(r.Requestor), PAR: token.PAR(r.PAR),
		Location: token.Location(r.Location), State: token.State(r.State),
		NotBefore: moment(r.NotBefore), NotAfter: moment(r.NotAfter),
		Assurance:  token.Assurance{Method: r.AssuranceMethod, Data: r.AssuranceData},
		Suspenders: suspenders(r.Suspenders), Decision: token.Decision(r.Decision), Controls: controls,
	}, nil
}

// unpack returns what of a token is not stored as it is shown.
func (v *Vault) unpack(ref, rangeID string, serial int64, packed string) (token.Number, token.Controls, error) {
	n, err := v.rangeByName(rangeID)
	if err != nil {
		return token.Number{}, token.Controls{}, fmt.Errorf("token %s: %w", ref, err)
	}
	num, err := n.number(serial)
	if err != nil {
		return token.Number{}, token.Controls{}, fault.Unreadable(fmt.Errorf("token %s: %w", ref, err))
	}
	controls, err := unpackControls(packed)
	if err != nil {
		return token.Number{}, token.Controls{}, fmt.Errorf("token %s: %w", ref, err)
	}
	return num, controls, nil
}

func (v *Vault) toToken(view tokenView) (token.Token, error) {
	r := view.Row
	num, controls, err := v.unpack(r.Ref, r.RangeID, r.Serial, r.Controls)
	if err != nil {
		return token.Token{}, err
	}
	return token.Token{
		Ref: token.Ref(r.Ref), Number: num, Requestor: token.Requestor(r.Requestor),
		PAR: token.PAR(view.PAR), PANLast4: view.Last4, Expiry: token.Expiry(r.Expiry),
		Location: token.Location(r.Location), State: token.State(r.State),
		NotBefore: moment(r.NotBefore), NotAfter: moment(r.NotAfter),
		CreatedAt: moment(r.CreatedAt), ChangedAt: moment(r.ChangedAt),
		CtrFirst: r.CtrFirst, CtrNext: r.CtrNext,
		PSN: r.PSN, Assurance: token.Assurance{Method: r.AssuranceMethod, Data: r.AssuranceData},
		FormFactor: token.FormFactor(r.FormFactor), Device: r.Device, Suspenders: suspenders(r.Suspenders),
		Decision: token.Decision(r.Decision), Controls: controls, Renews: token.Ref(r.Renews),
		RenewedBy: token.Ref(r.RenewedBy), Provisioned: r.notice(), Revision: r.Revision,
	}, nil
}

func (r tokenRow) notice() *token.Notice {
	if r.Notice == "" {
		return nil
	}
	return &token.Notice{Result: token.Result(r.Notice), Reason: r.NoticeReason, At: moment(r.NoticedAt)}
}

// suspenders reads the bits of a row.
func suspenders(bits int) (out []token.Suspender) {
	for i, s := range token.Suspenders {
		if bits&(1<<i) != 0 {
			out = append(out, s)
		}
	}
	return out
}

// bit is the bit of a suspender, 0 for none.
func bit(s token.Suspender) int {
	if i := slices.Index(token.Suspenders, s); i >= 0 {
		return 1 << i
	}
	return 0
}

// packControls writes controls for a row.
func packControls(c token.Controls) (string, error) {
	if c.IsZero() {
		return "", nil
	}
	b, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("keeping controls: %w", err)
	}
	return string(b), nil
}

// errControls reports a row that this program did not write.
var errControls = fault.Unreadable(errors.New("its controls cannot be read"))

// unpackControls reads what packControls wrote. Controls that cannot be read
// are an error, never no controls.
func unpackControls(s string) (c token.Controls, err error) {
	if s == "" {
		return c, nil
	}
	d := json.NewDecoder(strings.NewReader(s))
	d.DisallowUnknownFields()
	if d.Decode(&c) != nil { // what it says may be what a connection that broke says
		return token.Controls{}, errControls
	}
	return c, nil
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
