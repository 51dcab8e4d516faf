package keyref

import "fmt"

// MaxSteps is how far EMV derives from a stored key: a card's key, a key of
// one transaction or of a span of time, and one to spare.
const MaxSteps = 3

// Chain leads from a stored EMV key through up to [MaxSteps] derivations. A
// step is the blocks that are enciphered under one key to give the next: for
// Triple DES two blocks of 8 bytes; for AES one block, or two for keys longer
// than a block, of whose cipher text the left is the key. Parity is not set:
// nothing that enciphers looks at it.
//
// All steps of a Triple DES chain but the last are a block and its complement,
// as EMV makes a card's key.
type Chain struct {
	Key   Ref
	Steps [][]byte
}

// Then returns c one step further.
func (c Chain) Then(step []byte) Chain {
	return Chain{c.Key, append(c.Steps[:len(c.Steps):len(c.Steps)], step)}
}

// Check reports whether c can lead to a key of type t. A master is used after
// one step at least; other keys are used themselves.
func (c Chain) Check(t Type) error {
	spec, _ := c.Key.Usage.Spec() // of no usage: not EMV
	if !spec.EMV || spec.Type != t || spec.Master() == (len(c.Steps) == 0) || len(c.Steps) > MaxSteps {
		return fmt.Errorf("%w: %v: no such use at %d steps", ErrMalformed, c.Key, len(c.Steps))
	}
	for i, s := range c.Steps {
		last := i == len(c.Steps)-1
		if t == DES3 && (len(s) != 16 || !last && !complementary(s)) || t == AES && len(s) != 16 && len(s) != 32 {
			return fmt.Errorf("%w: %v: step %d is none of its algorithm", ErrMalformed, c.Key, i+1)
		}
	}
	return nil
}

// Path returns all but the last step of a Triple DES chain as diversification.
// c was checked.
func (c Chain) Path() Path {
	p := Path{Key: c.Key}
	for i := 0; i+1 < len(c.Steps); i++ {
		p.Factors[i] = Factor(c.Steps[i][:8])
		p.Levels++
	}
	return p
}

func complementary(s []byte) bool {
	for i, b := range s[:8] {
		if s[8+i] != ^b {
			return false
		}
	}
	return true
}
