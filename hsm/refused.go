//go:build cgo

package hsm

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
)

// refusedPINs remembers PINs that tokens refused, as digests under a key of this
// process. It is process-wide because a token that is opened once more, by a group
// say, must not be asked once more: tokens lock a PIN after a few tries. A PIN
// that is accepted ends the count inside the token, so what was refused before is
// forgotten then.
var refusedPINs = pins{by: map[string]map[pinDigest]error{}}

type pins struct {
	sync.Mutex
	key []byte
	by  map[string]map[pinDigest]error // of a token: what it said of a PIN
}

type pinDigest [sha256.Size]byte

func (p *pins) digest(pin []byte) (d pinDigest) {
	p.Lock()
	defer p.Unlock()
	if p.key == nil {
		p.key = make([]byte, sha256.Size)
		rand.Read(p.key) // which cannot fail
	}
	mac := hmac.New(sha256.New, p.key)
	mac.Write(pin)
	return pinDigest(mac.Sum(nil))
}

// of is what a token said of a PIN that it refused.
func (p *pins) of(token string, d pinDigest) error {
	p.Lock()
	defer p.Unlock()
	return p.by[token][d]
}

func (p *pins) add(token string, d pinDigest, err error) {
	p.Lock()
	defer p.Unlock()
	if p.by[token] == nil {
		p.by[token] = map[pinDigest]error{}
	}
	p.by[token][d] = err
}

func (p *pins) forget(token string) {
	p.Lock()
	defer p.Unlock()
	delete(p.by, token)
}
