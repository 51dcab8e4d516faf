package assembly

import (
	"encoding/hex"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
)

// Estate is the terminals that take phones.
type Estate struct {
	// Terminals lists their numbers, 12 digits each. When all of them have said
	// that they uploaded everything up to the end of a token, what its unused
	// slots hold is free; it is free a day later in any case. Empty: a day later.
	Terminals []string `yaml:"terminals"`
}

func (c Config) validateEstate(v *checker) {
	for _, t := range c.Estate.Terminals {
		if b, err := hex.DecodeString(t); err != nil || len(b) != 6 {
			v.add("estate.terminals: a terminal number is 12 digits")
		}
	}
}

// estate is nil when no terminal is named.
func (p *parts) estate() account.Estate {
	var numbers [][6]byte
	for _, t := range p.cfg.Estate.Terminals {
		b, _ := hex.DecodeString(t) // Validate has read it
		numbers = append(numbers, [6]byte(b))
	}
	if len(numbers) == 0 {
		return nil
	}
	return tapdb.NewEstate(p.db, numbers...)
}
