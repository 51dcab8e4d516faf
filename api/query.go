package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tapvault/tapvault/api/wire"
)

// maxQuery bounds a query before it is parsed.
const maxQuery = 1024

// readQuery reads a query as strictly as a body: known names only, each once,
// none without a value. What stood there is not repeated: somebody may have put
// a card number into it.
func readQuery(raw string, names []string) (map[string]string, error) {
	if raw == "" {
		return nil, nil
	}
	if len(names) == 0 {
		return nil, &wire.FieldError{Text: "this operation takes no query"}
	}
	if len(raw) > maxQuery {
		return nil, &wire.FieldError{Text: "the query is longer than 1024 characters"}
	}
	given, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &wire.FieldError{Text: "the query cannot be read"}
	}
	out := make(map[string]string, len(given))
	for name, values := range given {
		if !slices.Contains(names, name) {
			return nil, &wire.FieldError{Text: "the query holds a parameter that this operation does not know; it knows " + strings.Join(names, ", ")}
		}
		if len(values) != 1 || values[0] == "" {
			return nil, &wire.FieldError{Path: name, Text: "stands twice or is empty"}
		}
		out[name] = values[0]
	}
	return out, nil
}

// page reads how many records a page shall hold.
func (q *request) page() (int, error) {
	text := q.query["limit"]
	if text == "" {
		return wire.MaxPage, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n < 1 || n > wire.MaxPage || text[0] == '0' || text[0] == '+' {
		return 0, &wire.FieldError{Path: "limit", Text: "must be a whole number from 1 to 100"}
	}
	return int(n), nil
}

// badCursor says that a cursor is none of this list, or of another search.
func badCursor() error {
	return &wire.FieldError{Path: "cursor", Text: "must be a cursor that this list gave"}
}
