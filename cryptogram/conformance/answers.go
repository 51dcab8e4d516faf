package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// check compares what was computed with what a vector expects.
type check func(ctx context.Context, want json.RawMessage) error

// answers holds a check for each member of "out" that was computed.
type answers map[string]check

var errDiffers = errors.New("differs")

// compare checks every member of out that stands for an answer, and every other
// that was computed. A vector that expects nothing is a failure: it would pass
// whatever an HSM computes.
func (a answers) compare(ctx context.Context, out map[string]json.RawMessage, answer func(name string) bool) error {
	var errs []error
	checked := 0
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if a[name] == nil && !answer(name) || string(out[name]) == "null" {
			continue
		}
		checked++
		c, ok := a[name]
		if !ok {
			errs = append(errs, fmt.Errorf("out.%s: cannot be computed from this input", name))
		} else if err := c(ctx, out[name]); err != nil {
			errs = append(errs, fmt.Errorf("out.%s: %w", name, err))
		}
	}
	if checked == 0 {
		return errors.New("out: nothing to compare")
	}
	return errors.Join(errs...)
}

// hexed makes a check of one that wants bytes.
func hexed(c func(ctx context.Context, want []byte) error) check {
	return func(ctx context.Context, raw json.RawMessage) error {
		want, err := parseHex(raw)
		if err != nil {
			return err
		}
		return c(ctx, want)
	}
}

// equals checks against bytes that are no secret.
func equals(got []byte) check {
	return hexed(func(_ context.Context, want []byte) error {
		if !bytes.Equal(got, want) {
			return errDiffers
		}
		return nil
	})
}

// is checks against any other value of JSON.
func is[T any](got T) check {
	return func(_ context.Context, raw json.RawMessage) error {
		var want T
		if err := json.Unmarshal(raw, &want); err != nil {
			return errors.New("is of another type")
		}
		if !reflect.DeepEqual(got, want) {
			return errDiffers
		}
		return nil
	}
}
