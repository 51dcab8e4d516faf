// Package conformance tells whether an HSM computes purse and EMV cryptograms as
// the cards in the field do, by running known answers through it.
//
// Test keys enter the HSM as session objects, one import for each use, and
// leave it again. Keys that come out of a derivation are compared by what they
// do: a block enciphered, or a message MACed, under both. Where the HSM can be
// asked for the cipher text that a derived key is made of, that is compared as
// well, because DES ignores parity bits and the comparison by use cannot see
// them.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Ring is what is put to the test: an HSM or the keys of the softkey package.
type Ring interface {
	cryptogram.Keys
	emv.Keys
	// Encipher returns 3DES-E of a block under a diversified key, or under a
	// scratch key of usage [keyref.RetailTAC] itself.
	Encipher(ctx context.Context, key keyref.Path, block [8]byte) ([8]byte, error)
	// ImportScratch makes a key usable until Forget.
	ImportScratch(ctx context.Context, ref keyref.Ref, key []byte) error
	Forget(ctx context.Context, ref keyref.Ref) error
}

// Errors.
var (
	// ErrFile reports a file that is not a vector file.
	ErrFile = errors.New("not a vector file")
	// ErrNothing reports a file of which no vector could be run. The report
	// that comes with it says why.
	ErrNothing = errors.New("the file holds no vector that can be run")
)

const maxFile = 64 << 20

// file is the form of a vector file.
type file struct {
	Functions []struct {
		Function string            `json:"function"`
		Vectors  []json.RawMessage `json:"vectors"`
	} `json:"functions"`
}

// vector is one known answer.
type vector struct {
	ID  string                     `json:"id"`
	In  map[string]json.RawMessage `json:"in"`
	Out map[string]json.RawMessage `json:"out"`
}

// Run runs every vector of a file. Vectors that disagree, or that cannot be
// read, are failures in the report and no error.
func Run(ctx context.Context, ring Ring, r io.Reader) (Report, error) {
	f, err := read(r)
	if err != nil {
		return Report{}, err
	}
	report := Report{Functions: make(map[string]Function)}
	s := &session{ring: ring}
	for _, fn := range f.Functions {
		compute, answer, sm4 := find(fn.Function)
		if compute == nil {
			report.skip(fn.Function, len(fn.Vectors), skipReason(fn.Function))
			continue
		}
		s.sm4 = sm4
		report.note(fn.Function, note(ring, sm4))
		for i, raw := range fn.Vectors {
			if err := ctx.Err(); err != nil {
				return report, fmt.Errorf("running vectors: %w", err)
			}
			id, err := s.vector(ctx, compute, answer, raw)
			if id == "" {
				id = fmt.Sprintf("%s, vector %d", fn.Function, i+1)
			}
			report.add(fn.Function, id, err)
		}
	}
	if report.Passed+report.Failed == 0 {
		return report, ErrNothing
	}
	return report, nil
}

// find returns how a function is computed, which members of its "out" stand for
// an answer, and whether it is one of SM4.
func find(function string) (compute computation, answer func(name string) bool, sm4 bool) {
	name, sm4 := strings.CutSuffix(function, "_sm4")
	if !sm4 {
		name, _ = strings.CutSuffix(function, "_tdes")
	}
	if c := functions[name]; c != nil && name != function {
		return c, func(name string) bool { return slices.Contains(results, name) }, sm4
	}
	return emvFunctions[function], func(string) bool { return true }, false
}

func read(r io.Reader) (f file, err error) {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return f, fmt.Errorf("reading vectors: %w", err)
	}
	if len(b) > maxFile {
		return f, fmt.Errorf("%w: larger than %d bytes", ErrFile, maxFile)
	}
	if f, err = parse(b); err != nil {
		return f, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if len(f.Functions) == 0 {
		return f, fmt.Errorf("%w: it has no functions", ErrFile)
	}
	for i, fn := range f.Functions {
		if fn.Function == "" {
			return f, fmt.Errorf("%w: function %d has no name", ErrFile, i+1)
		}
	}
	return f, nil
}

// vector runs one vector and forgets its keys.
func (s *session) vector(ctx context.Context, compute computation, answer func(name string) bool, raw json.RawMessage) (id string, err error) {
	var v vector
	if err := json.Unmarshal(raw, &v); err != nil {
		return v.ID, errors.New("is no vector: an object with an id, and the objects in and out")
	}
	if name, ok := repeated(raw, wholeText); ok {
		return v.ID, fmt.Errorf("has the member %s twice", readable(name))
	}
	defer func() { err = errors.Join(err, s.forget(context.WithoutCancel(ctx))) }()
	in := &input{members: v.In, used: make(map[string]bool)}
	answers, err := compute(ctx, s, in)
	if in.err != nil || err == nil {
		err = in.complete()
	}
	if err != nil {
		return v.ID, err
	}
	return v.ID, answers.compare(ctx, v.Out, answer)
}
