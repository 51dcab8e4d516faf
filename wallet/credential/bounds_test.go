package credential_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// TestHoursEnd: hours are counted from 2020 and in 24 bits, and beyond either end there
// are none.
func TestHoursEnd(t *testing.T) {
	epoch := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	const hour, most = 3600, 1<<24 - 1
	for _, tc := range []struct {
		seconds int64
		nanos   int64
		want    uint32
	}{
		{-hour, 0, 0}, {0, -1, 0}, {0, 0, 0}, {0, 1, 1}, {hour, 0, 1}, {hour, 1, 2}, {292 * 365 * 24 * hour, 0, 292 * 365 * 24},
		{293 * 366 * 24 * hour, 0, 293 * 366 * 24}, {(most - 1) * hour, 0, most - 1}, {most * hour, 0, most}, {most * hour, 1, most}, {2 * most * hour, 0, most},
	} {
		at := time.Unix(epoch.Unix()+tc.seconds, tc.nanos)
		got := credential.Hours(at)
		if got != tc.want {
			t.Errorf("%v: %d hours, want %d", at, got, tc.want)
		}
		if end := (credential.UD{HourExp: got}).Expires(); got > 0 && got < most && (end.Before(at) || end.Add(-time.Hour).After(at)) {
			t.Errorf("%v: it ends %v", at, end)
		}
	}
}

// TestUDBounds: each field holds at its first and last value.
func TestUDBounds(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		limit  token.Amount
		class  credential.Class
		keyVer byte
		ok     bool
	}{
		"least": {10, credential.Express, 1, true}, "most": {655350, credential.Large, 15, true},
		"a unit more": {655360, credential.Large, 1, false}, "a fen more": {655351, credential.Large, 1, false},
		"a fen more than a unit": {11, credential.Large, 1, false}, "far more": {655360*2 + 10, credential.Large, 1, false},
		"class 0": {10, 0, 1, false}, "class 5": {10, 5, 1, false}, "low nibble 0": {10, credential.Express, 16, false},
	} {
		u, err := credential.NewUD(at, 1, tc.limit, tc.class, tc.keyVer)
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) || err == nil && u.Limit() != tc.limit {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
}

// TestWhatIsSigned: what an issuer is asked to sign is a credential that reads back.
func TestWhatIsSigned(t *testing.T) {
	sign := func([32]byte) ([64]byte, error) { return [64]byte{1}, nil }
	last := time.Unix(0xFFFFFFFF, 0)
	for name, tc := range map[string]struct {
		edit func(c *credential.Credential)
		ok   bool
	}{
		"from the first second":   {func(c *credential.Credential) { c.NotBefore = time.Unix(0, 0) }, true},
		"from before":             {func(c *credential.Credential) { c.NotBefore = time.Unix(-1, 0) }, false},
		"to the last second":      {func(c *credential.Credential) { c.NotAfter = last }, true},
		"to a second more":        {func(c *credential.Credential) { c.NotAfter = last.Add(time.Second) }, false},
		"from parts of seconds":   {func(c *credential.Credential) { c.NotBefore = c.NotBefore.Add(time.Millisecond) }, true},
		"within a second":         {func(c *credential.Credential) { c.NotBefore = c.NotAfter.Add(-time.Millisecond) }, true},
		"the last counter":        {func(c *credential.Credential) { c.CtrFirst, c.CtrCount = 0xFFFE, 2 }, true},
		"a counter more":          {func(c *credential.Credential) { c.CtrFirst, c.CtrCount = 0xFFFE, 3 }, false},
		"one slot":                {func(c *credential.Credential) { c.Limit = c.MaxTap }, true},
		"less than one slot":      {func(c *credential.Credential) { c.Limit = c.MaxTap - credential.Unit }, false},
		"a limit, a fen more":     {func(c *credential.Credential) { c.Limit++ }, false},
		"the most money":          {func(c *credential.Credential) { c.Limit = 655350 }, true},
		"a unit more":             {func(c *credential.Credential) { c.Limit = 655360 }, false},
		"no device key":           {func(c *credential.Credential) { c.DeviceKey = [33]byte{} }, true},
		"no point of the curve":   {func(c *credential.Credential) { c.DeviceKey = [33]byte{4} }, false},
		"no token":                {func(c *credential.Credential) { c.Number = token.Number{} }, false},
		"a cap that is no unit's": {func(c *credential.Credential) { c.MaxTap++ }, false},
	} {
		c := sample(t, newKey(t))
		tc.edit(&c)
		c, err := c.Sign(sign)
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		b := c.Bytes()
		back, err := credential.Parse(b[:])
		if err != nil || back.Bytes() != b || !back.NotBefore.Equal(c.NotBefore) || !back.NotAfter.Equal(c.NotAfter) || back.Limit != c.Limit {
			t.Errorf("%s: read back as %+v, %v", name, back, err)
		}
	}
}

// TestOtherCurvesSignNothing: r and s of a smaller curve fit as well.
func TestOtherCurvesSignNothing(t *testing.T) {
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := sample(t, small)
	if err := c.Verify(credential.Keys{7: &small.PublicKey}); !errors.Is(err, credential.ErrUntrusted) {
		t.Error(err)
	}
}

// TestProofIsOfItsSlot: a signature over one slot under the counter of another is no
// proof, and a proof without a signature is none.
func TestProofIsOfItsSlot(t *testing.T) {
	k, dev := newKey(t), newKey(t)
	c := sample(t, k)
	c.DeviceKey = [33]byte(elliptic.MarshalCompressed(elliptic.P256(), dev.X, dev.Y))
	u, err := credential.NewUD(c.NotAfter, 5, 1000, credential.Medium, 1)
	if err != nil {
		t.Fatal(err)
	}
	for ctr, want := range map[uint16]error{4: credential.ErrUntrusted, 5: nil, 6: credential.ErrUntrusted} {
		p := credential.Proof{Ctr: ctr, Made: c.NotBefore, Valid: time.Minute}
		if p.Signature, err = signWith(t, dev)(p.Digest(c, u)); err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(c, u); !errors.Is(err, want) {
			t.Errorf("counter %d: %v", ctr, err)
		}
		b := p.Bytes()
		if back, err := credential.ParseProof(b[:]); err != nil || back != p {
			t.Errorf("counter %d: read back as %+v, %v", ctr, back, err)
		}
		clear(b[8:])
		for _, bad := range [][]byte{b[:], b[:71], append(b[:], 0), nil} {
			if _, err := credential.ParseProof(bad); !errors.Is(err, token.ErrMalformed) {
				t.Errorf("%d bytes: %v", len(bad), err)
			}
		}
	}
	if p, err := credential.ParseProof(make([]byte, credential.ProofSize)); err != nil || !p.IsZero() {
		t.Errorf("zeros: %+v, %v", p, err)
	}
	none := c
	none.DeviceKey = [33]byte{}
	p := credential.Proof{Ctr: 5, Made: c.NotBefore, Valid: time.Minute, Signature: [64]byte{1}}
	if err := p.Verify(none, u); !errors.Is(err, credential.ErrUntrusted) {
		t.Errorf("of a credential without a device key: %v", err)
	}
}
