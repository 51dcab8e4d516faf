package attack

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"github.com/tapvault/tapvault/internal/sim"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/token"
)

// forgedAttestation enrols one phone for many wallets under the attestation of
// one leaf. A leaf counts as copied beyond three of them.
func forgedAttestation(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	const allowed = 3
	leaf := sim.Leaf(s.pin())
	for range 8 {
		p, err := s.Crack(ctx, city.Spec{PIN: s.pin(), Tier: sim.TierA, Leaf: leaf})
		if errors.Is(err, sim.ErrEnrolment) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		loss += p.Limit()
	}
	if loss == 0 {
		return 0, 0, errors.New("attack: not even one wallet was taken")
	}
	return allowed * limit, loss, nil
}

// oracle asks for the PIN online until the service tells. The right one is the
// seventh: whoever finds it then has guessed more often than anybody may.
func oracle(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, err := s.Phone(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	judged := 0
	for range 6 {
		ok, err := p.VerifyPIN(ctx, s.guess(p.PIN))
		if err != nil && ctx.Err() != nil {
			return 0, 0, err
		}
		if ok {
			return 0, 0, errors.New("attack: a wrong PIN was taken")
		}
		judged++
		s.Clock.Advance(time.Minute)
	}
	if ok, _ := p.VerifyPIN(ctx, p.PIN); ok && judged > 5 {
		loss = limit
	}
	return expected(limit), loss, nil
}

// leaked reads everything that the service stored, as a thief of its disk would,
// and looks for what is worth money: card numbers, PINs stretched, slot keys.
func leaked(ctx context.Context, s *stage) (most, loss token.Amount, err error) {
	p, err := s.Crack(ctx, city.Spec{PIN: s.pin()})
	if err != nil {
		return 0, 0, err
	}
	secrets := map[string][]byte{"card number": []byte(p.Card), "stretched PIN": p.Secret(p.PIN)}
	for i, k := range p.SlotKeys() {
		secrets[fmt.Sprintf("slot key %d", i)] = k
	}
	files, err := filepath.Glob(filepath.Join(s.Rig.Dir, "*"))
	if err != nil {
		return 0, 0, err
	}
	read := 0
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.IsDir() || filepath.Base(f) == "pin" { // the HSM's own PIN is not in the database
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return 0, 0, err
		}
		read += len(b)
		for range secretsIn(b, secrets) {
			loss += limit
		}
	}
	if read == 0 {
		return 0, 0, errors.New("attack: nothing was read")
	}
	return 0, loss, nil
}

// secretsIn lists which secrets stand in b, as bytes or in a usual spelling.
func secretsIn(b []byte, secrets map[string][]byte) (found []string) {
	for name, s := range secrets {
		spelled := [][]byte{s, []byte(hex.EncodeToString(s)), []byte(strings.ToUpper(hex.EncodeToString(s))),
			[]byte(base64.RawURLEncoding.EncodeToString(s)), []byte(base64.StdEncoding.EncodeToString(s))}
		for _, form := range spelled {
			if bytes.Contains(b, form) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}
