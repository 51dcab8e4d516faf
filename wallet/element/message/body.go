package message

import (
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

const (
	maxRuns   = payload.MaxKinds
	maxCipher = 512 // of an RSA key of 4096 bits
	maxAID    = 16
)

// Application is what an [Issue] brings.
type Application struct {
	Issuer              [8]byte // bytes 0-7 of file 0015
	AppType, AppVersion byte
	ASN                 [10]byte // the token's number as the application's serial number
	From, To            [4]byte  // civil dates of the token, YYYYMMDD in BCD
	KeyVersion          byte     // of the slot masters; its low nibble is not 0
	Algorithm           byte     // that goes with it
	AID                 []byte   // application identifier, 1 to 16 bytes
	// Purchase and TAC are the token's two keys, and Secret the script key and
	// perhaps a PIN, each enciphered to the element: up to 512 bytes.
	Purchase, TAC, Secret []byte
}

// Bytes prints a; it is the inverse of [ParseApplication].
func (a Application) Bytes() []byte {
	b := append(append([]byte(nil), a.Issuer[:]...), a.AppType, a.AppVersion)
	b = append(append(append(b, a.ASN[:]...), a.From[:]...), a.To[:]...)
	b = append(b, a.KeyVersion, a.Algorithm)
	for _, f := range [][]byte{a.AID, a.Purchase, a.TAC, a.Secret} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(f))), f...)
	}
	return b
}

// ParseApplication reads the body of an [Issue].
func ParseApplication(b []byte) (a Application, err error) {
	if len(b) < 30 {
		return a, errScript()
	}
	a.Issuer, a.AppType, a.AppVersion = [8]byte(b), b[8], b[9]
	a.ASN, a.From, a.To = [10]byte(b[10:]), [4]byte(b[20:]), [4]byte(b[24:])
	a.KeyVersion, a.Algorithm = b[28], b[29]
	b = b[30:]
	for i, f := range []*[]byte{&a.AID, &a.Purchase, &a.TAC, &a.Secret} {
		most := maxCipher
		if i == 0 {
			most = maxAID
		}
		if len(b) < 2 {
			return Application{}, errScript()
		}
		n := int(binary.BigEndian.Uint16(b))
		if n == 0 || n > most || len(b) < 2+n {
			return Application{}, errScript()
		}
		*f, b = append([]byte(nil), b[2:2+n]...), b[2+n:]
	}
	if len(b) > 0 || a.KeyVersion&0x0F == 0 {
		return Application{}, errScript()
	}
	return a, nil
}

// Run is so many equal slots.
type Run struct {
	Class credential.Class
	Cap   token.Amount // in fen, a multiple of [credential.Unit]
	Count byte         // 1 to 255
}

// Limit is what a [SetLimit] brings: slots from counter First on, and the
// issuer's word for them. The element makes their descriptors itself.
type Limit struct {
	First      uint16
	Runs       []Run // up to 8
	Credential credential.Credential
}

// NewLimit describes slots that a grant lists, whose counters rise by one.
func NewLimit(uds []credential.UD, c credential.Credential) (l Limit, err error) {
	if len(uds) == 0 {
		return l, errScript()
	}
	l = Limit{First: uds[0].Ctr, Credential: c}
	for i, u := range uds {
		if u.Ctr != l.First+uint16(i) {
			return Limit{}, errScript()
		}
		if n := len(l.Runs); n > 0 && l.Runs[n-1].Class == u.Class && l.Runs[n-1].Cap == u.Limit() && l.Runs[n-1].Count < 255 {
			l.Runs[n-1].Count++
			continue
		}
		l.Runs = append(l.Runs, Run{u.Class, u.Limit(), 1})
	}
	if len(l.Runs) > maxRuns {
		return Limit{}, fmt.Errorf("%w: slots of more than %d kinds in turn", token.ErrMalformed, maxRuns)
	}
	return l, nil
}

// UDs returns the descriptors of the slots.
func (l Limit) UDs(keyVersion byte) (uds []credential.UD, err error) {
	ctr := int(l.First)
	for _, r := range l.Runs {
		for range r.Count {
			u, err := credential.NewUD(l.Credential.NotAfter, uint16(ctr), r.Cap, r.Class, keyVersion)
			if err != nil || ctr > 0xFFFF {
				return nil, errScript()
			}
			uds = append(uds, u)
			ctr++
		}
	}
	return uds, nil
}

// Bytes prints l; it is the inverse of [ParseLimit].
func (l Limit) Bytes() []byte {
	b := append(binary.BigEndian.AppendUint16(nil, l.First), byte(len(l.Runs)))
	for _, r := range l.Runs {
		b = append(b, byte(r.Class))
		b = append(binary.BigEndian.AppendUint16(b, uint16(r.Cap/credential.Unit)), r.Count)
	}
	c := l.Credential.Bytes()
	return append(b, c[:]...)
}

// ParseLimit reads the body of a [SetLimit]. The credential is checked for form:
// the script's MAC vouches for it here, and readers check its signature.
func ParseLimit(b []byte) (l Limit, err error) {
	if len(b) < 3 || b[2] == 0 || b[2] > maxRuns || len(b) != 3+4*int(b[2])+credential.Size {
		return l, errScript()
	}
	l.First = binary.BigEndian.Uint16(b)
	for i := range int(b[2]) {
		r := b[3+4*i:]
		run := Run{credential.Class(r[0]), token.Amount(binary.BigEndian.Uint16(r[1:])) * credential.Unit, r[3]}
		if run.Count == 0 || run.Cap == 0 || run.Class < credential.Express || run.Class > credential.Large {
			return Limit{}, errScript()
		}
		l.Runs = append(l.Runs, run)
	}
	l.Credential, err = credential.Parse(b[len(b)-credential.Size:])
	return l, err
}

// Label binds what is enciphered in a script to its element and number: moved
// into another script it does not open.
func Label(s Serial, seq uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte("tapvault/element/secret/v1|"), s[:]...), seq)
}

// Secret prints what is enciphered in an [Issue] or [Unblock]: the script key and
// the PIN, if there is one. The caller zeroes it.
func Secret(k *Key, p mask.PIN, has bool) []byte {
	b := append(make([]byte, 0, KeySize+mask.PINSize), k[:]...)
	if has {
		b = p.AppendTo(b)
	}
	return b
}

// ParseSecret is the inverse of [Secret].
func ParseSecret(b []byte) (k Key, p mask.PIN, has bool, err error) {
	switch len(b) {
	case KeySize:
		return Key(b), p, false, nil
	case KeySize + mask.PINSize:
		p, err = mask.ParsePIN(b[KeySize:])
		return Key(b), p, err == nil, err
	}
	return k, p, false, errScript()
}
