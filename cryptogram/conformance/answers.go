package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// check compares what was computed with what a vector expects.
type check func(ctx context.Context, want []byte) error

// answers holds a check for each member of "out" that was computed.
type answers map[string]check

var errDiffers = errors.New("differs")

// results are the members of "out" that stand for an answer. Others are
// intermediate values, which may be left out.
var results = []string{"key", "dpk", "session_key", "mac1", "mac2", "mac3", "tac", "response", "new_balance"}

// compare checks every member of out. A vector that expects nothing is a
// failure: it would pass whatever an HSM computes.
func (a answers) compare(ctx context.Context, out map[string]json.RawMessage) error {
	var errs []error
	checked := 0
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if !slices.Contains(results, name) || string(out[name]) == "null" {
			continue
		}
		checked++
		if err := a.member(ctx, name, out[name]); err != nil {
			errs = append(errs, fmt.Errorf("out.%s: %w", name, err))
		}
	}
	if checked == 0 {
		return errors.New("out: nothing to compare")
	}
	return errors.Join(errs...)
}

func (a answers) member(ctx context.Context, name string, raw json.RawMessage) error {
	want, err := parseHex(raw)
	if err != nil {
		return err
	}
	c, ok := a[name]
	if !ok {
		return errors.New("cannot be computed from this input")
	}
	return c(ctx, want)
}

// equals checks against bytes that are no secret.
func equals(got []byte) check {
	return func(_ context.Context, want []byte) error {
		if !bytes.Equal(got, want) {
			return errDiffers
		}
		return nil
	}
}
