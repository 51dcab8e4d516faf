package wire

import "strings"

// field is one member of a JSON object: its name, whether it must be there,
// and how it is read into its place.
type field[T any] struct {
	name string
	need bool
	read func(*decoder, *T) *FieldError
}

// Values of field.need.
const (
	must = true
	may  = false
)

// table is the whole shape of one JSON object, at most 64 members.
type table[T any] []field[T]

// read reads one object into v.
func (t table[T]) read(d *decoder, v *T) *FieldError {
	if !d.take('{') {
		return wrong("must be a JSON object")
	}
	var seen uint64
	for next := 0; ; {
		if seen == 0 && d.take('}') {
			break
		}
		name, err := d.name()
		if err != nil {
			return err
		}
		i := t.find(name, next)
		if i < 0 {
			// The name is the caller's own text, so it is not repeated.
			return wrong("holds a member that this operation does not know; it knows %s", t.names())
		}
		if seen&(1<<i) != 0 {
			return (&FieldError{Text: "stands twice"}).under(t[i].name)
		}
		seen, next = seen|1<<i, i+1
		if !d.take(':') {
			return (&FieldError{Text: "must be followed by a colon and a value"}).under(t[i].name)
		}
		if err := t[i].read(d, v); err != nil {
			return err.under(t[i].name)
		}
		if d.take('}') {
			break
		}
		if !d.take(',') {
			return wrong("must be a JSON object: a comma or brace is missing")
		}
	}
	return t.complete(seen)
}

// find looks for name, starting where a caller that keeps our order would be.
func (t table[T]) find(name []byte, next int) int {
	for k := range t {
		i := next + k
		if i >= len(t) {
			i -= len(t)
		}
		if t[i].name == string(name) {
			return i
		}
	}
	return -1
}

// names lists the members that an object may hold.
func (t table[T]) names() string {
	out := make([]string, len(t))
	for i := range t {
		out[i] = t[i].name
	}
	return strings.Join(out, ", ")
}

func (t table[T]) complete(seen uint64) *FieldError {
	for i := range t {
		if t[i].need && seen&(1<<i) == 0 {
			return (&FieldError{Text: "is missing"}).under(t[i].name)
		}
	}
	return nil
}

// within makes the table of an embedded U serve T, and adds more.
func within[T, U any](inner table[U], get func(*T) *U, more ...field[T]) table[T] {
	var out table[T]
	for _, f := range inner {
		out = append(out, field[T]{f.name, f.need, func(d *decoder, v *T) *FieldError { return f.read(d, get(v)) }})
	}
	return append(out, more...)
}
