package api

import (
	"context"

	"github.com/tapvault/tapvault/api/wire"
)

// recordsIn reads the records of a batch. One that cannot be read goes along as
// an empty one, which does nothing: the others keep their places. What is wrong
// with it is in wrong.
func recordsIn[W, T any](in []W, one func(*W) (T, error)) (records []T, wrong []error) {
	records, wrong = make([]T, len(in)), make([]error, len(in))
	for i := range in {
		if r, err := one(&in[i]); err != nil {
			wrong[i] = err
		} else {
			records[i] = r
		}
	}
	return records, wrong
}

// resultsOut answers each record in its place: by its problem, or by what good
// makes of it. failed tells what became of one.
func resultsOut[I, R any](ctx context.Context, s *server, items []I, wrong []error, failed func(I) error,
	bad func(*wire.Problem) R, good func(I) R,
) []R {
	out := make([]R, len(items))
	for i, item := range items {
		err := wrong[i]
		if err == nil {
			err = failed(item)
		}
		if err != nil {
			out[i] = bad(s.problemOf(ctx, err))
			continue
		}
		out[i] = good(item)
	}
	return out
}
