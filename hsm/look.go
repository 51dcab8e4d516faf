//go:build cgo

package hsm

import (
	"fmt"
	"math"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Modules search by looking at every object. So when many keys are to be found, as
// after a lost login, all objects are listed once and matched here, and the work
// does not grow with the square of their number. See docs/decisions/100.

// look names the token's objects of a label, whatever they are.
type look func(label string) ([]object, error)

// object is one object of the token.
type object struct {
	handle pkcs11.ObjectHandle
	class  uint
}

const (
	// fewLabels are looked for one by one, because listing what there is takes as long.
	fewLabels = 4
	// otherObjects is how many objects for each label are listed. Of a token that is
	// full of others' keys, reading every label would take longer than asking for ours.
	otherObjects = 4
	// namesakes is how many objects of one label are looked at.
	namesakes = 8
)

// loading is what is known while keys are made ready in a session.
type loading struct {
	s      pkcs11.SessionHandle
	find   look
	probed map[needs]bool
}

// needs is what decides about the mechanisms that a key wants.
type needs struct {
	typ     keyref.Type
	derives bool
}

// loads prepares for making keys ready in session s. t.mu must be held, and s be the
// anchor session.
func (t *Token) loads(s pkcs11.SessionHandle, refs []keyref.Ref) (*loading, error) {
	find, err := t.looks(s, refs)
	return newLoading(s, find), err
}

func newLoading(s pkcs11.SessionHandle, find look) *loading {
	return &loading{s, find, map[needs]bool{}}
}

// looks returns the cheapest way of finding keys. t.mu must be held.
//
// One object whose label cannot be read, not even one of others, spoils a listing,
// and the session with it. Then keys are looked for one by one: the next time, or
// from now on if what went wrong says nothing of session or token.
func (t *Token) looks(s pkcs11.SessionHandle, refs []keyref.Ref) (look, error) {
	labels := 0
	for _, r := range refs {
		if labels++; hasSecond(r) {
			labels++
		}
	}
	if labels < fewLabels {
		return t.search(s), nil
	}
	if t.apart > 0 {
		t.apart--
		return t.search(s), nil
	}
	find, err := t.listed(s, otherObjects*labels)
	if err != nil {
		t.apart = 1
		if !lost(err) {
			t.apart = math.MaxInt
		}
		return nil, err
	}
	return find, nil
}

// search asks the token for each label.
func (t *Token) search(s pkcs11.SessionHandle) look {
	return func(label string) (found []object, err error) {
		hs, err := t.find(s, namesakes, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
		if err != nil {
			return nil, err
		}
		for _, h := range hs {
			class, err := t.number(s, h, pkcs11.CKA_CLASS)
			if err != nil {
				return nil, err
			}
			found = append(found, object{h, class})
		}
		return found, nil
	}
}

// listed reads the labels of all objects, if they are fewer than most.
func (t *Token) listed(s pkcs11.SessionHandle, most int) (look, error) {
	all, err := t.find(s, most, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true))
	if err != nil {
		return nil, err
	}
	if len(all) == most {
		return t.search(s), nil
	}
	at := map[string][]object{}
	for _, h := range all {
		a, err := t.mod.ctx.GetAttributeValue(s, h, []*pkcs11.Attribute{{Type: pkcs11.CKA_LABEL}, {Type: pkcs11.CKA_CLASS}})
		if c := code(err); c == pkcs11.CKR_ATTRIBUTE_TYPE_INVALID || c == pkcs11.CKR_ATTRIBUTE_SENSITIVE {
			continue // it has no label, so it is none of ours
		}
		if err != nil {
			return nil, fmt.Errorf("listing the token's objects: %w", err)
		}
		class, err := ulong(a[1].Value)
		if err != nil {
			return nil, err
		}
		at[string(a[0].Value)] = append(at[string(a[0].Value)], object{h, class})
	}
	if !t.loggedIn(s) { // what is private was not to be seen any more
		return nil, fmt.Errorf("listing the token's objects: %w", pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	return func(label string) ([]object, error) { return at[label], nil }, nil
}
