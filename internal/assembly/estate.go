package assembly

import (
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
)

// Estate is the terminals that take phones.
type Estate struct {
	// Terminals lists their numbers, 12 digits each. When all of them have said
	// that they uploaded everything up to the end of a token, what its unused
	// slots hold is free; it is free a day later in any case. Empty: a day later.
	Terminals []string `yaml:"terminals"`
	// Operators lists the terminal numbers of each operator, under the name that
	// its records come under. Under another name they are refused; of a terminal
	// that is in no list, a record that comes under two names is paid to neither.
	Operators map[string][]string `yaml:"operators"`
}

var estateName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (c Config) validateEstate(v *checker) {
	for _, t := range c.Estate.Terminals {
		if b, err := hex.DecodeString(t); err != nil || len(b) != 6 {
			v.add("estate.terminals: a terminal number is 12 digits")
		}
	}
	seen := make(map[string]bool)
	for name, numbers := range c.Estate.Operators {
		if !estateName.MatchString(name) {
			v.add("estate.operators: a name is 1 to 64 letters, digits, dots, dashes and underlines")
		}
		for _, t := range numbers {
			if b, err := hex.DecodeString(t); err != nil || len(b) != 6 || seen[strings.ToUpper(t)] {
				v.add("estate.operators: a terminal number is 12 digits, and of one operator")
			}
			seen[strings.ToUpper(t)] = true
		}
	}
}

// owners says under which name the records of a terminal come.
func (c Config) owners() map[[6]byte]string {
	all := make(map[[6]byte]string)
	for name, numbers := range c.Estate.Operators {
		for _, t := range numbers {
			b, _ := hex.DecodeString(t) // validateEstate has read it
			all[[6]byte(b)] = name
		}
	}
	return all
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
