//go:build cgo

package hsm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// lacks says that a mechanism is not there, or not for what it is needed for.
type lacks struct {
	error
	mechanism string
}

func (l lacks) Unwrap() error { return l.error }

// LacksMechanism returns the mechanism of which err says that the module lacks it.
func LacksMechanism(err error) (name string, is bool) {
	var l lacks
	is = errors.As(err, &l)
	return l.mechanism, is
}

// wants is a mechanism, and what is done with it.
type wants struct {
	mechanism
	births bool
}

// Lacks says which mechanisms the token lacks, or does not have for what they are
// needed for, of all that any key of the service needs. It leaves nothing behind.
func (t *Token) Lacks(ctx context.Context) (all []Lack, err error) {
	err = t.with(ctx, "asking for mechanisms", func(s pkcs11.SessionHandle, _ *state) error {
		all = nil
		known := map[wants]error{}
		for _, u := range keyref.Usages() {
			spec, _ := u.Spec()
			for _, w := range t.wanted(spec) {
				if _, asked := known[w]; !asked {
					known[w] = t.has(s, spec.Type, w.mechanism)
				}
				err := known[w]
				if err != nil && !errors.As(err, new(lacks)) {
					return err
				}
				all = addLack(all, w, err, u)
			}
		}
		err := t.probeOne(oaepMechanism)
		if errors.As(err, new(lacks)) {
			all, err = append(all, Lack{Mechanism: oaepMechanism.name, To: purpose(oaepMechanism.flags), Need: ForElements}), nil
		}
		return err
	})
	return all, err
}

// wanted are the mechanisms that keys of spec are used by, and made by.
func (t *Token) wanted(spec keyref.Spec) (all []wants) {
	for _, m := range t.needed(spec) {
		all = append(all, wants{mechanism: m})
	}
	if m := births[spec.Type]; m.name != "" {
		all = append(all, wants{m, true})
	}
	return all
}

func addLack(all []Lack, w wants, err error, u keyref.Usage) []Lack {
	if err == nil {
		return all
	}
	need := ForUse
	if w.births {
		need = ForBirth
	}
	i := slices.IndexFunc(all, func(l Lack) bool { return l.Mechanism == w.name && l.Need == need })
	if i < 0 {
		i, all = len(all), append(all, Lack{Mechanism: w.name, To: purpose(w.flags), Need: need})
	}
	all[i].Usages = append(all[i].Usages, u)
	return all
}

// trials are keys that are made for a session and used once, one for each way in
// which keys are made of mechanisms.
var trials = []struct {
	usage keyref.Usage
	says  string
}{
	{keyref.PurchaseMaster, "bringing in a DES3 master and deriving from it"},
	{keyref.RetailTAC, "bringing in a DES3 key and enciphering with it"},
	{keyref.ACMasterAES, "bringing in an AES master and deriving from it"},
	{keyref.SessionKeyAES, "bringing in an AES key and making a CMAC with it"},
	{keyref.PANSeal, "bringing in an AES key, copying it, and sealing and opening with it"},
	{keyref.PANIndex, "bringing in an HMAC key and using it"},
}

// Trials makes keys as they are made of all types that can be brought in, for a
// session only, uses each once as the service does, and says what of that fails
// though no mechanism is lacking for it.
func (t *Token) Trials(ctx context.Context) (all []Lack, err error) {
	err = t.with(ctx, "trying mechanisms together", func(s pkcs11.SessionHandle, _ *state) error {
		all = nil
		for _, trial := range trials {
			err := t.trial(s, trial.usage)
			switch {
			case lost(err):
				return err
			case err != nil && !errors.As(err, new(lacks)):
				t.spoiled.Store(s, true) // an operation may have been left open
				all = append(all, Lack{To: trial.says, Says: told(err).Error(), Usages: alike(trial.usage)})
			}
		}
		return nil
	})
	return all, err
}

// alike are the usages of keys that look like those of u.
func alike(u keyref.Usage) (all []keyref.Usage) {
	spec, _ := u.Spec()
	for _, other := range keyref.Usages() {
		if o, _ := other.Spec(); o.Type == spec.Type && o.Role == spec.Role {
			all = append(all, other)
		}
	}
	return all
}

func (t *Token) trial(s pkcs11.SessionHandle, u keyref.Usage) error {
	spec, _ := u.Spec()
	ref := keyref.Ref{Usage: u, Version: 1}
	if spec.Realm {
		ref.Realm = "trial"
	}
	if err := t.probe(s, spec); err != nil {
		return err
	}
	lens := valueLens[spec.Type]
	value := make([]byte, lens[len(lens)-1])
	defer clear(value)
	if _, err := rand.Read(value); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	made, err := t.create(s, newborn{Ref: ref, spec: spec}, value, false)
	defer t.destroy(s, made)
	if err != nil {
		return err
	}
	k := &key{spec: spec, first: made[0]}
	if len(made) > 1 {
		k.second = made[1]
	}
	return t.try(s, ref, k)
}
