package conformance

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
)

// How deep objects are looked into: a file as far as its functions, whose
// vectors are each looked at by themselves, and one vector whole.
const (
	asFarAsFunctions = 4
	wholeText        = 1 << 30
)

// repeated finds an object, not deeper than most, that has a member twice, in
// whatever case. Only the last would be compared, so a wrong value in the first
// would pass.
func repeated(text []byte, most int) (name string, found bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	var open []map[string]bool // of each object or list that the next token is in; nil for a list
	isName := false            // the next token, if a string, names a member
	for {
		t, err := d.Token()
		if err != nil {
			return "", false // the end: the text was parsed before
		}
		name, isText := t.(string)
		switch {
		case t == json.Delim('{'):
			open = append(open, map[string]bool{})
		case t == json.Delim('['):
			open = append(open, nil)
		case t == json.Delim('}'), t == json.Delim(']'):
			open = open[:len(open)-1]
		case isText && isName:
			members := open[len(open)-1]
			if name = strings.ToLower(name); members[name] && len(open) <= most {
				return name, true
			}
			members[name] = true
			isName = false
			continue
		}
		isName = len(open) > 0 && open[len(open)-1] != nil
	}
}

// longest is how much is told of a name that a file gives.
const longest = 80

// readable is a name as people may see it: whole if it is short and prints, and
// quoted otherwise, so that it moves no cursor and starts no line.
func readable(name string) string {
	if len(name) <= longest && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return name
	}
	return strconv.Quote(name[:min(len(name), longest)])
}
