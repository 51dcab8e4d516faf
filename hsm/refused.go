//go:build cgo

package hsm

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
)

// refusedPINs remembers PINs that tokens refused, as digests under a key of this
// process. It is process-wide because a token that is opened once more, by a group
// say, must not be asked once more: tokens lock a PIN after a few tries. A PIN
// that is accepted ends the count inside the token, so what was refused before is
// forgotten then.
var refusedPINs = pins{by: map[string]map[pinDigest]refusal{}, now: time.Now}

type pins struct {
	sync.Mutex
	key []byte
	by  map[string]map[pinDigest]refusal // of a token: what it said of a PIN
	now func() time.Time
}

// refusal is what a token said of a PIN, and whether it then showed in its flags
// that its counter is not full.
type refusal struct {
	err   error
	at    time.Time
	shown bool
}

const (
	// betweenTries is how long a token is left alone after it refused any PIN.
	betweenTries = time.Hour
	// notFull are the flags of a token whose last login failed, or whose PIN does
	// not serve. An accepted or a new PIN clears them.
	notFull = pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_USER_PIN_FINAL_TRY | pkcs11.CKF_USER_PIN_LOCKED | pkcs11.CKF_USER_PIN_TO_BE_CHANGED
)

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
	return p.by[token][d].err
}

// rested reports whether a refused PIN may be tried once more as far as the token
// showed, when it refused it, that it counts, and has been left alone long enough.
func (p *pins) rested(token string, d pinDigest) bool {
	p.Lock()
	defer p.Unlock()
	for _, r := range p.by[token] {
		if p.now().Sub(r.at) < betweenTries {
			return false
		}
	}
	return p.by[token][d].shown
}

func (p *pins) add(token string, d pinDigest, err error, shown bool) {
	p.Lock()
	defer p.Unlock()
	if p.by[token] == nil {
		p.by[token] = map[pinDigest]refusal{}
	}
	p.by[token][d] = refusal{err, p.now(), shown}
}

func (p *pins) forget(token string) {
	p.Lock()
	defer p.Unlock()
	delete(p.by, token)
}
