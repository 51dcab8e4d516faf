package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// flagKinds are what flags of a kind take.
var flagKinds = map[string]string{
	"bool":      "true or false",
	"duration":  "a time such as 90s or 10m",
	"float64":   "a number",
	"int":       "a whole number",
	"int64":     "a whole number",
	"uint8":     "a whole number up to 255",
	"uint32":    "a whole number up to 4294967295",
	"uint64":    "a whole number from 0",
	"uintSlice": "whole numbers with commas",
}

// plainFlag says what a flag takes that was given something else. What was given
// is not repeated.
func plainFlag(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	takes, ok := flagKinds[bad.GetFlag().Value.Type()]
	if !ok {
		return err
	}
	return fmt.Errorf("reading flags: --%s must be %s", bad.GetFlag().Name, takes)
}
