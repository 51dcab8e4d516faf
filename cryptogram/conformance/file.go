package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The marks that some editors put in front of a text.
var (
	markUTF8  = []byte("\xEF\xBB\xBF")
	markUTF16 = [][]byte{[]byte("\xFF\xFE"), []byte("\xFE\xFF")}
)

// parse reads the form of a file. The error says what is wrong in words of the
// form.
func parse(b []byte) (f file, err error) {
	for _, mark := range markUTF16 {
		if bytes.HasPrefix(b, mark) {
			return f, errors.New("it is in UTF-16: save it as UTF-8")
		}
	}
	b = bytes.TrimPrefix(b, markUTF8)
	var syntax *json.SyntaxError
	var other *json.UnmarshalTypeError
	switch err := json.Unmarshal(b, &f); {
	case len(bytes.TrimSpace(b)) == 0:
		return f, errors.New("it is empty")
	case errors.As(err, &syntax):
		return f, fmt.Errorf("it is no JSON: %s at byte %d", syntax.Error(), syntax.Offset)
	case errors.As(err, &other) && other.Field != "":
		return f, fmt.Errorf("%s is of another type, not %s", other.Field, other.Value)
	case err != nil:
		return f, errors.New("it is no JSON object with the list functions")
	}
	if name, ok := repeated(b, asFarAsFunctions); ok {
		return f, fmt.Errorf("an object has the member %s twice", readable(name))
	}
	return f, nil
}
